//! Decoded recordings, the most recently used ones, within a bound.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::ivr::{phrase::PromptId, sound::Sound};

/// How many samples are kept: 16 MiB. All recordings of one language have 6 million at 16 kHz.
const MAX_SAMPLES: usize = 8 * 1024 * 1024;

/// Where a recording comes from (an operator's language, or the program) and what it says.
type Key = (Option<usize>, PromptId);

/// Keeps sounds until there are more samples than [`MAX_SAMPLES`], then forgets the one unused for longest.
#[derive(Default)]
pub(super) struct Cache {
    sounds: BTreeMap<Key, (Arc<Sound>, u64)>,
    samples: usize,
    /// Counts uses; the larger, the later.
    uses: u64,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("sounds", &self.sounds.len())
            .field("samples", &self.samples)
            .finish()
    }
}

impl Cache {
    /// Finds a sound, and notes that it was of use.
    pub(super) fn find(&mut self, place: Option<usize>, id: PromptId) -> Option<Arc<Sound>> {
        self.uses += 1;
        let (sound, used) = self.sounds.get_mut(&(place, id))?;
        *used = self.uses;
        Some(Arc::clone(sound))
    }

    /// Keeps a sound, and forgets others if there are too many.
    pub(super) fn keep(&mut self, place: Option<usize>, id: PromptId, sound: Arc<Sound>) {
        self.uses += 1;
        self.samples += sound.samples.len();
        if let Some((old, _)) = self.sounds.insert((place, id), (sound, self.uses)) {
            self.samples -= old.samples.len();
        }
        while self.samples > MAX_SAMPLES {
            let oldest = self
                .sounds
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(key, _)| *key);
            let Some((sound, _)) = oldest.and_then(|key| self.sounds.remove(&key)) else {
                break;
            };
            self.samples -= sound.samples.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ivr::phrase::Phrase;

    fn sound(samples: usize) -> Arc<Sound> {
        Arc::new(Sound {
            rate: 16_000,
            samples: vec![0; samples],
        })
    }

    #[test]
    fn forgets_what_was_unused_for_longest() {
        let mut cache = Cache::default();
        let [a, b, c] = [Phrase::Menu, Phrase::Busy, Phrase::Hold].map(PromptId::Phrase);
        cache.keep(None, a, sound(MAX_SAMPLES / 2));
        cache.keep(None, b, sound(MAX_SAMPLES / 2));
        assert!(cache.find(None, a).is_some());
        cache.keep(Some(0), c, sound(1));
        assert!(cache.find(None, a).is_some());
        assert!(cache.find(None, b).is_none(), "the bound holds");
        assert!(cache.find(Some(0), c).is_some());
        assert!(cache.find(None, c).is_none(), "another language is another recording");
        assert_eq!(cache.samples, MAX_SAMPLES / 2 + 1);
    }

    #[test]
    fn the_same_recording_is_counted_once() {
        let mut cache = Cache::default();
        let id = PromptId::Phrase(Phrase::Menu);
        cache.keep(None, id, sound(100));
        cache.keep(None, id, sound(70));
        assert_eq!((cache.sounds.len(), cache.samples), (1, 70));
    }
}

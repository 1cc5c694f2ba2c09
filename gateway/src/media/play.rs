//! An announcement on its way into one ear, with a clock of its own.

use std::sync::Arc;

use crate::ivr::sound::{Clip, Sound};

use super::{command::PlayKey, dsp::Resampler};

/// Samples of a recording handled in one stretch, as a share of a second.
const PIECES: usize = 100;

/// Clips being played, frame by frame, at the rate of the leg's encoder.
pub(crate) struct Play {
    key: PlayKey,
    clips: Vec<Clip>,
    /// The clip being played, and how far: samples of the recording, or of silence at our rate.
    clip: usize,
    position: usize,
    rate: u32,
    /// For recordings of the rate beside it.
    resampler: Option<(u32, Resampler)>,
    /// Resampled and not yet taken.
    rest: Vec<i16>,
    rest_from: usize,
    /// When the next frame is due; `None` until the leg can speak.
    next_ns: Option<u64>,
}

impl Play {
    pub(crate) fn new(key: PlayKey, clips: Vec<Clip>) -> Self {
        Self {
            key,
            clips,
            clip: 0,
            position: 0,
            rate: 0,
            resampler: None,
            rest: Vec::new(),
            rest_from: 0,
            next_ns: None,
        }
    }

    pub(crate) fn key(&self) -> PlayKey {
        self.key
    }

    /// When the next frame is due; `None` before [`Play::start`].
    pub(crate) fn due(&self) -> Option<u64> {
        self.next_ns
    }

    /// Starts the clock, unless it runs.
    pub(crate) fn start(&mut self, now_ns: u64) {
        self.next_ns.get_or_insert(now_ns);
    }

    /// The frame is out: the next one is due after it. A worker that overslept does not make a burst of it.
    pub(crate) fn advance(&mut self, now_ns: u64, frame_ns: u64) {
        if let Some(next_ns) = &mut self.next_ns {
            *next_ns = (*next_ns + frame_ns).max(now_ns.saturating_sub(frame_ns));
        }
    }

    /// Writes the next frame at `rate`; false, and silence, if all has been played.
    pub(crate) fn fill(&mut self, rate: u32, pcm: &mut [i16]) -> bool {
        self.set_rate(rate);
        let mut filled = 0;
        while filled < pcm.len() {
            let out = &mut pcm[filled..];
            let ready = &self.rest[self.rest_from..];
            if !ready.is_empty() {
                let count = out.len().min(ready.len());
                out[..count].copy_from_slice(&ready[..count]);
                self.rest_from += count;
                filled += count;
                continue;
            }
            match self.clips.get(self.clip) {
                None => {
                    out.fill(0);
                    return filled > 0;
                }
                Some(Clip::Silence(length)) => {
                    let whole =
                        usize::try_from(length.as_micros() * u128::from(rate) / 1_000_000).unwrap_or(usize::MAX);
                    let count = out.len().min(whole.saturating_sub(self.position));
                    out[..count].fill(0);
                    self.position += count;
                    filled += count;
                    self.leave_at(whole);
                }
                Some(Clip::Sound(sound)) if sound.rate == rate => {
                    let left = sound.samples.get(self.position..).unwrap_or_default();
                    let (whole, count) = (sound.samples.len(), out.len().min(left.len()));
                    out[..count].copy_from_slice(&left[..count]);
                    self.position += count;
                    filled += count;
                    self.leave_at(whole);
                }
                Some(Clip::Sound(sound)) => {
                    let sound = Arc::clone(sound);
                    self.resample(&sound);
                    self.leave_at(sound.samples.len());
                }
            }
        }
        true
    }

    /// Brings the next stretch of a recording to our rate; a rate that has no way to ours is left out.
    fn resample(&mut self, sound: &Sound) {
        self.rest_from = 0;
        self.rest.clear();
        if self.resampler.as_ref().is_none_or(|(from, _)| *from != sound.rate) {
            self.resampler = Resampler::new(sound.rate, self.rate).map(|resampler| (sound.rate, resampler));
        }
        let Some((_, resampler)) = &mut self.resampler else {
            self.position = sound.samples.len();
            return;
        };
        let left = sound.samples.get(self.position..).unwrap_or_default();
        let count = left.len().min((sound.rate as usize / PIECES).max(1));
        self.rest.resize(resampler.most(count), 0);
        let made = resampler.process(&left[..count], &mut self.rest);
        self.rest.truncate(made);
        self.position += count;
    }

    fn leave_at(&mut self, end: usize) {
        if self.position >= end {
            self.clip += 1;
            self.position = 0;
        }
    }

    fn set_rate(&mut self, rate: u32) {
        if self.rate == rate {
            return;
        }
        if self.rate > 0 && matches!(self.clips.get(self.clip), Some(Clip::Silence(_))) {
            self.position = (self.position as u64 * u64::from(rate) / u64::from(self.rate)) as usize;
        }
        self.rate = rate;
        self.resampler = None;
        self.rest.clear();
        self.rest_from = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::dsp::tones::{Tone, strength};

    fn sound(rate: u32, hz: f32, ms: u32) -> Clip {
        let mut samples = vec![0; (rate * ms / 1000) as usize];
        Tone::new(rate, hz, -10.0).fill(&mut samples);
        Clip::Sound(Arc::new(Sound { rate, samples }))
    }

    fn all(play: &mut Play, rate: u32) -> Vec<i16> {
        let mut heard = Vec::new();
        let mut pcm = vec![0; rate as usize / 50];
        while play.fill(rate, &mut pcm) {
            heard.extend_from_slice(&pcm);
        }
        heard
    }

    #[test]
    fn clips_follow_one_another_without_a_gap_at_every_rate() {
        for rate in [8_000, 16_000, 48_000] {
            let clips = vec![
                sound(16_000, 440.0, 250),
                Clip::Silence(Duration::from_millis(130)),
                sound(8_000, 1_000.0, 300),
            ];
            let heard = all(&mut Play::new(PlayKey(1), clips), rate);
            let ms = |ms: usize| rate as usize * ms / 1000;
            assert_eq!(heard.len(), ms(680));
            assert!(strength(&heard[ms(20)..ms(240)], rate, 440.0) > 0.98);
            assert!(heard[ms(260)..ms(370)].iter().all(|sample| sample.abs() < 200));
            assert!(strength(&heard[ms(390)..ms(670)], rate, 1_000.0) > 0.98);
        }
    }

    #[test]
    fn nothing_to_play_ends_at_once() {
        let odd = Clip::Sound(Arc::new(Sound {
            rate: 7_919,
            samples: vec![1; 100],
        }));
        let zero = Clip::Sound(Arc::new(Sound {
            rate: 0,
            samples: vec![1; 100],
        }));
        let empty = Clip::Sound(Arc::new(Sound {
            rate: 16_000,
            samples: vec![],
        }));
        for clips in [vec![], vec![empty, Clip::Silence(Duration::ZERO)], vec![odd, zero]] {
            assert!(all(&mut Play::new(PlayKey(1), clips), 8_000).is_empty());
        }
    }

    #[test]
    fn the_rate_may_change_on_the_way() {
        let mut play = Play::new(
            PlayKey(1),
            vec![Clip::Silence(Duration::from_millis(100)), sound(16_000, 440.0, 100)],
        );
        let mut pcm = [0; 160];
        for _ in 0..3 {
            assert!(play.fill(8_000, &mut pcm));
        }
        assert_eq!(all(&mut play, 48_000).len(), 48 * 140);
    }

    #[test]
    fn an_overslept_clock_does_not_burst() {
        let mut play = Play::new(PlayKey(1), vec![]);
        assert_eq!(play.due(), None);
        play.start(1_000);
        play.start(2_000);
        assert_eq!(play.due(), Some(1_000));
        play.advance(1_500, 20);
        assert_eq!(play.due(), Some(1_480));
        play.advance(1_480, 20);
        assert_eq!(play.due(), Some(1_500));
    }
}

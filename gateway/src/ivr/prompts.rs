//! The library of recordings: those in the program, and the operator's own in front of them.
//!
//! An operator's folder has a folder for each language (`en`, `de`, `pt-BR`) with files named after what they say:
//! `emoji-017.opus`, `menu.wav`. All are read and tried when the folder is loaded, so that a call meets no broken file. A
//! recording is decoded when a call needs it. A phrase is kept then, for most calls say it; a word is not, for a call in
//! eighty says it: kept words would be memory that grows for as long as the gateway runs.

mod folder;

use std::{borrow::Cow, collections::BTreeMap, error::Error, fmt, path::Path, path::PathBuf, sync::Arc};

use include_dir::{Dir, include_dir};

use super::{
    phrase::{Phrase, PromptId},
    recording::{self, Decode, Format, RecordingError},
    script::Line,
    sound::{Clip, Sound},
};

/// The language of the recordings in the program.
pub const BUILTIN_LANGUAGE: &str = "en";

/// The recordings in the program, with the list of what they say.
static BUILTIN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/prompts/en");

/// Opens a fresh Opus decoder: mono, at [`recording::OPUS_RATE`].
pub type OpenDecoder = dyn Fn() -> Result<Box<Decode<'static>>, Box<dyn Error + Send + Sync>> + Send + Sync;

/// What is wrong with the operator's folder, or with a recording. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptsError {
    /// The folder or a file in it cannot be read.
    #[error("{}: cannot be read ({source}); see that it exists and that the gateway may read it", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds no language.
    #[error("{}: has no folder of a language in it; put the recordings into {}/en", path.display(), path.display())]
    NoLanguage {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing the gateway says is called that.
    #[error("{}: nothing is called that; the names are those of the recordings in gateway/prompts/en", path.display())]
    UnknownName {
        /// The file.
        path: PathBuf,
    },
    /// A recording in a format that is not read.
    #[error("{}: only .opus and .wav are read; convert it, for example with opusenc", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// Two files for the same prompt.
    #[error("{}: there is the same prompt in another format beside it; remove one of the two", path.display())]
    Twice {
        /// The second of the two files.
        path: PathBuf,
    },
    /// One file, or all together, would take too much memory.
    #[error("{}: is too large; a file may have 2 MiB, and all together 64 MiB", path.display())]
    TooLarge {
        /// The file that is one too many.
        path: PathBuf,
    },
    /// The recording cannot be played.
    #[error("{file}: {source}")]
    Broken {
        /// The file, or the name of a recording in the program.
        file: String,
        /// Why.
        source: RecordingError,
    },
    /// A language lacks words, and an announcement half in another language could not be compared.
    #[error(
        "{}: lacks {count} of the 333 emoji words, first {first}; a language needs all of them", path.display()
    )]
    Incomplete {
        /// The language's folder.
        path: PathBuf,
        /// The first that is missing.
        first: String,
        /// How many are missing.
        count: usize,
    },
}

/// One recording as it is stored.
struct Recording {
    format: Format,
    bytes: Cow<'static, [u8]>,
    /// The file, or the name inside the program: for messages.
    file: String,
}

/// An operator's language.
struct Language {
    name: String,
    recordings: BTreeMap<PromptId, Recording>,
}

/// Finds recordings by language and name, decodes them, and keeps the phrases.
///
/// Owned by the signalling thread: [`Prompts::clips`] takes about a millisecond for each second of speech that it decodes,
/// and does no input or output.
pub struct Prompts {
    languages: Vec<Language>,
    open_decoder: Box<OpenDecoder>,
    /// Phrases decoded so far, by [`Prompts::place`].
    phrases: BTreeMap<(Option<usize>, Phrase), Arc<Sound>>,
}

impl fmt::Debug for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let languages: Vec<_> = self
            .languages
            .iter()
            .map(|language| (&language.name, language.recordings.len()))
            .collect();
        f.debug_struct("Prompts")
            .field("languages", &languages)
            .field("phrases", &self.phrases.len())
            .finish_non_exhaustive()
    }
}

impl Prompts {
    /// The recordings in the program and no others.
    pub fn builtin(open_decoder: Box<OpenDecoder>) -> Self {
        Self {
            languages: Vec::new(),
            open_decoder,
            phrases: BTreeMap::new(),
        }
    }

    /// The recordings in an operator's folder, and those in the program for what is not there.
    ///
    /// Reads and tries every file. Blocks while it does: to be called where configuration is loaded.
    ///
    /// # Errors
    /// Everything that is wrong with the folder, in order of its files. Nothing of the folder is used then.
    pub fn load(folder: &Path, open_decoder: Box<OpenDecoder>) -> Result<Self, Vec<PromptsError>> {
        let mut prompts = Self::builtin(open_decoder);
        let mut errors = Vec::new();
        prompts.languages = folder::read(folder, &mut errors);
        for language in &prompts.languages {
            for recording in language.recordings.values() {
                errors.extend(decode(recording, &prompts.open_decoder).err());
            }
        }
        if errors.is_empty() { Ok(prompts) } else { Err(errors) }
    }

    /// The sound of one prompt.
    ///
    /// A language that is not there is looked for without its region (`de-AT` as `de`), then spoken in
    /// [`BUILTIN_LANGUAGE`]; so is a phrase that a language lacks.
    ///
    /// # Errors
    /// [`PromptsError::Broken`] if no decoder can be opened, or if it refuses.
    pub fn sound(&mut self, language: &str, id: PromptId) -> Result<Arc<Sound>, PromptsError> {
        let place = self.place(language, id);
        if let PromptId::Phrase(phrase) = id
            && let Some(sound) = self.phrases.get(&(place, phrase))
        {
            return Ok(Arc::clone(sound));
        }
        let own = place.and_then(|place| self.languages.get(place)?.recordings.get(&id));
        let sound = Arc::new(match own {
            Some(recording) => decode(recording, &self.open_decoder)?,
            None => decode(&builtin_recording(id), &self.open_decoder)?,
        });
        if let PromptId::Phrase(phrase) = id {
            self.phrases.insert((place, phrase), Arc::clone(&sound));
        }
        Ok(sound)
    }

    /// A script as something to play.
    ///
    /// # Errors
    /// As [`Prompts::sound`]; a script is played whole or not at all.
    pub fn clips(&mut self, language: &str, script: &[Line]) -> Result<Vec<Clip>, PromptsError> {
        let mut clips = Vec::with_capacity(script.len());
        for line in script {
            clips.push(match line {
                Line::Say(id) => Clip::Sound(self.sound(language, *id)?),
                Line::Pause(pause) => Clip::Silence(*pause),
            });
        }
        Ok(clips)
    }

    /// Whether there are recordings in this language, or in it without its region.
    #[must_use]
    pub fn speaks(&self, language: &str) -> bool {
        let own = self.languages.iter().map(|own| own.name.as_str());
        let mut there = own.chain([BUILTIN_LANGUAGE]);
        there.any(|there| {
            [language, primary(language)]
                .iter()
                .any(|wanted| there.eq_ignore_ascii_case(wanted))
        })
    }

    /// Which operator's language has this prompt. `None`: the program's own recording.
    fn place(&self, language: &str, id: PromptId) -> Option<usize> {
        [language, primary(language), BUILTIN_LANGUAGE]
            .iter()
            .find_map(|wanted| {
                self.languages
                    .iter()
                    .position(|own| own.name.eq_ignore_ascii_case(wanted) && own.recordings.contains_key(&id))
            })
    }
}

/// A language without its region.
fn primary(language: &str) -> &str {
    language.split('-').next().unwrap_or(language)
}

/// The program's own recording.
fn builtin_recording(id: PromptId) -> Recording {
    let file = id.to_string();
    // A test holds that every name has a recording.
    let recording = BUILTIN
        .get_file(format!("{file}.opus"))
        .expect("every prompt has a recording in the program");
    Recording {
        format: Format::OggOpus,
        bytes: Cow::Borrowed(recording.contents()),
        file,
    }
}

fn decode(recording: &Recording, open_decoder: &OpenDecoder) -> Result<Sound, PromptsError> {
    let read = || match recording.format {
        Format::OggOpus => {
            let mut decoder = open_decoder().map_err(RecordingError::Decoder)?;
            recording::read(Format::OggOpus, &recording.bytes, &mut *decoder)
        }
        Format::Wav => recording::read(Format::Wav, &recording.bytes, &mut |_, _| {
            Err("a WAV file has no packets".into())
        }),
    };
    read().map_err(|source| PromptsError::Broken {
        file: recording.file.clone(),
        source,
    })
}

#[cfg(test)]
mod tests;

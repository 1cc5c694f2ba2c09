//! Reads an operator's folder of recordings. The only file access of this room, and only when configuration is loaded.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use quartet_proto::e2ee::fingerprint::EMOJIS;

use super::{BUILTIN_LANGUAGE, Language, PromptsError, Recording};
use crate::ivr::{phrase::PromptId, recording::Format};
use crate::permissions::open_regular;

/// A minute of WAV at 16 kHz.
const MAX_FILE: u64 = 2 * 1024 * 1024;

/// All files together: some twenty languages as Opus, or five as WAV.
const MAX_TOTAL: u64 = 64 * 1024 * 1024;

/// Endings of sound files that people may put there, expecting them to be played.
const OTHER_SOUNDS: [&str; 9] = ["mp3", "ogg", "oga", "flac", "m4a", "aac", "gsm", "ulaw", "alaw"];

/// Reads all languages of a folder, undecoded. What is wrong goes to `errors`.
pub(super) fn read(folder: &Path, errors: &mut Vec<PromptsError>) -> Vec<Language> {
    let mut languages = Vec::new();
    let mut total = 0;
    for (path, name) in entries(folder, errors) {
        if path.is_dir() && is_language(&name) {
            languages.push(read_language(&path, name, &mut total, errors));
        }
    }
    if languages.is_empty() && errors.is_empty() {
        errors.push(PromptsError::NoLanguage {
            path: folder.to_owned(),
        });
    }
    languages
}

fn read_language(folder: &Path, name: String, total: &mut u64, errors: &mut Vec<PromptsError>) -> Language {
    let mut recordings = BTreeMap::new();
    let found_before = errors.len();
    for (path, _) in entries(folder, errors) {
        match read_file(&path, total) {
            Ok(Some((id, recording))) => {
                if recordings.insert(id, recording).is_some() {
                    errors.push(PromptsError::Twice { path });
                }
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    let missing = || PromptId::all().take(EMOJIS).filter(|id| !recordings.contains_key(id));
    if let Some(first) = missing().next()
        && !name.eq_ignore_ascii_case(BUILTIN_LANGUAGE)
        && errors.len() == found_before
    {
        errors.push(PromptsError::Incomplete {
            path: folder.to_owned(),
            first: first.to_string(),
            count: missing().count(),
        });
    }
    Language { name, recordings }
}

/// Reads one file. `None` if it is not meant as a recording.
fn read_file(path: &Path, total: &mut u64) -> Result<Option<(PromptId, Recording)>, PromptsError> {
    let ending = path
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let format = match ending.as_str() {
        "opus" => Format::OggOpus,
        "wav" => Format::Wav,
        other if OTHER_SOUNDS.contains(&other) => {
            return Err(PromptsError::UnknownFormat { path: path.to_owned() });
        }
        _ => return Ok(None),
    };
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let id = PromptId::from_name(stem).ok_or_else(|| PromptsError::UnknownName { path: path.to_owned() })?;

    let unreadable = |source: io::Error| PromptsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    open_regular(path)
        .map_err(unreadable)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    *total += bytes.len() as u64;
    if bytes.len() as u64 > MAX_FILE || *total > MAX_TOTAL {
        return Err(PromptsError::TooLarge { path: path.to_owned() });
    }
    Ok(Some((
        id,
        Recording {
            format,
            bytes: Cow::Owned(bytes),
            file: path.display().to_string(),
        },
    )))
}

/// What is in a folder, in order of name, hidden files left out.
fn entries(folder: &Path, errors: &mut Vec<PromptsError>) -> Vec<(PathBuf, String)> {
    let list = || -> io::Result<Vec<(PathBuf, String)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            entries.push((entry.path(), entry.file_name().to_string_lossy().into_owned()));
        }
        Ok(entries)
    };
    match list() {
        Ok(mut entries) => {
            entries.retain(|(_, name)| !name.starts_with('.'));
            entries.sort();
            entries
        }
        Err(source) => {
            errors.push(PromptsError::Unreadable {
                path: folder.to_owned(),
                source,
            });
            Vec::new()
        }
    }
}

/// Whether a folder's name is a language tag such as `en` or `pt-BR`. RFC 5646 §2.1, as far as needed.
fn is_language(name: &str) -> bool {
    let mut parts = name.split('-');
    let primary = parts.next().unwrap_or_default();
    matches!(primary.len(), 2 | 3)
        && primary.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| matches!(part.len(), 1..=8) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::is_language;

    #[test]
    fn language_tags() {
        for name in ["en", "de", "pt-BR", "zh-Hant-TW", "gsw"] {
            assert!(is_language(name), "{name}");
        }
        for name in ["", "e", "english", "en-", "en_US", "12", "-en", "pt-toolonger"] {
            assert!(!is_language(name), "{name}");
        }
    }
}

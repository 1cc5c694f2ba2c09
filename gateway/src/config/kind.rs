//! What a value may be: the type, the unit and the range of an option, and the check of a value against them.

use std::collections::BTreeSet;

use super::listen::{entry_faults, of_table};
use super::units::Period;

/// A value as a file or the environment has it, before anybody believes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// Text.
    Text(String),
    /// A whole number; `None` if it is out of all ranges.
    Integer(Option<i64>),
    /// `true` or `false`.
    Flag(bool),
    /// Anything else that has no parts: a fraction, a date. As it is written.
    Other(String),
    /// A list, each item with its line.
    List(Vec<(usize, Raw)>),
    /// A table, each key with its line.
    Table(Vec<(String, usize, Raw)>),
}

impl Raw {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Integer(_) | Self::Flag(_) | Self::Other(_) | Self::List(_) | Self::Table(_) => None,
        }
    }

    /// The texts of a list with their lines, or the one text with `line`.
    pub(super) fn texts(&self, line: usize) -> Vec<(usize, &str)> {
        match self {
            Self::List(items) => items
                .iter()
                .filter_map(|(line, item)| Some((*line, item.text()?)))
                .collect(),
            Self::Text(text) => vec![(line, text)],
            Self::Integer(_) | Self::Flag(_) | Self::Other(_) | Self::Table(_) => Vec::new(),
        }
    }

    /// What it is, as a sentence names it.
    fn called(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Other(_) => "a fraction or a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// As TOML on one line.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Integer(number) => number.map(|number| number.to_string()).unwrap_or_default(),
            Self::Flag(flag) => flag.to_string(),
            Self::Other(text) => text.clone(),
            Self::List(items) => {
                format!(
                    "[{}]",
                    items
                        .iter()
                        .map(|(_, item)| item.to_toml())
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            }
            Self::Table(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, _, value)| format!("{key} = {}", value.to_toml()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// Writes a text as a TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A URL as it may be shown: a login that somebody has written into it is nobody's to read.
pub(super) fn without_login(text: &str) -> String {
    let scheme = text.find("://").map(|at| at + 3).or(text.find(':').map(|at| at + 1));
    let (scheme, rest) = text.split_at(scheme.unwrap_or(0));
    rest.rsplit_once('@')
        .map_or_else(|| text.to_owned(), |(_, place)| format!("{scheme}…@{place}"))
}

/// Says what is wrong with a word, as the rest of a sentence that begins with the option's name.
pub(super) type WordCheck = fn(&str) -> Result<(), String>;

/// The type of an option.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Text of a syntax.
    Text(WordCheck),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number within both ends.
    Integer(i64, i64),
    /// Yes or no.
    Flag,
    /// A length of time within both ends.
    Period(&'static str, &'static str),
    /// A list of words, none twice.
    Words {
        /// A single word may stand without brackets.
        bare: bool,
        /// The list may have no word.
        empty: bool,
        /// What each word must be.
        each: WordCheck,
    },
    /// `{ md5 = "…", sha256 = "…" }`
    PasswordHash,
    /// A list of addresses to listen on, each a text or a table.
    Listen,
}

/// What is wrong with a value: the line, if it is that of a part, and the rest of a sentence.
pub(super) type Faults = Vec<(Option<usize>, String)>;

impl Kind {
    /// Finds everything that is wrong with a value.
    pub(super) fn faults(&self, value: &Raw) -> Faults {
        let of_type = |expected: &str| vec![(None, format!("must be {expected}, not {}", value.called()))];
        let one = |result: Result<(), String>| result.err().map(|sentence| (None, sentence)).into_iter().collect();
        match (self, value) {
            (Self::Text(check), Raw::Text(text)) => one(check(text)),
            (Self::Text(_), _) => of_type("text in quotes"),
            (Self::OneOf(words), Raw::Text(text)) if words.contains(&text.as_str()) => Vec::new(),
            (Self::OneOf(words), Raw::Text(text)) => {
                let near = super::nearest::nearest(text, words.iter().copied());
                let advice = near
                    .map(|near| format!("; did you mean \"{near}\"?"))
                    .unwrap_or_default();
                vec![(None, format!("must be {}, not {}{advice}", either(words), quoted(text)))]
            }
            (Self::OneOf(words), _) => of_type(&format!("{} in quotes", either(words))),
            (Self::Integer(low, high), Raw::Integer(Some(number))) if (low..=high).contains(&number) => Vec::new(),
            (Self::Integer(low, high), Raw::Integer(_)) => vec![(None, format!("must be from {low} to {high}"))],
            (Self::Integer(low, high), _) => of_type(&format!("a whole number from {low} to {high} without quotes")),
            (Self::Flag, Raw::Flag(_)) => Vec::new(),
            (Self::Flag, _) => of_type("true or false without quotes"),
            (Self::Period(low, high), Raw::Text(text)) => one(period_within(text, low, high)),
            (Self::Period(..), _) => of_type("a length of time in quotes, as \"10s\""),
            (Self::Words { bare: true, each, .. }, Raw::Text(text)) => one(each(text)),
            (Self::Words { empty, each, .. }, Raw::List(items)) => word_faults(*empty, *each, items),
            (Self::Words { bare: true, .. }, _) => of_type("text in quotes or a list of texts"),
            (Self::Words { bare: false, .. }, _) => of_type("a list of texts, as [\"one\", \"two\"]"),
            (Self::Listen, Raw::List(items)) => listen_faults(items),
            (Self::Listen, _) => of_type("a list of texts, as [\"udp:0.0.0.0:5060\"]"),
            (Self::PasswordHash, Raw::Table(entries)) => hash_faults(entries),
            // The value is not shown: it may be a password.
            (Self::PasswordHash, _) => of_type("{ md5 = \"…\", sha256 = \"…\" } as `quartet passwd` prints it"),
        }
    }

    /// The type in a few words, for the manual.
    pub(super) fn described(&self) -> String {
        match self {
            Self::Text(_) => "text".to_owned(),
            Self::OneOf(words) => words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", "),
            Self::Integer(low, high) => format!("number, {low} to {high}"),
            Self::Flag => "`true`, `false`".to_owned(),
            Self::Period(low, high) => format!("time, {low} to {high}"),
            Self::Words { bare: true, .. } => "text or list of texts".to_owned(),
            Self::Words { bare: false, .. } => "list of texts".to_owned(),
            Self::Listen => "list of texts or tables".to_owned(),
            Self::PasswordHash => "`{ md5 = \"…\", sha256 = \"…\" }`".to_owned(),
        }
    }

    /// Reads what an environment variable says; words of a list are separated by commas.
    pub(super) fn variable_value(&self, text: &str) -> Raw {
        match self {
            Self::Integer(..) => match text.trim().parse() {
                Ok(number) => Raw::Integer(Some(number)),
                Err(_) => Raw::Text(text.to_owned()),
            },
            Self::Flag => match text.trim().parse() {
                Ok(flag) => Raw::Flag(flag),
                Err(_) => Raw::Text(text.to_owned()),
            },
            Self::Words { .. } | Self::Listen if text.trim().is_empty() => Raw::List(Vec::new()),
            Self::Words { .. } | Self::Listen => Raw::List(
                text.split(',')
                    .map(|word| (0, Raw::Text(word.trim().to_owned())))
                    .collect(),
            ),
            Self::Text(_) | Self::OneOf(_) | Self::Period(..) | Self::PasswordHash => Raw::Text(text.to_owned()),
        }
    }
}

/// Lists words as a person would: a, b or c.
fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => format!("\"{one}\""),
        [init @ .., last] => {
            let init: Vec<_> = init.iter().map(|word| format!("\"{word}\"")).collect();
            format!("{} or \"{last}\"", init.join(", "))
        }
    }
}

fn period_within(text: &str, low: &str, high: &str) -> Result<(), String> {
    let bound = |text: &str| {
        text.parse::<Period>()
            .expect("the bounds in the option table are periods")
    };
    let period: Period = text.parse()?;
    if (bound(low)..=bound(high)).contains(&period) {
        Ok(())
    } else {
        Err(format!("must be from {low} to {high}"))
    }
}

fn word_faults(empty: bool, each: WordCheck, items: &[(usize, Raw)]) -> Faults {
    if items.is_empty() && !empty {
        return vec![(None, "must not be empty".to_owned())];
    }
    let mut seen = BTreeSet::new();
    let mut faults = Faults::new();
    for (line, item) in items {
        match item.text() {
            None => faults.push((Some(*line), format!("must hold texts in quotes, not {}", item.called()))),
            Some(word) if !seen.insert(word) => {
                faults.push((Some(*line), format!("names {} twice; name it once", quoted(word))));
            }
            Some(word) => faults.extend(each(word).err().map(|sentence| (Some(*line), sentence))),
        }
    }
    faults
}

fn listen_faults(items: &[(usize, Raw)]) -> Faults {
    if items.is_empty() {
        return vec![(None, "must not be empty".to_owned())];
    }
    let mut seen = BTreeSet::new();
    let mut faults = Faults::new();
    for (line, item) in items {
        match of_table(item, "address") {
            Some(address) if !seen.insert(address) => {
                faults.push((Some(*line), format!("names {} twice; name it once", quoted(address))));
            }
            _ => faults.extend(entry_faults(*line, item)),
        }
    }
    faults
}

fn hash_faults(entries: &[(String, usize, Raw)]) -> Faults {
    let mut faults = Faults::new();
    for (key, line, value) in entries {
        let digits = match key.as_str() {
            "md5" => 32,
            "sha256" | "sha512_256" => 64,
            _ => {
                faults.push((
                    Some(*line),
                    format!(
                        "has the unknown key {}; valid here: md5, sha256, sha512_256",
                        quoted(key)
                    ),
                ));
                continue;
            }
        };
        let good = value
            .text()
            .is_some_and(|hex| hex.len() == digits && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if !good {
            let sentence = format!("must have {digits} hex digits as {key}; run `quartet passwd USER` to make it");
            faults.push((Some(*line), sentence));
        }
    }
    if entries.is_empty() {
        faults.push((
            None,
            "must have md5, sha256, sha512_256 or several of them; run `quartet passwd USER` to make it".to_owned(),
        ));
    }
    faults
}

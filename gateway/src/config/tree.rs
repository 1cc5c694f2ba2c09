//! A conf file as a tree in which every key and value knows its line.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::kind::Raw;
use super::options::ConfFile;
use super::problem::{Place, Problem};

/// A conf file that was read; after mistakes of syntax, what could be made of the rest.
pub(super) struct Tree {
    /// The path, as problems name it.
    pub(super) path: PathBuf,
    /// Which of the three it is.
    pub(super) file: ConfFile,
    /// The top table; each key with its line.
    pub(super) root: Vec<(String, usize, Raw)>,
    /// The lines with mistakes of syntax. What else seems wrong there is only their consequence.
    pub(super) broken: Vec<usize>,
}

impl Tree {
    /// Reads TOML, and reports all mistakes of syntax.
    pub(super) fn parse(path: &Path, file: ConfFile, text: &str, problems: &mut Vec<Problem>) -> Self {
        let lines = Lines::of(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut broken = Vec::new();
        for error in errors {
            let line = lines.at(error.span().map_or(0, |span| span.start));
            // One mistake often breaks several rules of the syntax; the first names it.
            if broken.contains(&line) {
                continue;
            }
            broken.push(line);
            problems.push(Problem {
                place: Place::Line(path.to_owned(), line),
                sentence: advice(error.message()),
            });
        }
        Self {
            path: path.to_owned(),
            file,
            root: table(root.get_ref(), &lines),
            broken,
        }
    }

    /// The place of a line of this file.
    pub(super) fn place(&self, line: usize) -> Place {
        Place::Line(self.path.clone(), line)
    }
}

/// Turns a message of the TOML parser into a sentence with advice.
fn advice(message: &str) -> String {
    let message = message.trim();
    let help = if message.starts_with("duplicate key") {
        "; a key or a [section] may stand only once, remove one"
    } else if message.contains("string values must be quoted") {
        "; write text as \"text\""
    } else if message.contains("key with no value") || message.contains("`=`") {
        "; a line is: key = value"
    } else {
        "; check the quotes and brackets of this line and the one before"
    };
    format!("not valid TOML: {message}{help}")
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(
            text.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at + 1)
                .collect(),
        )
    }

    /// The line of a byte, counted from 1.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset) + 1
    }
}

fn table(table: &DeTable<'_>, lines: &Lines) -> Vec<(String, usize, Raw)> {
    table
        .iter()
        .map(|(key, value)| {
            (
                key.get_ref().to_string(),
                lines.at(key.span().start),
                raw(value.get_ref(), lines),
            )
        })
        .collect()
}

fn raw(value: &DeValue<'_>, lines: &Lines) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => Raw::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Float(number) => Raw::Other(number.to_string()),
        DeValue::Datetime(time) => Raw::Other(time.to_string()),
        DeValue::Array(items) => Raw::List(
            items
                .iter()
                .map(|item| (lines.at(item.span().start), raw(item.get_ref(), lines)))
                .collect(),
        ),
        DeValue::Table(entries) => Raw::Table(table(entries, lines)),
    }
}

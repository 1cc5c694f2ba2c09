//! The check of one conf file against the option table: unknown keys, types, ranges, what is missing.

use std::collections::BTreeMap;

use super::kind::{Faults, Raw, quoted};
use super::nearest::nearest;
use super::options::{ConfFile, LATER, Preset, ROWS, Row, SECTIONS, bracketed, is_named, is_repeated, row};
use super::problem::{Place, Problem};
use super::tree::Tree;
use super::words;

/// A value that passed the check.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    /// Where it was said; `None` for a default.
    pub(super) place: Option<Place>,
    /// The value.
    pub(super) value: Raw,
}

/// The good values of a section or of a whole quartet.conf, by key (`realm`) or path (`sip.realm`).
pub(super) type Values = BTreeMap<String, Checked>;

/// A `[[phone]]`, a `[[route]]` or an `[[ice_server]]`.
pub(super) struct Block {
    /// Where it begins.
    pub(super) place: Place,
    /// Its good values.
    pub(super) values: Values,
}

/// Checks quartet.conf and returns what was good in it.
pub(super) fn check_sections(tree: &Tree, problems: &mut Vec<Problem>) -> Values {
    let mut check = Check {
        tree,
        problems,
        values: Values::new(),
    };
    check.section("", &tree.root);
    check.values
}

/// Checks all `[[section]]`s of a file and returns what was good in them. In phones.conf and routes.conf there is nothing else.
pub(super) fn check_blocks(tree: &Tree, section: &'static str, problems: &mut Vec<Problem>) -> Vec<Block> {
    let mut check = Check {
        tree,
        problems,
        values: Values::new(),
    };
    let mut blocks = Vec::new();
    for (key, line, value) in &tree.root {
        if key != section {
            if tree.file != ConfFile::Quartet {
                check.unknown("", key, *line);
            }
            continue;
        }
        let Raw::List(items) = value else {
            check.problem(
                *line,
                format!("must be written [[{section}]], with two brackets on each side"),
            );
            continue;
        };
        for (line, item) in items {
            if let Raw::Table(entries) = item {
                blocks.push(check.block(section, *line, entries));
            } else {
                check.problem(
                    *line,
                    format!("must be written [[{section}]], with two brackets on each side"),
                );
            }
        }
    }
    blocks
}

/// Checks all `[section.NAME]`s of quartet.conf and returns what was good in them; the name is among the values.
pub(super) fn check_named(tree: &Tree, section: &'static str, problems: &mut Vec<Problem>) -> Vec<Block> {
    debug_assert!(is_named(section));
    let mut check = Check {
        tree,
        problems,
        values: Values::new(),
    };
    let mut entries = &tree.root;
    let mut found = None;
    for part in section.split('.') {
        let Some((_, line, value)) = entries.iter().find(|(key, ..)| key == part) else {
            return Vec::new();
        };
        found = Some((*line, value));
        let Raw::Table(below) = value else { break };
        entries = below;
    }
    let form = format!("must be written {}", bracketed(section));
    let Some((line, Raw::Table(named))) = found else {
        check.problem(found.map_or(1, |(line, _)| line), form);
        return Vec::new();
    };
    let _ = line;
    let mut blocks = Vec::new();
    for (name, line, value) in named {
        let Raw::Table(entries) = value else {
            check.problem(*line, form.clone());
            continue;
        };
        if let Err(sentence) = words::account(name) {
            check.problem(*line, format!("the name of a section {sentence}"));
            continue;
        }
        let mut block = check.block(section, *line, entries);
        let checked = Checked {
            place: Some(tree.place(*line)),
            value: Raw::Text(name.clone()),
        };
        block.values.insert("name".to_owned(), checked);
        blocks.push(block);
    }
    blocks
}

/// Names the option that a variable or a line of plugin options sets.
pub(super) fn plugin_option_faults(id: &str, key: &str, value: &Raw) -> Option<String> {
    if words::plugin(id).is_err() {
        return Some(format!(
            "{} is no plugin id; ids are as [plugins.options.codec-opus]",
            quoted(id)
        ));
    }
    let good_key = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
    if !good_key {
        return Some(format!(
            "{} is no option of a plugin; names are as bitrate = 24000",
            quoted(key)
        ));
    }
    match value {
        Raw::Text(text) if text.contains(['\n', '\r', '\0']) => Some(format!("{key} must be on one line")),
        Raw::Text(_) | Raw::Integer(Some(_)) | Raw::Flag(_) | Raw::Other(_) => None,
        Raw::Integer(None) => Some(format!("{key} is out of every range")),
        Raw::List(_) | Raw::Table(_) => Some(format!("{key} must be a text, a number, true or false")),
    }
}

/// The sentence for something that is not served yet.
pub(super) fn later(path: &str) -> Option<&'static str> {
    LATER
        .iter()
        .find(|(later, _)| *later == path)
        .map(|(_, sentence)| *sentence)
}

struct Check<'a> {
    tree: &'a Tree,
    problems: &'a mut Vec<Problem>,
    values: Values,
}

impl Check<'_> {
    fn problem(&mut self, line: usize, sentence: String) {
        if !self.tree.broken.contains(&line) {
            self.problems.push(Problem {
                place: self.tree.place(line),
                sentence,
            });
        }
    }

    /// Checks a value and says whether it is good.
    fn value(&mut self, row: &Row, line: usize, value: &Raw) -> bool {
        let faults: Faults = row.kind.faults(value);
        let good = faults.is_empty();
        for (part, sentence) in faults {
            self.problem(part.unwrap_or(line), format!("{} {sentence}", row.name));
        }
        good
    }

    /// Checks a section of quartet.conf and those in it.
    fn section(&mut self, section: &str, entries: &[(String, usize, Raw)]) {
        for (key, line, value) in entries {
            let path = join(section, key);
            if is_repeated(&path) && ConfFile::of_section(&path) == self.tree.file {
                // Checked on its own.
                continue;
            }
            let is_section = SECTIONS.iter().any(|(name, _)| {
                ConfFile::of_section(name) == ConfFile::Quartet
                    && name
                        .strip_prefix(path.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if let Some(row) = row(section, key) {
                if self.value(row, *line, value) {
                    let place = Some(self.tree.place(*line));
                    self.values.insert(
                        path,
                        Checked {
                            place,
                            value: value.clone(),
                        },
                    );
                }
            } else if let (true, Raw::Table(entries)) = (is_section, value) {
                self.section(&path, entries);
            } else if is_section {
                self.problem(*line, format!("{key} must be a section, written [{path}]"));
            } else if path == "plugins.options" {
                self.plugin_options(*line, value);
            } else {
                self.unknown(section, key, *line);
            }
        }
    }

    fn plugin_options(&mut self, line: usize, value: &Raw) {
        let form = "options must be written in a section of the plugin, as [plugins.options.codec-opus]";
        let Raw::Table(plugins) = value else {
            return self.problem(line, form.to_owned());
        };
        for (id, line, options) in plugins {
            let Raw::Table(options) = options else {
                self.problem(*line, form.to_owned());
                continue;
            };
            for (key, line, value) in options {
                match plugin_option_faults(id, key, value) {
                    Some(sentence) => self.problem(*line, sentence),
                    None => {
                        let place = Some(self.tree.place(*line));
                        let path = format!("plugins.options.{id}.{key}");
                        self.values.insert(
                            path,
                            Checked {
                                place,
                                value: value.clone(),
                            },
                        );
                    }
                }
            }
        }
    }

    fn block(&mut self, section: &'static str, line: usize, entries: &[(String, usize, Raw)]) -> Block {
        let mut values = Values::new();
        for (key, line, value) in entries {
            match row(section, key) {
                None => self.unknown(section, key, *line),
                Some(row) => {
                    if self.value(row, *line, value) {
                        let place = Some(self.tree.place(*line));
                        values.insert(
                            key.clone(),
                            Checked {
                                place,
                                value: value.clone(),
                            },
                        );
                    }
                }
            }
        }
        for row in ROWS.iter().filter(|row| row.section == section) {
            if let Preset::Required(example) = row.preset
                && !entries.iter().any(|(key, ..)| key == row.name)
            {
                self.problem(
                    line,
                    format!("{} has no {}; add a line {1} = {example}", bracketed(section), row.name),
                );
            }
        }
        Block {
            place: self.tree.place(line),
            values,
        }
    }

    /// Says that a key or a section is unknown, and what was probably meant.
    fn unknown(&mut self, section: &str, key: &str, line: usize) {
        let path = join(section, key);
        let sentence = later(&path)
            .map(str::to_owned)
            .unwrap_or_else(|| self.unknown_sentence(section, key));
        self.problem(line, sentence);
    }

    fn unknown_sentence(&self, section: &str, key: &str) -> String {
        let file = self.tree.file;
        if section.is_empty()
            && let Some((name, _)) = SECTIONS.iter().find(|(name, _)| name.split('.').next() == Some(key))
        {
            let home = ConfFile::of_section(name).name();
            return format!("{} belongs in {home}; move it there", bracketed(name));
        }
        let here: Vec<&str> = keys_in(section, file);
        let elsewhere = ROWS
            .iter()
            .find(|row| row.name == key && ConfFile::of_section(row.section) == file);
        let (what, advice) = match (section.is_empty(), nearest(key, here.iter().copied()), elsewhere) {
            (true, Some(near), _) => (
                "section or key",
                format!("did you mean {}?", bracketed(&full_section(near))),
            ),
            (true, None, Some(row)) => ("key", format!("it belongs under {}", bracketed(row.section))),
            (true, None, None) => {
                let sections: Vec<_> = here.iter().map(|name| bracketed(&full_section(name))).collect();
                ("section or key", format!("valid here: {}", sections.join(", ")))
            }
            (false, Some(near), _) => ("key", format!("did you mean {}?", quoted(near))),
            (false, None, Some(row)) => ("key", format!("it belongs under {}", bracketed(row.section))),
            (false, None, None) => ("key", format!("valid here: {}", here.join(", "))),
        };
        let place = if section.is_empty() {
            String::new()
        } else {
            format!(" in {}", bracketed(section))
        };
        format!("unknown {what} {}{place}; {advice}", quoted(key))
    }
}

/// The keys and sections right under a section of a file.
fn keys_in(section: &str, file: ConfFile) -> Vec<&'static str> {
    let mut keys: Vec<&str> = ROWS
        .iter()
        .filter(|row| row.section == section)
        .map(|row| row.name)
        .collect();
    for (name, _) in SECTIONS.iter().filter(|(name, _)| ConfFile::of_section(name) == file) {
        let below = if section.is_empty() {
            Some(*name)
        } else {
            name.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'))
        };
        if let Some(key) = below.and_then(|below| below.split('.').next())
            && !keys.contains(&key)
        {
            keys.push(key);
        }
    }
    if section == "plugins" {
        keys.push("options");
    }
    keys
}

/// The whole name of a section that begins with this word.
fn full_section(first: &str) -> String {
    SECTIONS
        .iter()
        .find(|(name, _)| name.split('.').next() == Some(first))
        .map_or_else(|| first.to_owned(), |(name, _)| (*name).to_owned())
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

//! Overrides from the environment: `QUARTET__SIP__REALM` is `realm` of `[sip]`.
//!
//! Only quartet.conf can be overridden. A variable is checked like a line of the file. Lists are separated by commas. In
//! the id of a plugin `_` stands for `-`, which no shell allows in a name.

use super::check::{Checked, Values, later, plugin_option_faults};
use super::kind::Raw;
use super::nearest::nearest;
use super::options::{ConfFile, ROWS, row};
use super::problem::{Place, Problem};

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "QUARTET__";

/// Checks the variables that begin with [`PREFIX`] and returns the good ones by path; others are not looked at.
pub(super) fn check_variables(variables: &[(String, String)], problems: &mut Vec<Problem>) -> Values {
    let mut values = Values::new();
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let place = Place::Variable(name.clone());
        match check_variable(rest, text) {
            Ok((path, value)) => {
                values.insert(
                    path,
                    Checked {
                        place: Some(place),
                        value,
                    },
                );
            }
            Err(sentences) => {
                problems.extend(sentences.into_iter().map(|sentence| Problem {
                    place: place.clone(),
                    sentence,
                }));
            }
        }
    }
    values
}

fn check_variable(rest: &str, text: &str) -> Result<(String, Raw), Vec<String>> {
    let path = rest.to_lowercase().replace("__", ".");
    if let Some(option) = path.strip_prefix("plugins.options.") {
        let (id, key) = option.split_once('.').unwrap_or((option, ""));
        let id = id.replace('_', "-");
        let value = Raw::Text(text.to_owned());
        return match plugin_option_faults(&id, key, &value) {
            Some(sentence) => Err(vec![sentence]),
            None => Ok((format!("plugins.options.{id}.{key}"), value)),
        };
    }
    if let Some(sentence) = later(&path) {
        return Err(vec![sentence.to_owned()]);
    }
    let found = path.rsplit_once('.').and_then(|(section, name)| row(section, name));
    let Some(row) = found.filter(|row| ConfFile::of_section(row.section) == ConfFile::Quartet) else {
        return Err(vec![unknown(rest)]);
    };
    let value = row.kind.variable_value(text);
    let faults = row.kind.faults(&value);
    if faults.is_empty() {
        return Ok((path, value));
    }
    Err(faults
        .into_iter()
        .map(|(_, sentence)| format!("{} {sentence}", row.name))
        .collect())
}

fn unknown(rest: &str) -> String {
    let names: Vec<String> = ROWS
        .iter()
        .filter(|row| ConfFile::of_section(row.section) == ConfFile::Quartet)
        .map(|row| variable(row.section, row.name))
        .collect();
    // Typing mistakes are counted over lower-case words.
    let lower: Vec<String> = names.iter().map(|name| name[PREFIX.len()..].to_lowercase()).collect();
    match nearest(rest, lower.iter().map(String::as_str)) {
        Some(near) => format!("sets no option; did you mean {PREFIX}{}?", near.to_uppercase()),
        None => "sets no option of quartet.conf; names are as QUARTET__SIP__REALM".to_owned(),
    }
}

/// The name of the variable that overrides an option.
fn variable(section: &str, name: &str) -> String {
    format!("{PREFIX}{}__{}", section.replace('.', "__"), name).to_uppercase()
}

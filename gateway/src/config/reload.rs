//! Another reading of the conf files while the gateway runs: what is in force from now on, and what waits for a restart.

use serde::{Deserialize, Serialize};

use super::Loaded;
use super::check::Values;
use super::load::{Texts, check_and_build, read_all};
use super::options::{ConfFile, ROWS, Reload};
use super::problem::{Problem, Problems};
use super::settings::{Phone, Settings};

/// What changed, for the log, `quartet reload` and its `--json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Options of quartet.conf in force, as `sip.listen`.
    pub options: Vec<String>,
    /// Options of quartet.conf that were changed and need a restart: they are as before.
    pub restart: Vec<String>,
    /// Phones that are new.
    pub phones_added: usize,
    /// Phones that are gone: their calls go on, their registrations do not.
    pub phones_removed: usize,
    /// Phones with another password or other options, those included that an option of quartet.conf gives them.
    pub phones_changed: usize,
    /// Whether the routes are others.
    pub routes: bool,
    /// Whether the STUN and TURN servers are others.
    pub ice_servers: bool,
    /// Whether the trunks are others.
    pub trunks: bool,
}

/// Reads and checks the conf files of a running gateway anew. What needs a restart stays as it is in `in_force`.
///
/// # Errors
/// Everything that is wrong, all at once; nothing has changed then.
pub fn reload(in_force: &Loaded, variables: &[(String, String)]) -> Result<(Loaded, Changes), Problems> {
    let folder = &in_force.settings.folder;
    let (texts, problems) = read_all(folder)?;
    reload_texts(in_force, texts, variables, problems)
}

pub(super) fn reload_texts(
    in_force: &Loaded,
    texts: Texts,
    variables: &[(String, String)],
    problems: Vec<Problem>,
) -> Result<(Loaded, Changes), Problems> {
    let mut changes = Changes::default();
    let keep = |values: &Values| {
        let mut kept = Values::new();
        for path in changed(&in_force.values, values) {
            if reload_of(path) == Reload::Restart {
                changes.restart.push(path.to_owned());
                // An option of a plugin that is new has no value to keep: the plugin has been told its options already.
                kept.extend(
                    in_force
                        .values
                        .get_key_value(path)
                        .map(|(path, checked)| (path.clone(), checked.clone())),
                );
            } else {
                changes.options.push(path.to_owned());
            }
        }
        kept
    };
    let mut loaded = check_and_build(&in_force.settings.folder, texts, variables, problems, keep)?;
    // What is new and waits is told again the next time.
    loaded
        .values
        .retain(|path, _| reload_of(path) != Reload::Restart || in_force.values.contains_key(path));
    changes.compare_rows(&in_force.settings, &loaded.settings);
    if changes.restart.iter().any(|path| path == "sip.realm") && has_other_hashes(&in_force.settings, &loaded.settings)
    {
        let file = loaded.settings.folder.join(ConfFile::Quartet.name());
        let sentence = "the realm was changed, and password hashes are made for it: with these, nobody could log in before a restart; \
                        restart the gateway";
        return Err(Problems::file(&file, sentence.to_owned()));
    }
    Ok((loaded, changes))
}

/// The paths whose value is another, or only in one of the two.
fn changed<'a>(before: &'a Values, now: &'a Values) -> Vec<&'a str> {
    let is_other = |path: &&'a String| {
        let value = |values: &'a Values| values.get(*path).map(|checked| checked.value.to_toml());
        value(before) != value(now)
    };
    let mut paths: Vec<&str> = before
        .keys()
        .chain(now.keys())
        .filter(is_other)
        .map(String::as_str)
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Options of plugins are in no row: a plugin is told them when it is loaded.
fn reload_of(path: &str) -> Reload {
    let row = path
        .rsplit_once('.')
        .and_then(|(section, name)| ROWS.iter().find(|row| (row.section, row.name) == (section, name)));
    row.map_or(Reload::Restart, |row| row.reload)
}

/// Whether a phone has another hash than before, or is new.
fn has_other_hashes(before: &Settings, now: &Settings) -> bool {
    let hash = |phone: &Phone| {
        before
            .phones
            .iter()
            .find(|old| old.user == phone.user)
            .map(|old| old.password_hash.clone())
    };
    now.phones
        .iter()
        .any(|phone| hash(phone).as_ref() != Some(&phone.password_hash))
}

impl Changes {
    fn compare_rows(&mut self, before: &Settings, now: &Settings) {
        for phone in &now.phones {
            match before.phones.iter().find(|old| old.user == phone.user) {
                None => self.phones_added += 1,
                Some(old) => self.phones_changed += usize::from(old != phone),
            }
        }
        self.phones_removed = before.phones.len() + self.phones_added - now.phones.len();
        self.routes = before.routes != now.routes;
        self.ice_servers = before.ice_servers != now.ice_servers;
        self.trunks = before.trunks != now.trunks;
    }

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if !self.options.is_empty() {
            parts.push(self.options.join(", "));
        }
        let counts = [
            (self.phones_added, "added"),
            (self.phones_changed, "changed"),
            (self.phones_removed, "removed"),
        ];
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            parts.push(format!("{count} phone{} {what}", if count == 1 { "" } else { "s" }));
        }
        if self.routes {
            parts.push("routes".to_owned());
        }
        if self.ice_servers {
            parts.push("servers for media".to_owned());
        }
        if self.trunks {
            parts.push("trunks".to_owned());
        }
        if parts.is_empty() {
            "nothing has changed".to_owned()
        } else {
            format!("in force: {}", parts.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load::load_texts;
    use super::*;

    const HASH: &str = "password_hash = { md5 = \"0123456789abcdef0123456789abcdef\" }";

    fn again(before: &Loaded, texts: [&str; 3]) -> Result<(Loaded, Changes), Problems> {
        let texts = texts.map(|text| Some(zeroize::Zeroizing::new(text.to_owned())));
        reload_texts(before, texts, &[], Vec::new())
    }

    fn first(texts: [&str; 3]) -> Loaded {
        load_texts(Path::new("conf"), texts, &[])
            .map_err(|problems| problems.to_string())
            .unwrap()
    }

    #[test]
    fn what_needs_a_restart_stays_and_is_said_each_time() {
        let before = first([
            "[sip]\nrealm = \"a\"\n[call]\nring_timeout = \"5s\"\n[cdr]\npath = \"x\"\n[plugins.options.p]\nk = 1",
            "",
            "",
        ]);
        let texts = [
            "\n\n[sip]\nrealm = \"b\"\nreplace_oldest = false\n[limits]\ncalls = 7\n[plugins.options.p]\nk = 2\n",
            "",
            "",
        ];
        let (mut loaded, changes) = again(&before, texts).map_err(|problems| problems.to_string()).unwrap();
        assert_eq!(changes.restart, ["cdr.path", "plugins.options.p.k", "sip.realm"]);
        assert_eq!(
            changes.options,
            ["call.ring_timeout", "limits.calls", "sip.replace_oldest"]
        );
        let settings = &loaded.settings;
        assert_eq!(
            (settings.sip.realm.as_str(), settings.cdr.path.to_str()),
            ("a", Some("conf/x"))
        );
        assert_eq!(settings.plugins.options["p"]["k"], "1");
        assert_eq!((settings.limits.calls, settings.sip.replace_oldest), (7, false));
        let (_, changes) = again(&loaded, texts).map_err(|problems| problems.to_string()).unwrap();
        assert_eq!((changes.options, changes.restart.len()), (Vec::new(), 3));
        assert!(loaded.effective().contains("realm = \"a\""));
        // An option of a plugin that is new waits as well, and is told each time.
        let more = [&format!("{}j = 1\n", texts[0]), "", ""];
        for _ in 0..2 {
            let (again, changes) = again(&loaded, more).map_err(|problems| problems.to_string()).unwrap();
            assert!(
                changes.restart.contains(&"plugins.options.p.j".to_owned()),
                "{changes:?}"
            );
            loaded = again;
        }
        // Hashes for another realm would lock everybody out until the restart.
        let phones = format!("[[phone]]\nuser = \"1\"\n{HASH}\n");
        let refused = again(&loaded, [texts[0], &phones, ""])
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(refused.contains("restart the gateway"), "{refused}");
    }

    #[test]
    fn phones_and_routes_are_counted_and_a_moved_line_is_no_change() {
        let phone = |user: &str, more: &str| format!("[[phone]]\nuser = \"{user}\"\n{HASH}\n{more}\n");
        let route = "[[route]]\nname = \"a\"\nfrom = \"phones\"\nnumber = \"9{n}\"\nto = \"hub:{n}\"\n";
        let before = first([
            "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]",
            &(phone("1", "") + &phone("2", "") + &phone("3", "")),
            route,
        ]);
        let moved = again(
            &before,
            [
                "# moved\n[sip]\nlisten = [\n\"udp:127.0.0.1:5060\",\n]",
                &(phone("3", "") + &phone("1", "") + &phone("2", "")),
                &format!("\n{route}"),
            ],
        );
        let (_, changes) = moved.map_err(|problems| problems.to_string()).unwrap();
        assert_eq!(changes, Changes::default());
        assert_eq!(changes.sentence(), "nothing has changed");
        let (_, changes) = again(
            &before,
            [
                "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]",
                &(phone("1", "name = \"A\"") + &phone("4", "")),
                "",
            ],
        )
        .map_err(|problems| problems.to_string())
        .unwrap();
        let expected = Changes {
            phones_added: 1,
            phones_removed: 2,
            phones_changed: 1,
            routes: true,
            ..Changes::default()
        };
        assert_eq!(changes, expected);
        assert_eq!(
            changes.sentence(),
            "in force: 1 phone added; 1 phone changed; 2 phones removed; routes"
        );
    }
}

//! The texts that are made from the option table: `conf/quartet.conf`, `docs/configuration.md`, `quartet check --effective`.

use std::fmt::Write as _;

use super::kind::quoted;
use super::load::Loaded;
use super::options::{ConfFile, Preset, ROWS, Row, SECTIONS, bracketed, is_repeated};
use super::problem::Place;
use super::units::Period;

/// Width of the generated files.
const WIDTH: usize = 100;

/// The defaults of quartet.conf as TOML.
pub(super) fn defaults() -> String {
    let mut text = String::new();
    for (section, _) in sections_of(ConfFile::Quartet).filter(|(section, _)| !is_repeated(section)) {
        let _ = writeln!(text, "[{section}]");
        for row in rows_of(section) {
            if let Preset::Value(toml) = row.preset {
                let _ = writeln!(text, "{} = {toml}", row.name);
            }
        }
    }
    text
}

/// `conf/quartet.conf`: every option, commented out, at its default.
pub fn quartet_conf() -> String {
    let mut text = String::from(
        "# quartet.conf: how the gateway runs. Phones are in phones.conf, routes in routes.conf.\n\
         #\n\
         # Every option stands here at its default, commented out: remove the # to change one. Relative paths begin at\n\
         # this folder. `quartet check` says what is wrong, file and line; `quartet check --effective` shows what is in\n\
         # force. A variable QUARTET__SIP__REALM=example.org goes before the file. docs/configuration.md has it all.\n\
         #\n\
         # This file is generated from the option table in gateway/src/config/options.rs.\n",
    );
    for (section, about) in sections_of(ConfFile::Quartet) {
        let mark = if is_repeated(section) { "#" } else { "" };
        text.push('\n');
        for line in wrapped(about, WIDTH - 2) {
            let _ = writeln!(text, "# {line}");
        }
        let example = if section == super::telegram::POOL {
            "all"
        } else {
            "main"
        };
        let heading = bracketed(section).replace("NAME", example);
        let _ = writeln!(text, "{mark}{heading}");
        for row in rows_of(section) {
            let help = format!("{} Reload: {}.", row.help, row.reload.word());
            for line in wrapped(&help, WIDTH - 2) {
                let _ = writeln!(text, "# {line}");
            }
            match row.preset {
                Preset::Value(toml) => _ = writeln!(text, "#{} = {toml}", row.name),
                Preset::Words(words, example) => {
                    let _ = writeln!(text, "# Default: {words}; for example {} = {example}", row.name);
                }
                Preset::Required(example) => _ = writeln!(text, "#{} = {example}", row.name),
            }
        }
    }
    text.push_str(
        "\n# Options of a plugin stand in a section of its own; `quartet plugin inspect FILE` lists them.\n\
         #[plugins.options.codec-opus]\n#bitrate = 24000\n",
    );
    text
}

/// `docs/configuration.md`: the manual page of the conf files.
pub fn manual() -> String {
    let mut text = String::from(MANUAL_HEAD);
    for file in ConfFile::ALL {
        let _ = write!(text, "\n## {}\n", file.name());
        for (section, about) in sections_of(file) {
            let heading = bracketed(section);
            let _ = write!(text, "\n### `{heading}`\n\n{about}\n\n");
            text.push_str("| option | type | default | reload | meaning |\n|---|---|---|---|---|\n");
            for row in rows_of(section) {
                text.push_str(&manual_row(row));
            }
        }
        text.push_str(match file {
            ConfFile::Quartet => MANUAL_PLUGINS,
            ConfFile::Phones => MANUAL_PHONES,
            ConfFile::Routes => MANUAL_ROUTES,
        });
    }
    text
}

fn manual_row(row: &Row) -> String {
    let preset = match row.preset {
        Preset::Value(toml) => format!("`{toml}`"),
        Preset::Words(words, example) => format!("{words}; for example `{example}`"),
        Preset::Required(example) => format!("required, for example `{example}`"),
    };
    let cell = |text: &str| text.replace('|', "\\|");
    format!(
        "| `{}` | {} | {} | {} | {} |\n",
        row.name,
        cell(&row.kind.described()),
        cell(&preset),
        row.reload.word(),
        cell(row.help)
    )
}

impl Loaded {
    /// What is in force, as TOML with where each value came from; password hashes are left out.
    pub fn effective(&self) -> String {
        let mut text = String::new();
        for (section, _) in sections_of(ConfFile::Quartet).filter(|(section, _)| !is_repeated(section)) {
            let _ = writeln!(text, "[{section}]");
            for row in rows_of(section) {
                if let Some(checked) = self.values.get(&format!("{section}.{}", row.name)) {
                    let line = format!("{} = {}", row.name, checked.value.to_toml());
                    let _ = writeln!(text, "{line:<50}  # {}", origin(checked.place.as_ref()));
                }
            }
            if section == "plugins" {
                self.effective_plugin_options(&mut text);
            }
            text.push('\n');
        }
        self.effective_telegram(&mut text);
        self.effective_ice_servers(&mut text);
        self.effective_trunks(&mut text);
        self.effective_phones(&mut text);
        self.effective_routes(&mut text);
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn effective_plugin_options(&self, text: &mut String) {
        let mut last = "";
        for (path, checked) in &self.values {
            let Some((id, key)) = path
                .strip_prefix("plugins.options.")
                .and_then(|option| option.split_once('.'))
            else {
                continue;
            };
            if id != last {
                let _ = writeln!(text, "\n[plugins.options.{id}]");
                last = id;
            }
            let line = format!("{key} = {}", checked.value.to_toml());
            let _ = writeln!(text, "{line:<50}  # {}", origin(checked.place.as_ref()));
        }
    }

    fn effective_telegram(&self, text: &mut String) {
        for account in &self.settings.telegram.accounts {
            let _ = writeln!(text, "[network.telegram.{}]\napi_id = {}", account.name, account.api_id);
            let files = [
                ("api_hash_file", &account.api_hash_file),
                ("session_file", &account.session_file),
                ("session_key_file", &account.session_key_file),
            ];
            for (name, path) in files {
                let _ = writeln!(text, "{name} = {}", quoted(&path.display().to_string()));
            }
            let _ = writeln!(
                text,
                "calls_per_hour = {}\nlookups_per_day = {}\ndial_numbers = {}\n",
                account.calls_per_hour, account.lookups_per_day, account.dial_numbers
            );
        }
        for (name, accounts) in &self.settings.telegram.pools {
            let _ = writeln!(text, "[telegram_pool.{name}]\naccounts = {}\n", list(accounts));
        }
    }

    fn effective_ice_servers(&self, text: &mut String) {
        for server in &self.settings.ice_servers {
            let _ = writeln!(text, "[[ice_server]]\nurls = {}", list(&server.urls));
            if let Some(username) = &server.username {
                let _ = writeln!(text, "username = {}", quoted(username));
            }
            let files = [
                ("password_file", &server.password_file),
                ("secret_file", &server.secret_file),
                ("ca_file", &server.ca_file),
            ];
            for (name, path) in files {
                if let Some(path) = path {
                    let _ = writeln!(text, "{name} = {}", quoted(&path.display().to_string()));
                }
            }
            text.push('\n');
        }
    }

    fn effective_trunks(&self, text: &mut String) {
        for trunk in &self.settings.trunks {
            let addresses: Vec<_> = trunk.addresses.iter().map(ToString::to_string).collect();
            let allow: Vec<_> = trunk.allow.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                text,
                "[[trunk]]\nname = {}\naddress = {}\nallow = {}\nregister = {}\ncalls = {}\ncalls_per_minute = {}",
                quoted(&trunk.name),
                list(&addresses),
                list(&allow),
                trunk.register,
                trunk.calls,
                trunk.calls_per_minute
            );
            if let Some(username) = &trunk.username {
                let _ = writeln!(text, "username = {}", quoted(username));
            }
            let files = [("password_file", &trunk.password_file), ("ca_file", &trunk.ca_file)];
            for (name, path) in files {
                if let Some(path) = path {
                    let _ = writeln!(text, "{name} = {}", quoted(&path.display().to_string()));
                }
            }
            text.push('\n');
        }
    }

    fn effective_phones(&self, text: &mut String) {
        for phone in &self.settings.phones {
            let hashes: Vec<&str> = [
                phone.password_hash.md5.as_ref().map(|_| "md5"),
                phone.password_hash.sha256.as_ref().map(|_| "sha256"),
                phone.password_hash.sha512_256.as_ref().map(|_| "sha512_256"),
            ]
            .into_iter()
            .flatten()
            .collect();
            let _ = writeln!(text, "[[phone]]\nuser = {}", quoted(&phone.user));
            let _ = writeln!(text, "# password_hash: {}", hashes.join(", "));
            if let Some(name) = &phone.name {
                let _ = writeln!(text, "name = {}", quoted(name));
            }
            let _ = writeln!(text, "codecs = {}", list(&phone.codecs));
            let _ = writeln!(text, "language = {}", quoted(&phone.language));
            let _ = writeln!(
                text,
                "verify = {}",
                quoted(&format!("{:?}", phone.verify).to_lowercase())
            );
            let _ = writeln!(text, "srtp = {}", quoted(phone.srtp.word()));
            let _ = writeln!(text, "max_contacts = {}", phone.max_contacts);
            let may_assert: Vec<_> = phone.may_assert.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "may_assert = {}\n", list(&may_assert));
        }
    }

    fn effective_routes(&self, text: &mut String) {
        for route in &self.settings.routes {
            let _ = writeln!(text, "[[route]]\nname = {}", quoted(&route.name));
            let _ = writeln!(text, "from = {}", quoted(&route.from.to_string()));
            if !route.caller.is_empty() {
                let _ = writeln!(text, "caller = {}", list(&route.caller));
            }
            if !route.number.is_any() {
                let _ = writeln!(text, "number = {}", quoted(&route.number.to_string()));
            }
            let _ = writeln!(text, "to = {}", list(&route.to));
            let _ = writeln!(text, "ring_timeout = \"{}\"", route.ring_timeout);
            if route.wait != Period::default() {
                let _ = writeln!(text, "wait = \"{}\"", route.wait);
            }
            if let Some(transport) = &route.transport {
                let _ = writeln!(text, "transport = {}", quoted(transport));
            }
            if route.relay_only {
                let _ = writeln!(text, "relay_only = true");
            }
            let _ = writeln!(
                text,
                "strategy = {}\n",
                quoted(&format!("{:?}", route.strategy).to_lowercase())
            );
        }
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    format!(
        "[{}]",
        items
            .iter()
            .map(|item| quoted(&item.to_string()))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

fn origin(place: Option<&Place>) -> String {
    match place {
        None => "default".to_owned(),
        Some(Place::Line(file, line)) => {
            format!(
                "{}:{line}",
                file.file_name().unwrap_or(file.as_os_str()).to_string_lossy()
            )
        }
        Some(Place::File(file)) => file.display().to_string(),
        Some(Place::Variable(name)) => name.clone(),
    }
}

fn sections_of(file: ConfFile) -> impl Iterator<Item = (&'static str, &'static str)> {
    SECTIONS
        .iter()
        .copied()
        .filter(move |(section, _)| ConfFile::of_section(section) == file)
}

fn rows_of(section: &str) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.section == section)
}

/// Breaks a text at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

const MANUAL_HEAD: &str = "\
# Configuration

<!-- Generated from the option table in gateway/src/config/options.rs: run `UPDATE=1 cargo test -p quartet config`. -->

Three files in one folder, in TOML: `quartet.conf` (how the gateway runs), `phones.conf` (who may register), `routes.conf`
(who reaches whom). The folder is the one given as `--conf DIR`, else `$QUARTET_CONF`, `./conf`, `/etc/quartet`. A missing
`phones.conf` or `routes.conf` means no phones or no routes; `quartet.conf` must exist and may be empty.

- `quartet check` reads all three and prints every mistake at once as `file:line: sentence`; its exit code is 1 if there is
  one. Unknown keys are mistakes. It looks at the machine too: ports in use, addresses, plugins (loaded in a process of their own).
  What the gateway starts with all the same is a warning. `quartet check --effective` prints what is in force and where each value came from.
- An option of `quartet.conf` can be overridden from the environment: `QUARTET__SIP__REALM=example.org` is `realm` of `[sip]`,
  `QUARTET__NETWORK__HUB__LISTEN` is `listen` of `[network.hub]`. Lists are separated by commas; in the id of a plugin `_`
  stands for `-`: `QUARTET__PLUGINS__OPTIONS__CODEC_OPUS__BITRATE=24000`.
- Relative paths begin at the conf folder, also those from the environment.
- The conf folder, its files, the folders of `[plugins] path` and `[ivr] prompts`, every plugin, and each folder above them
  must be nobody else's: owned by root, the user that runs `quartet` or the owner of the program, and writable by no group and
  not by everybody, except folders with the sticky bit, and except those who can write the program itself. What is not so is
  refused with the command that mends it: `chmod go-w PATH`. In a checkout under umask 002 that is needed once if the program
  was installed elsewhere.
- A time is a whole number and a unit: `\"500ms\"`, `\"10s\"`, `\"2m\"`, `\"1h\"`.
- `quartet reload`, or SIGHUP, has the running gateway read its files anew. If anything is wrong, nothing changes, and it says
  what. Else all of it comes into force as the column *reload* says: *live* at once, *new calls* for calls that begin after it,
  *restart* not before the next start, which is said. Calls go on, also those of a phone that is gone from the file. A phone
  that is gone, or has another password, is no longer registered. New addresses of `listen` are bound before anything changes;
  old ones take nothing new and close when the last call over them has ended.
- SIGTERM and SIGINT (Ctrl-C) end the gateway, its calls first.
";

const MANUAL_PLUGINS: &str = "
### `[plugins.options.ID]`

Options of the plugin with this id, for example `bitrate = 24000` under `[plugins.options.codec-opus]`. Each plugin has its own;
`quartet plugin inspect FILE` lists them, and an unknown one is refused when the plugin is loaded.
";

const MANUAL_PHONES: &str = "
There is no default password: `quartet passwd 100` asks for one and prints the line for the file. The hash is made for the
`realm` of `[sip]` and the user; if one of them changes, it must be made again.
";

const MANUAL_ROUTES: &str = "
A `number` must match as a whole:

| in the pattern | matches |
|---|---|
| `tg*` | these characters, `*` among them |
| `[0-9]`, `[0-9*#]{4}` | one character of the class, four of them |
| `{user}` | one character or more, as few as the rest allows; `{user}` in `to` is what it matched |
| `{room:[0-9]{3}}` | three digits, captured |

The first route that matches decides, also when it leads to a phone that does not exist. A call without a route is refused
as unknown.
";

//! `quartet import tg2sip settings.ini`: conf files of ours from the settings of our predecessor. What has no counterpart is said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use quartet_proto::sip::Uri;
use rand_core::Rng as _;
use serde_json::json;
use zeroize::Zeroizing;

use crate::config::{self, Hashes, PasswordHash, SocksProxy, quoted};

/// The realm of a gateway whose conf says nothing of it.
const REALM: &str = "quartet";
/// Characters of a password that is drawn: 32 of them, so five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const PASSWORD: usize = 20;
/// The longest settings that are read; longer ones are a file given by mistake.
const MAX_SETTINGS: u64 = 1024 * 1024;

/// Where settings come from.
#[derive(Debug, clap::Subcommand)]
pub(super) enum From {
    /// The settings.ini of tg2sip
    Tg2sip {
        /// The file
        settings: PathBuf,
        /// The folder that the conf files are written into; none of them may be there
        #[arg(long, value_name = "DIR", default_value = "conf")]
        to: PathBuf,
    },
}

/// What is made of settings.
#[derive(Debug)]
struct Made {
    /// Name, text, and whether it is a secret.
    files: Vec<(&'static str, Zeroizing<String>, bool)>,
    /// What the operator has to know.
    notes: Vec<String>,
    /// The account of the PBX, and its password.
    user: String,
    password: Zeroizing<String>,
}

/// Writes the conf files. Returns the exit code.
///
/// # Errors
/// If the settings cannot be read, or a file is there already; then nothing is written.
pub(super) fn run(from: &From, json: bool) -> anyhow::Result<u8> {
    let From::Tg2sip { settings, to } = from;
    let about = || format!("{} cannot be read", settings.display());
    let length = fs::metadata(settings).with_context(about)?.len();
    ensure!(
        length <= MAX_SETTINGS,
        "{} is too long for settings of tg2sip",
        settings.display()
    );
    let text = Zeroizing::new(fs::read_to_string(settings).with_context(about)?);
    let made = make(&text)?;
    for (name, ..) in &made.files {
        let path = to.join(name);
        ensure!(
            !path.exists(),
            "{} is there already; choose another folder with --to, or move it away",
            path.display()
        );
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(to)
        .with_context(|| format!("{} cannot be made", to.display()))?;
    for (name, text, is_secret) in &made.files {
        let path = to.join(name);
        let mode = if *is_secret { 0o600 } else { 0o640 };
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let mut out = io::stdout().lock();
    if json {
        let names: Vec<_> = made.files.iter().map(|(name, ..)| to.join(name)).collect();
        let value = json!({
            "files": names, "user": made.user, "password": *made.password, "notes": made.notes,
        });
        writeln!(out, "{value}")?;
        return Ok(0);
    }
    for note in &made.notes {
        writeln!(out, "- {note}")?;
    }
    writeln!(out, "\nThe conf files are in {}.", to.display())?;
    writeln!(
        out,
        "The PBX registers as {} with the password {}, which is shown this once.",
        made.user, *made.password
    )?;
    writeln!(
        out,
        "Next: quartet check --conf {0}; quartet login --conf {0} telegram.main; quartet run --conf {0}",
        to.display()
    )?;
    Ok(0)
}

/// The settings of an INI file by section and key; comments begin with `;` or `#`.
fn read(text: &str) -> Result<BTreeMap<(String, String), String>, String> {
    let mut settings = BTreeMap::new();
    let mut section = String::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            name.0.trim().clone_into(&mut section);
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else {
            return Err(format!("line {} is no setting: write KEY=VALUE", number + 1));
        };
        // A comment begins with a blank before it, or is the whole value.
        let value = [" ;", "\t;"]
            .iter()
            .fold(value, |value, mark| value.split(mark).next().unwrap_or(value));
        let value = value.trim();
        let value = if value.starts_with(';') { "" } else { value };
        settings.insert((section.clone(), key.trim().to_owned()), value.to_owned());
    }
    Ok(settings)
}

/// The names of what settings become.
///
/// # Errors
/// If they cannot be read.
#[cfg(feature = "fuzzing")]
pub(super) fn names(text: &str) -> anyhow::Result<Vec<&'static str>> {
    Ok(make(text)?.files.iter().map(|(name, ..)| *name).collect())
}

fn make(text: &str) -> anyhow::Result<Made> {
    let mut settings = read(text).map_err(anyhow::Error::msg)?;
    let mut take = |section: &str, key: &str| {
        let value = settings.remove(&(section.to_owned(), key.to_owned()));
        value.filter(|value| !value.is_empty())
    };
    let mut notes = Vec::new();
    let api_id = take("telegram", "api_id").map(|id| {
        let number = id.parse::<i32>().ok().filter(|id| *id > 0);
        number.with_context(|| format!("api_id is \"{id}\", which is no number"))
    });
    let (api_id, api_hash) = (api_id.transpose()?, take("telegram", "api_hash").map(Zeroizing::new));
    let port = match take("sip", "port").as_deref() {
        None | Some("0") => 5060,
        Some(port) => port
            .parse::<u16>()
            .with_context(|| format!("port is \"{port}\", which is no port"))?,
    };
    let callback = take("sip", "callback_uri").map(|uri| (uri.parse::<Uri>().ok(), uri));
    let user = callback.as_ref().and_then(|(uri, _)| Some(uri.as_ref()?.dialled()));
    let user = user
        .filter(|user| config::check_user(user).is_ok())
        .unwrap_or_else(|| "pbx".to_owned());
    if let Some((_, uri)) = &callback {
        notes.push(format!(
            "callback_uri {uri}: the PBX registers here as {user}, and calls from Telegram ring it there"
        ));
    }
    let mut conf =
        String::from("# From the settings of tg2sip. All options and their defaults: docs/configuration.md.\n\n");
    writeln!(conf, "[sip]\nlisten = [\"udp:0.0.0.0:{port}\"]\n")?;
    if let Some(address) = take("sip", "public_address") {
        writeln!(conf, "[media]\nexternal_address = {}\n", quoted(&address))?;
    }
    if let Some(server) = take("sip", "stun_server") {
        writeln!(conf, "[[ice_server]]\nurls = {}\n", quoted(&format!("stun:{server}")))?;
    }
    if take("sip", "raw_pcm").is_some_and(|raw| is_true(&raw)) {
        notes.push("raw_pcm: the PBX is offered Opus, then G.711; L16 needs a codec plugin".to_owned());
    }
    let mut account = String::from("[network.telegram.main]\n");
    writeln!(account, "api_id = {}", api_id.unwrap_or(12_345))?;
    account.push_str("api_hash_file = \"telegram.hash\"\ndial_numbers = true\ncaller_headers = true\n");
    let proxy = proxy(&mut take, &mut account, &mut notes)?;
    let routes = routes(&user, callback.is_some(), &mut notes);
    let is_complete = api_id.is_some() && api_hash.is_some();
    if !is_complete {
        notes.push(
            "api_id or api_hash is missing: account and routes are written as comments; fill in both (they are on my.telegram.org), \
             and take the # away"
                .to_owned(),
        );
    }
    let in_force = |text: String| if is_complete { text } else { commented(&text) };
    conf.push_str(&in_force(account));
    let password = draw();
    let hash = PasswordHash::of(&user, REALM, &password, Hashes::Md5AndSha256);
    let phones = Zeroizing::new(format!(
        "# The PBX.\n[[phone]]\nuser = {}\n{}\n",
        quoted(&user),
        *hash.to_line()
    ));
    let routes = format!(
        "# From the settings of tg2sip: the first route that matches decides.\n\n{}",
        in_force(routes)
    );
    let mut files = vec![
        ("quartet.conf", Zeroizing::new(conf), false),
        ("phones.conf", phones, true),
        ("routes.conf", Zeroizing::new(routes), false),
    ];
    files.extend(
        api_hash
            .filter(|_| is_complete)
            .map(|hash| ("telegram.hash", hash, true)),
    );
    files.extend(proxy.map(|login| ("telegram.proxy", login, true)));
    if take("telegram", "database_folder").is_some() {
        notes.push(
            "database_folder: the login of TDLib cannot be taken over; log in once, with quartet login".to_owned(),
        );
    }
    for (section, key) in settings.keys() {
        notes.push(match is_dropped(section, key) {
            Some(why) => format!("{key}: {why}"),
            None => format!("{key} in [{section}] is no setting that is known; it was left out"),
        });
    }
    Ok(Made {
        files,
        notes,
        user,
        password,
    })
}

/// The proxy for requests, if there is one: its line, and what its login file holds.
fn proxy(
    take: &mut impl FnMut(&str, &str) -> Option<String>,
    account: &mut String,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<Zeroizing<String>>> {
    let is_used = take("telegram", "use_proxy").is_some_and(|used| is_true(&used));
    let (address, port) = (take("telegram", "proxy_address"), take("telegram", "proxy_port"));
    let login = take("telegram", "proxy_username").map(|user| {
        let password = Zeroizing::new(take("telegram", "proxy_password").unwrap_or_default());
        Zeroizing::new(format!("{user}:{}", *password))
    });
    let Some((address, port)) = address.zip(port).filter(|_| is_used) else {
        return Ok(None);
    };
    writeln!(account, "proxy = {}", quoted(&format!("socks5://{address}:{port}")))?;
    if let Some(login) = &login {
        if let Err(why) = SocksProxy::read_login(login) {
            notes.push(format!(
                "proxy_username and proxy_password: a file {why}; write telegram.proxy yourself"
            ));
            return Ok(None);
        }
        account.push_str("proxy_login_file = \"telegram.proxy\"\n");
    }
    Ok(login)
}

/// The three dial strings of tg2sip, and where calls from Telegram ring.
fn routes(user: &str, takes_calls: bool, notes: &mut Vec<String>) -> String {
    let mut text = String::new();
    let mut add = |name: &str, from: &str, number: &str, to: &str| {
        let (name, from, number, to) = (quoted(name), quoted(from), quoted(number), quoted(to));
        text += &format!("[[route]]\nname = {name}\nfrom = {from}\nnumber = {number}\nto = {to}\n\n");
    };
    add("a user name", "phones", "tg#{user}", "telegram:main/@{user}");
    add("a telephone number", "phones", "+{number}", "telegram:main/+{number}");
    add("a number at Telegram", "phones", "{id}", "telegram:main/{id}");
    if takes_calls {
        add(
            "calls from Telegram",
            "network:telegram",
            "main",
            &format!("phone:{user}"),
        );
    } else {
        notes.push("callback_uri is not set: calls from Telegram are declined, as before".to_owned());
    }
    text
}

/// Settings that have no counterpart, and why.
fn is_dropped(section: &str, key: &str) -> Option<&'static str> {
    match (section, key) {
        ("logging", _) => Some("the level is [log] level"),
        ("sip", "port_range") => Some("media ports are [media] ports"),
        ("sip", "id_uri" | "raw_pcm") => Some("the PBX registers here"),
        ("sip", "thread_count") => Some("there is a media thread for each core ([media] workers)"),
        ("telegram", "udp_p2p" | "udp_reflector") => {
            Some("both ways are tried; relay_only of a route forbids the straight one")
        }
        ("telegram", "system_language_code" | "device_model" | "system_version" | "application_version") => {
            Some("the account's list of devices shows Quartet")
        }
        ("telegram", "enable_aec" | "enable_ns" | "enable_agc") => Some("the phones do that"),
        ("telegram", "use_proxy" | "proxy_address" | "proxy_port" | "proxy_username" | "proxy_password") => {
            Some("no proxy is used")
        }
        (
            "telegram",
            "use_voip_proxy" | "voip_proxy_address" | "voip_proxy_port" | "voip_proxy_username" | "voip_proxy_password",
        ) => Some("media goes straight or over relays, never by a proxy"),
        ("telegram", "database_folder" | "api_id" | "api_hash")
        | ("sip", "public_address" | "stun_server" | "callback_uri" | "port") => Some("it is empty"),
        ("other", "extra_wait_time" | "peer_flood_time") => {
            Some("after a pause that Telegram asks for there are 30 s more, and a day after PEER_FLOOD")
        }
        _ => None,
    }
}

fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1")
}

fn commented(text: &str) -> String {
    let lines = text.lines().map(|line| {
        if line.is_empty() {
            String::new()
        } else {
            format!("#{line}")
        }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn draw() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; PASSWORD]);
    rand::rng().fill_bytes(&mut *bytes);
    Zeroizing::new(
        bytes
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As tg2sip ships it: everything that is optional is a comment.
    const SAMPLE: &str = "; sample\n\n[logging]\n;core=2        ; 0-trace\n\n[sip]\n;port=5060\n;raw_pcm=true\n\n\
                          [telegram]\napi_id=              ; from the site\napi_hash=            ; of it\n\n[other]\n;extra_wait_time=30\n";

    const FULL: &str = "[logging]\ncore=2\n[sip]\npublic_address=203.0.113.5\nstun_server=stun.example.com:3478\nport=5070\n\
                        callback_uri=sip:1000@pbx.example.com\nraw_pcm=true\nthread_count=2\n[telegram]\napi_id = 12345 ; mine\n\
                        api_hash=0123456789abcdef\nuse_proxy=true\nproxy_address=192.0.2.1\nproxy_port=1080\nproxy_username=anna\n\
                        proxy_password=secret\ndatabase_folder=/var/lib/tg\nwhatever=1\n[other]\nextra_wait_time=30\n";

    fn text<'a>(made: &'a Made, name: &str) -> &'a str {
        made.files
            .iter()
            .find(|(of, ..)| *of == name)
            .map_or("", |(_, text, _)| text)
    }

    #[test]
    fn settings_become_conf_files_and_what_is_left_out_is_said() {
        let made = make(FULL).unwrap();
        let quartet = text(&made, "quartet.conf");
        for line in [
            "listen = [\"udp:0.0.0.0:5070\"]",
            "external_address = \"203.0.113.5\"",
            "urls = \"stun:stun.example.com:3478\"",
            "[network.telegram.main]\napi_id = 12345",
            "proxy = \"socks5://192.0.2.1:1080\"\nproxy_login_file",
        ] {
            assert!(quartet.contains(line), "{line}\n{quartet}");
        }
        assert_eq!(made.user, "1000");
        assert_eq!(
            (text(&made, "telegram.hash"), text(&made, "telegram.proxy")),
            ("0123456789abcdef", "anna:secret")
        );
        assert!(text(&made, "phones.conf").contains("user = \"1000\"\npassword_hash"));
        assert!(text(&made, "routes.conf").contains("to = \"phone:1000\""));
        assert!(!quartet.contains("secret") && !quartet.contains("abcdef"));
        let notes = made.notes.join("\n");
        for word in [
            "callback_uri",
            "raw_pcm",
            "database_folder",
            "thread_count",
            "core",
            "whatever",
            "extra_wait_time",
        ] {
            assert!(notes.contains(word), "{word}\n{notes}");
        }
        assert!(
            made.files
                .iter()
                .all(|(name, _, is_secret)| *is_secret != matches!(*name, "quartet.conf" | "routes.conf"))
        );
        assert_ne!(made.password, make(FULL).unwrap().password);
    }

    #[test]
    fn the_sample_without_an_id_is_taken_and_says_what_is_missing() {
        let made = make(SAMPLE).unwrap();
        assert!(text(&made, "quartet.conf").contains("#[network.telegram.main]"));
        assert!(text(&made, "routes.conf").contains("#[[route]]"));
        assert_eq!((made.user.as_str(), made.files.len()), ("pbx", 3));
        assert!(
            made.notes.iter().any(|note| note.contains("my.telegram.org")),
            "{:?}",
            made.notes
        );
    }

    #[test]
    fn what_is_no_setting_is_refused_with_its_line() {
        assert!(make("[sip]\nport\n").unwrap_err().to_string().contains("line 2"));
        assert!(make("[sip]\nport=abc\n").unwrap_err().to_string().contains("\"abc\""));
        assert!(
            make("[telegram]\napi_id=x\n")
                .unwrap_err()
                .to_string()
                .contains("api_id")
        );
        let odd = make(&FULL.replace("proxy_password=secret", "proxy_password=a@b")).unwrap();
        assert!(
            odd.notes.iter().any(|note| note.contains("telegram.proxy yourself")),
            "{:?}",
            odd.notes
        );
        assert!(!text(&odd, "quartet.conf").contains("proxy_login_file"));
    }
}

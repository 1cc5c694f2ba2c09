//! The conf files as an operator meets them: what is refused and how, what is taken over.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::options::{ConfFile, Preset, ROWS};
use super::tree::Tree;
use super::*;
use crate::route::Callers;

const MD5: &str = "0123456789abcdef0123456789abcdef";
const SHA256: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A conf folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "quartet-conf-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = Self(std::env::temp_dir().join(name));
        fs::DirBuilder::new().mode(0o700).create(&folder.0).unwrap();
        for (name, text) in files {
            folder.write(name, text.as_bytes());
        }
        folder
    }

    /// Writes a file that nobody else may, whatever the umask.
    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        self.mode(name, 0o600);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        load(&self.0, &variables)
    }

    /// The problems, with the folder left out of the paths.
    fn problems(&self, variables: &[(&str, &str)]) -> Vec<String> {
        let problems = self
            .load(variables)
            .err()
            .map(|problems| problems.to_string())
            .unwrap_or_default();
        let folder = format!("{}/", self.0.display());
        problems.lines().map(|line| line.replace(&folder, "")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn refused(quartet: &str, expected: &[&str]) {
    assert_eq!(Folder::new(&[("quartet.conf", quartet)]).problems(&[]), expected);
}

#[track_caller]
fn refused_phones(phones: &str, expected: &[&str]) {
    assert_eq!(
        Folder::new(&[("quartet.conf", ""), ("phones.conf", phones)]).problems(&[]),
        expected
    );
}

#[track_caller]
fn refused_routes(routes: &str, expected: &[&str]) {
    let phones = format!("[[phone]]\nuser = \"100\"\npassword_hash = {{ md5 = \"{MD5}\" }}\n");
    let folder = Folder::new(&[("quartet.conf", ""), ("phones.conf", &phones), ("routes.conf", routes)]);
    assert_eq!(folder.problems(&[]), expected);
}

#[test]
fn an_empty_file_means_all_defaults() {
    let folder = Folder::new(&[("quartet.conf", "")]);
    let settings = folder.load(&[]).unwrap().settings;
    assert_eq!(settings.sip.listen, ["udp:0.0.0.0:5060".parse().unwrap()]);
    assert_eq!(settings.sip.realm, "quartet");
    assert_eq!(settings.media.addresses, Addresses::Auto);
    assert_eq!(
        settings.media.ports,
        Ports::Range {
            first: 20000,
            last: 24999
        }
    );
    assert_eq!(settings.call.verify, VerifyMode::Announce);
    assert_eq!(settings.call.confirm_timeout.duration(), Duration::from_secs(10));
    assert_eq!(settings.limits.calls, 100);
    assert_eq!(settings.ivr.prompts, Prompts::Builtin);
    assert_eq!(settings.network.hub.account, "gw");
    assert!(settings.plugins.path.is_empty() && settings.plugins.options.is_empty());
    assert_eq!(settings.store.path, folder.0.join("state/quartet.db"));
    assert_eq!(settings.log.level, Level(tracing::Level::INFO));
    assert!(settings.phones.is_empty() && settings.routes.is_empty());
}

#[test]
fn everything_said_is_taken_over() {
    let quartet = r#"
[sip]
listen = ["udp:127.0.0.1:0", "udp:[::1]:5060"]
realm = "example.org"
[media]
addresses = "192.0.2.1"
ports = "0"
workers = 2
[call]
verify = "confirm"
confirm_timeout = "500s"
[call.x]
"#
    .replace("500s", "90s")
    .replace("[call.x]\n", "ring_timeout = \"80s\"\n");
    let quartet = format!(
        "{quartet}[ivr]\nprompts = \"voices\"\n[plugins]\npath = [\"voices\", \".\"]\nrequired = []\n\
         [plugins.options.codec-opus]\nbitrate = 24000\nfec = true\nshare = 0.5\nmode = \"voip\"\n[cdr]\npath = \"/x/cdr\"\n"
    );
    let phones = format!(
        "[[phone]]\nuser = \"100\"\npassword_hash = {{ md5 = \"{MD5}\", sha256 = \"{SHA256}\" }}\nname = \"Anna, desk\"\n\
         codecs = [\"pcma\"]\nlanguage = \"de\"\nverify = \"off\"\nmax_contacts = 1\n\
         [[phone]]\nuser = \"101\"\npassword_hash.md5 = \"{MD5}\"\n"
    );
    let routes = "[[route]]\nname = \"a\"\nfrom = \"phone:100\"\nnumber = \"tg*{user}\"\nto = \"hub:{user}\"\n\
                  ring_timeout = \"5s\"\n[[route]]\nname = \"b\"\nfrom = \"network:hub\"\nto = [\"phone:100\", \"phone:101\"]\n\
                  strategy = \"all\"\n";
    let folder = Folder::new(&[
        ("quartet.conf", &quartet),
        ("phones.conf", &phones),
        ("routes.conf", routes),
    ]);
    fs::create_dir(folder.0.join("voices")).unwrap();
    folder.mode("voices", 0o700);
    let settings = folder.load(&[]).unwrap().settings;
    assert_eq!(settings.sip.listen.len(), 2);
    assert_eq!(
        settings.media.addresses,
        Addresses::Listed(vec!["192.0.2.1".parse().unwrap()])
    );
    assert_eq!(settings.media.ports, Ports::System);
    assert_eq!(settings.ivr.prompts, Prompts::Folder(folder.0.join("voices")));
    assert_eq!(settings.cdr.path, Path::new("/x/cdr"));
    let options = &settings.plugins.options["codec-opus"];
    let options: Vec<_> = options
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        options,
        [
            ("bitrate", "24000"),
            ("fec", "true"),
            ("mode", "voip"),
            ("share", "0.5")
        ]
    );
    let [anna, second] = settings.phones.as_slice() else {
        panic!("two phones")
    };
    assert_eq!(anna.name.as_deref(), Some("Anna, desk"));
    assert_eq!(
        (anna.codecs.as_slice(), anna.language.as_str()),
        (["pcma".to_owned()].as_slice(), "de")
    );
    assert_eq!((anna.verify, anna.max_contacts), (VerifyMode::Off, 1));
    assert_eq!(anna.password_hash.sha256.as_ref().unwrap().hex().as_str(), SHA256);
    assert_eq!(
        (second.verify, second.max_contacts, second.language.as_str()),
        (VerifyMode::Confirm, 4, "en")
    );
    assert_eq!(second.codecs, ["opus", "pcma", "pcmu"]);
    assert!(second.password_hash.sha256.is_none());
    let [first, second] = settings.routes.as_slice() else {
        panic!("two routes")
    };
    assert_eq!(first.from, Callers::Phone("100".to_owned()));
    assert_eq!(first.ring_timeout.duration(), Duration::from_secs(5));
    assert_eq!(
        (second.ring_timeout.duration(), second.to.len()),
        (Duration::from_secs(80), 2)
    );
    assert!(!format!("{settings:?}").contains(&MD5[..8]), "hashes are not for logs");
}

#[test]
fn every_mistake_is_reported_in_one_run() {
    let quartet =
        "[sip]\nrelm = \"x\"\nlisten = [\"sctp:0.0.0.0:5060\"]\n\n[limits]\ncalls = 0\ncalls_per_phone = \"4\"\n";
    let phones = "[[phone]]\nuser = \"100\"\n\n[[phone]]\nuser = \"100\"\npassword_hash = { md5 = \"12\" }\n";
    let routes =
        "[[route]]\nname = \"x\"\nfrom = \"phone:105\"\nnumber = \"{a}\"\nto = \"hub:{b}\"\nstrategy = \"in-order\"\n";
    let folder = Folder::new(&[
        ("quartet.conf", quartet),
        ("phones.conf", phones),
        ("routes.conf", routes),
    ]);
    let problems = folder.problems(&[("QUARTET__MEDIA__WORKERS", "many"), ("QUARTET__SIP__RELM", "x")]);
    let expected = r#"
quartet.conf:2: unknown key "relm" in [sip]; did you mean "realm"?
quartet.conf:3: listen must be written "udp:ADDRESS:PORT", as "udp:0.0.0.0:5060"; there are udp, tcp, tls, ws and wss
quartet.conf:6: calls must be from 1 to 1000000
quartet.conf:7: calls_per_phone must be a whole number from 1 to 1000000 without quotes, not text
phones.conf:1: [[phone]] has no password_hash; add a line password_hash = { md5 = "…", sha256 = "…" }
phones.conf:5: phone "100" stands already in line 2; give each phone its own user
phones.conf:6: password_hash must have 32 hex digits as md5; run `quartet passwd USER` to make it
routes.conf:3: from names the phone "105", which phones.conf does not have; did you mean "phone:100"?
routes.conf:5: to uses {b}, which number does not capture; write {b} in number
routes.conf:6: strategy is "in-order", which comes later; write "all" to ring them at the same time
environment variable QUARTET__MEDIA__WORKERS: workers must be a whole number from 0 to 256 without quotes, not text
environment variable QUARTET__SIP__RELM: sets no option; did you mean QUARTET__SIP__REALM?"#;
    assert_eq!(problems.join("\n"), expected.trim_start());
}

#[test]
fn all_mistakes_of_syntax_and_the_rest_of_the_file() {
    refused(
        "[sip]\nrealm = exam ple\n[media]\nports = \n[limits]\ncals = 3\n[log]\nlevel = \"info\nx = 1\n",
        &[
            "quartet.conf:2: not valid TOML: string values must be quoted, expected literal string; write text as \"text\"",
            "quartet.conf:4: not valid TOML: string values must be quoted, expected literal string; write text as \"text\"",
            "quartet.conf:6: unknown key \"cals\" in [limits]; did you mean \"calls\"?",
            "quartet.conf:8: not valid TOML: invalid basic string, expected `\"`; check the quotes and brackets of this line and the one before",
            "quartet.conf:9: unknown key \"x\" in [log]; valid here: level",
        ],
    );
}

#[test]
fn a_hub_is_here_or_elsewhere() {
    let folder = Folder::new(&[("ca.pem", "x"), ("everybodys.pem", "x")]);
    let check = |lines: &str, expected: &[&str]| {
        let text = format!("[network.hub]\n{lines}\n");
        let problems = match load_texts(&folder.0, [&text, "", ""], &[]) {
            Ok(_) => Vec::new(),
            Err(Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
        };
        let conf = format!("{}/quartet.conf", folder.0.display());
        let problems: Vec<_> = problems
            .iter()
            .map(|problem| problem.replacen(&conf, "quartet.conf", 1))
            .collect();
        assert_eq!(problems, expected, "{lines}");
    };
    check("url = \"wss://hub.example.org\"\ntoken_file = \"hub.token\"", &[]);
    check(
        "url = \"wss://hub.example.org\"\ntoken_file = \"hub.token\"\nca_file = \"ca.pem\"",
        &[],
    );
    check(
        "url = \"wss://hub.example.org\"\ntoken_file = \"hub.token\"\nca_file = \"gone.pem\"",
        &["quartet.conf:4: ca_file names \"gone.pem\", which cannot be read (No such file or directory (os error 2))"],
    );
    let everybodys = folder.0.join("everybodys.pem");
    fs::set_permissions(&everybodys, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    if !crate::permissions::Trusted::is_everybody() {
        let fault = &crate::permissions::Trusted::by_this_process().faults(&everybodys)[0];
        check(
            "url = \"wss://hub.example.org\"\ntoken_file = \"hub.token\"\nca_file = \"everybodys.pem\"",
            &[&format!(
                "quartet.conf:4: ca_file names \"everybodys.pem\", and {} {fault}",
                everybodys.display()
            )],
        );
    }
    check(
        "url = \"ws://127.0.0.1:8080\"\ntoken_file = \"hub.token\"\nca_file = \"ca.pem\"",
        &["quartet.conf:4: ca_file is for a hub at wss://, and url names one at ws://; remove the line, or use wss://"],
    );
    check(
        "token_file = \"hub.token\"\nca_file = \"ca.pem\"",
        &[
            "quartet.conf:2: token_file is for a hub elsewhere; name it with url, or remove the line",
            "quartet.conf:3: ca_file is for a hub elsewhere; name it with url, or remove the line",
        ],
    );
    check(
        "url = \"wss://hub\"\ntoken_file = \"hub.token\"\nlisten = \"http:0.0.0.0:80\"\naccount = \"office\"",
        &[
            "quartet.conf:4: listen is for the embedded hub, and url names one elsewhere; remove one of the two lines",
            "quartet.conf:5: account is for the embedded hub, and url names one elsewhere; remove one of the two lines",
        ],
    );
    check(
        "url = \"https://hub.example.org\"\ntoken_file = \"\"",
        &[
            "quartet.conf:2: url is \"https://hub.example.org\", which is no address of a hub; write \"wss://hub.example.org\", or \
             \"ws://127.0.0.1:8080\" on this machine",
            "quartet.conf:3: token_file must name a file or a folder, not nothing",
        ],
    );
}

#[test]
fn unknown_keys_and_sections() {
    refused(
        "realm = \"x\"\n[spi]\n[phone]\n[media]\nrealm = \"x\"\n[zzzzzzzz]\n[log]\nzzzzzz = 1\n",
        &[
            "quartet.conf:1: unknown key \"realm\"; it belongs under [sip]",
            "quartet.conf:2: unknown section or key \"spi\"; did you mean [sip]?",
            "quartet.conf:3: [[phone]] belongs in phones.conf; move it there",
            "quartet.conf:5: unknown key \"realm\" in [media]; it belongs under [sip]",
            "quartet.conf:6: unknown section or key \"zzzzzzzz\"; valid here: [sip], [tls], [media], [call], [limits], [ivr], [network.hub], [telegram_pool.NAME], [reflector], [plugins], [cdr], [control], [store], [log], [[ice_server]], [[trunk]]",
            "quartet.conf:8: unknown key \"zzzzzz\" in [log]; valid here: level",
        ],
    );
    refused(
        "[network.telegram.main]\napi_id = 1\n[network.hub]\nurl = \"wss://x\"\n[network.hbu]\n",
        &[
            "quartet.conf:1: [network.telegram.NAME] has no api_hash_file; add a line api_hash_file = \"telegram.hash\"",
            "quartet.conf:4: url needs token_file, the file with the token that `quartet invite --gateway NAME` prints on that hub",
            "quartet.conf:5: unknown key \"hbu\" in [network]; did you mean \"hub\"?",
        ],
    );
    refused(
        "[[phone]]\nuser = \"100\"\n[[route]]\n[[trunk]]\n",
        &[
            "quartet.conf:1: [[phone]] belongs in phones.conf; move it there",
            "quartet.conf:3: [[route]] belongs in routes.conf; move it there",
            "quartet.conf:4: [[trunk]] has no name; add a line name = \"pbx\"",
            "quartet.conf:4: [[trunk]] has no address; add a line address = \"udp:192.0.2.10:5060\"",
        ],
    );
}

#[test]
fn wrong_types() {
    refused(
        "sip = 3\n[media]\nports = 5060\nworkers = 1.5\naddresses = [1, 2]\n[call]\ncodecs = \"opus\"\n",
        &[
            "quartet.conf:1: sip must be a section, written [sip]",
            "quartet.conf:3: ports must be text in quotes, not a number",
            "quartet.conf:4: workers must be a whole number from 0 to 256 without quotes, not a fraction or a date",
            "quartet.conf:5: addresses must hold texts in quotes, not a number",
            "quartet.conf:7: codecs must be a list of texts, as [\"one\", \"two\"], not text",
        ],
    );
    refused(
        "[call]\nverify = true\nrtp_timeout = 10\nring_timeout = \"10\"\n[plugins]\noptions = 3\n",
        &[
            "quartet.conf:2: verify must be \"announce\", \"confirm\" or \"off\" in quotes, not true or false",
            "quartet.conf:3: rtp_timeout must be a length of time in quotes, as \"10s\", not a number",
            "quartet.conf:4: ring_timeout must be a whole number and a unit, as \"500ms\", \"10s\", \"2m\" or \"1h\"",
            "quartet.conf:6: options must be written in a section of the plugin, as [plugins.options.codec-opus]",
        ],
    );
    refused(
        "[plugins.options.codec-opus]\nbitrate = [1]\n[plugins.options.\"Codec Opus\"]\nx = 1\n",
        &[
            "quartet.conf:2: bitrate must be a text, a number, true or false",
            "quartet.conf:4: \"Codec Opus\" is no plugin id; ids are as [plugins.options.codec-opus]",
        ],
    );
}

#[test]
fn out_of_range() {
    refused(
        "[media]\nports = \"1-2\"\nworkers = 257\n[call]\nverify = \"announc\"\nconfirm_timeout = \"1h\"\n",
        &[
            "quartet.conf:2: ports begins at 1; media ports must be 1024 or higher",
            "quartet.conf:3: workers must be from 0 to 256",
            "quartet.conf:5: verify must be \"announce\", \"confirm\" or \"off\", not \"announc\"; did you mean \"announce\"?",
            "quartet.conf:6: confirm_timeout must be from 1s to 5m",
        ],
    );
    refused(
        "[limits]\ncalls = 99999999999999999999\nfailures_slow = 20\nlogin_interval = \"2h\"\n",
        &[
            "quartet.conf:2: calls must be from 1 to 1000000",
            "quartet.conf:3: failures_slow is gone: login_failures and login_interval say how many failed logins are judged; remove the line",
            "quartet.conf:4: login_interval must be from 1s to 1h",
        ],
    );
    refused(
        "[sip]\nlisten = []\nrealm = \"\"\n[log]\nlevel = \"loud\"\n[network.hub]\nlisten = \"https:1.2.3.4:1\"\n",
        &[
            "quartet.conf:2: listen must not be empty",
            "quartet.conf:3: realm must be 1 to 128 characters without quotes and backslashes",
            "quartet.conf:5: level must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\", not \"loud\"",
            "quartet.conf:7: listen names https:1.2.3.4:1, which needs a certificate: name it with certificate and key in [tls]",
        ],
    );
}

#[test]
fn a_hub_under_tls_needs_a_certificate_and_its_key() {
    let hub = |lines: &str| format!("[network.hub]\n{lines}\n");
    for (lines, fault) in [
        (
            hub("listen = \"https:0.0.0.0:443\"\ncertificate = \"hub.pem\""),
            "quartet.conf:3: certificate needs key as well",
        ),
        (
            hub("listen = \"https:0.0.0.0:443\"\nkey = \"hub.pem\""),
            "quartet.conf:3: key needs certificate as well",
        ),
        (
            hub("certificate = \"hub.pem\"\nkey = \"hub-key.pem\""),
            "quartet.conf:2: certificate is of no use at http:; write \"https:ADDRESS:PORT\" in listen, or remove the line",
        ),
        (
            hub("listen = \"ftp:0.0.0.0:443\""),
            "quartet.conf:2: listen must be written \"http:ADDRESS:PORT\", as \"http:127.0.0.1:8080\", or \"https:ADDRESS:PORT\"",
        ),
        (
            hub("url = \"wss://hub\"\ntoken_file = \"t\"\ncertificate = \"hub.pem\""),
            "quartet.conf:4: certificate is for the embedded hub, and url names one elsewhere; remove one of the two lines",
        ),
    ] {
        let problems = load_texts(Path::new("/nowhere"), [&lines, "", ""], &[])
            .err()
            .expect("refused")
            .to_string();
        assert!(problems.contains(fault), "{lines}{problems}");
    }
}

#[test]
fn registrations_last_from_the_shortest_time_to_the_longest() {
    for text in [
        "min_expires = \"10m\"\nmax_expires = \"5m\"",
        "max_expires = \"60s\"\nmin_expires = \"5m\"",
    ] {
        let (min, max) = if text.contains("10m") {
            ("10m", "5m")
        } else {
            ("5m", "1m")
        };
        let line = if text.starts_with("min") { 2 } else { 3 };
        refused(
            &format!("[sip]\n{text}\n"),
            &[&format!(
                "quartet.conf:{line}: min_expires = \"{min}\" is more than max_expires = \"{max}\"; change one of them"
            )],
        );
    }
    refused(
        "[sip]\nmin_expires = \"5s\"\n",
        &["quartet.conf:2: min_expires must be from 10s to 1h"],
    );
}

#[test]
fn a_trunk_is_not_asked_all_the_time() {
    let trunk = |probe: &str| format!("[[trunk]]\nname = \"pbx\"\naddress = \"udp:192.0.2.9\"\nprobe = \"{probe}\"\n");
    refused(
        &trunk("4s"),
        &["quartet.conf:4: probe must be 5s at least, or 0s for never"],
    );
    for good in ["0s", "5s", "1h"] {
        refused(&trunk(good), &[]);
    }
}

#[test]
fn duplicates() {
    refused(
        "[sip]\nrealm = \"a\"\nrealm = \"b\"\n[media]\n[sip]\n",
        &[
            "quartet.conf:3: not valid TOML: duplicate key; a key or a [section] may stand only once, remove one",
            "quartet.conf:5: not valid TOML: duplicate key; a key or a [section] may stand only once, remove one",
        ],
    );
    refused(
        "[call]\ncodecs = [\n  \"opus\",\n  \"opus\",\n]\n[media]\naddresses = [\"auto\", \"192.0.2.1\"]\n",
        &[
            "quartet.conf:4: codecs names \"opus\" twice; name it once",
            "quartet.conf:7: addresses must be \"auto\" alone or IP addresses, not both",
        ],
    );
    refused(
        "[media]\nexternal_address = [\"203.0.113.5\", \"gw.example.org\"]\nlocal_networks = [\"auto\", \"10.0.0.0/8\"]\n",
        &[
            "quartet.conf:2: external_address must be IP addresses or one host name, not both",
            "quartet.conf:3: local_networks must be \"auto\" alone or networks, not both",
        ],
    );
    refused(
        "[media]\nexternal_address = [\"127.0.0.1\", \"a_b\", \"10.0.0.256\"]\n",
        &[
            "quartet.conf:2: external_address names 127.0.0.1, which nobody outside can send to",
            "quartet.conf:2: external_address names \"a_b\", which is neither an IP address nor a host name, as \"203.0.113.5\" or \"gw.example.org\"",
            "quartet.conf:2: external_address names \"10.0.0.256\", which is neither an IP address nor a host name, as \"203.0.113.5\" or \"gw.example.org\"",
        ],
    );
    let route = "[[route]]\nname = \"a\"\nfrom = \"phones\"\nto = \"hub:a\"\n";
    for transport in [
        "webrtc over",
        "over framed",
        "webrtc over a over b",
        "webrtc  over a b",
        "",
    ] {
        refused_routes(
            &format!("{route}transport = \"{transport}\"\n"),
            &[
                "routes.conf:5: transport must be the name of a transport, of letters, digits and -, or two names as in \"webrtc over framed\"",
            ],
        );
    }
    refused_routes(
        &format!("{route}{route}"),
        &["routes.conf:6: route \"a\" stands already in line 2; give each route its own name"],
    );
}

#[test]
fn dangling_references_and_routes_that_cannot_be() {
    refused_routes(
        "[[route]]\nname = \"a\"\nfrom = \"network:telgram\"\nto = [\n  \"phone:100\",\n  \"phone:9999\",\n]\n\
         [[route]]\nname = \"b\"\nfrom = \"phones\"\nto = \"phone:100\"\n\
         [[route]]\nname = \"c\"\nfrom = \"network:hub\"\nto = \"hub:x\"\n\
         [[route]]\nname = \"d\"\nfrom = \"phones\"\nto = [\"hub:x\", \"hub:y\"]\nnumber = \"{a\"\n\
         [[route]]\nname = \"e\"\nfrom = \"trunk:pbx\"\nto = \"telegram:main/@x\"\nnumbr = \"1\"\n",
        &[
            "routes.conf:3: from names the network \"telgram\"; use \"network:hub\" or \"network:telegram\"",
            "routes.conf:6: to names the phone \"9999\", which phones.conf does not have; add a [[phone]] there or correct the route",
            "routes.conf:15: to sends a call from a network to a network; use \"phone:USER\"",
            "routes.conf:19: to has \"hub:x\" in a list; a user of a network or a trunk stands alone, only phones ring together",
            "routes.conf:20: number has a \"{\" that is never closed; a capture is written {name}, a class [0-9]{3}",
            "routes.conf:23: from names the trunk \"pbx\", which quartet.conf does not have; add a [[trunk]] there or correct the route",
            "routes.conf:24: to names the account \"main\", which quartet.conf does not have; add [network.telegram.main] there or correct the route",
            "routes.conf:25: unknown key \"numbr\" in [[route]]; did you mean \"number\"?",
        ],
    );
}

#[test]
fn missing_files() {
    let folder = Folder::new(&[]);
    assert_eq!(
        folder.problems(&[]),
        ["quartet.conf: is missing; an empty file means all defaults, conf/quartet.conf shows them"]
    );
    let folder = Folder::new(&[(
        "quartet.conf",
        "[ivr]\nprompts = \"voices\"\n[plugins]\npath = [\n\"a\",\n\"/b\"]\n",
    )]);
    let at = folder.0.display();
    let problems = folder.load(&[]).err().unwrap().to_string();
    let expected = format!(
        "{at}/quartet.conf:2: prompts names the folder \"voices\"; there is no folder {at}/voices, make it or correct the line\n\
         {at}/quartet.conf:5: path names the folder \"a\"; there is no folder {at}/a, make it or correct the line\n\
         {at}/quartet.conf:6: path names the folder \"/b\"; there is no folder /b, make it or correct the line"
    );
    assert_eq!(problems, expected);
    let gone = find_folder(Some(Path::new("no/such/folder"))).unwrap_err().to_string();
    assert_eq!(
        gone,
        "no/such/folder: there is no such folder; give the one with quartet.conf as --conf DIR or in $QUARTET_CONF"
    );
}

#[test]
fn what_others_may_write_is_refused_before_it_is_read() {
    if crate::permissions::Trusted::is_everybody() {
        return;
    }
    let folder = Folder::new(&[(
        "quartet.conf",
        "[ivr]\nprompts = \"voices\"\n[plugins]\npath = [\"code\"]\n",
    )]);
    for (name, file) in [("voices", "voices/en/compare.wav"), ("code", "code/x.so")] {
        fs::create_dir_all(folder.0.join(file).parent().unwrap()).unwrap();
        folder.mode(name, 0o755);
        folder.write(file, b"");
    }
    folder.mode("voices/en", 0o755);
    folder.write("phones.conf", b"nonsense");
    let problems = || folder.problems(&[]);
    assert!(problems()[0].starts_with("phones.conf:1: "), "{:?}", problems());
    let mode =
        |mode: &str| format!("can be written by everybody (mode {mode}), who could change what the gateway does");
    for name in ["", "quartet.conf", "phones.conf"] {
        let good = fs::metadata(folder.0.join(name)).unwrap().permissions().mode();
        folder.mode(name, good | 0o002);
        let [problem] = &problems()[..] else {
            panic!("{:?}", problems())
        };
        let expected = mode(&format!("{:04o}", (good | 0o002) & 0o777));
        assert!(
            problem.contains(&expected) && !problem.contains("nonsense"),
            "{problem}"
        );
        assert!(
            problem.contains(name) && problem.contains("forbid it: chmod go-w "),
            "{problem}"
        );
        folder.mode(name, good);
    }
    folder.write("phones.conf", b"");
    assert_eq!(problems(), Vec::<String>::new());
    for (name, line, option) in [
        ("voices/en/compare.wav", 2, "prompts names the folder \"voices\"; "),
        ("voices", 2, "prompts names the folder \"voices\"; "),
        ("code", 4, "path names the folder \"code\"; "),
    ] {
        let good = fs::metadata(folder.0.join(name)).unwrap().permissions().mode();
        folder.mode(name, good | 0o002);
        let [problem] = &problems()[..] else {
            panic!("{:?}", problems())
        };
        let start = format!("quartet.conf:{line}: {option}{name} can be written by everybody");
        assert!(problem.starts_with(&start), "{problem}");
        folder.mode(name, good);
    }
}

#[test]
fn phones_with_mistakes() {
    refused_phones(
        &format!(
            "[[phone]]\nuser = \"a b\"\npassword_hash = \"secret\"\nsrtp = \"of\"\nmax_contacts = 0\n\
             [[phone]]\nuser = \"1\"\npassword_hash = {{ md6 = \"{MD5}\" }}\nlanguage = \"English\"\nname = \"\"\n\
             [[phone]]\nuser = \"2\"\npassword_hash = {{}}\npasswrd = \"x\"\n\
             [[trunk]]\nname = \"pbx\"\n[[phones]]\n[phone2]\n"
        ),
        &[
            "phones.conf:2: user must be 1 to 31 lower-case letters, digits or any of . _ -",
            "phones.conf:3: password_hash must be { md5 = \"…\", sha256 = \"…\" } as `quartet passwd` prints it, not text",
            "phones.conf:4: srtp must be \"off\", \"optional\" or \"required\", not \"of\"; did you mean \"off\"?",
            "phones.conf:5: max_contacts must be from 1 to 16",
            "phones.conf:8: password_hash has the unknown key \"md6\"; valid here: md5, sha256, sha512_256",
            "phones.conf:9: language must be a language tag, as \"en\" or \"pt-BR\"",
            "phones.conf:10: name must be 1 to 128 characters on one line",
            "phones.conf:13: password_hash must have md5, sha256, sha512_256 or several of them; run `quartet passwd USER` to make it",
            "phones.conf:14: unknown key \"passwrd\" in [[phone]]; valid here: user, password_hash, name, codecs, language, verify, transport, srtp, max_contacts, may_assert, external_address",
            "phones.conf:15: [[trunk]] belongs in quartet.conf; move it there",
            "phones.conf:17: unknown section or key \"phones\"; did you mean [[phone]]?",
            "phones.conf:18: unknown section or key \"phone2\"; did you mean [[phone]]?",
        ],
    );
    refused_phones(
        "[phone]\nuser = \"100\"\n",
        &["phones.conf:1: must be written [[phone]], with two brackets on each side"],
    );
    refused_phones(
        "phone = [1]\n",
        &["phones.conf:1: must be written [[phone]], with two brackets on each side"],
    );
}

#[test]
fn a_file_that_is_no_text() {
    let folder = Folder::new(&[("quartet.conf", "")]);
    folder.write("phones.conf", b"# one\n# \xff\n");
    assert_eq!(
        folder.problems(&[]),
        ["phones.conf:2: is not UTF-8 here; save the file as UTF-8"]
    );
}

#[test]
fn variables_go_before_the_file() {
    let folder = Folder::new(&[(
        "quartet.conf",
        "[sip]\nrealm = \"file\"\nlisten = [\"udp:127.0.0.1:1\"]\n",
    )]);
    let loaded = folder
        .load(&[
            ("QUARTET__SIP__REALM", "1e5"),
            ("QUARTET__SIP__LISTEN", "udp:127.0.0.1:0, udp:[::1]:0"),
            ("QUARTET__MEDIA__WORKERS", "3"),
            ("QUARTET__MEDIA__ADDRESSES", "192.0.2.1"),
            ("QUARTET__CALL__RTP_TIMEOUT", "1m"),
            ("QUARTET__NETWORK__HUB__LISTEN", "http:127.0.0.1:0"),
            ("QUARTET__PLUGINS__REQUIRED", ""),
            ("QUARTET__PLUGINS__OPTIONS__CODEC_OPUS__BITRATE", "16000"),
            ("QUARTET_CONF", "elsewhere"),
            ("PATH", "/bin"),
        ])
        .unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.sip.realm, "1e5");
    assert_eq!(settings.sip.listen.len(), 2);
    assert_eq!(settings.media.workers, 3);
    assert_eq!(
        settings.media.addresses,
        Addresses::Listed(vec!["192.0.2.1".parse().unwrap()])
    );
    assert_eq!(settings.call.rtp_timeout.duration(), Duration::from_secs(60));
    assert_eq!(settings.network.hub.listen.address.port(), 0);
    assert!(settings.plugins.required.is_empty());
    assert_eq!(settings.plugins.options["codec-opus"]["bitrate"], "16000");
    let effective = loaded.effective();
    for line in [
        "realm = \"1e5\"                                       # QUARTET__SIP__REALM",
        "workers = 3                                         # QUARTET__MEDIA__WORKERS",
        "verify = \"announce\"                                 # default",
        "bitrate = \"16000\"                                   # QUARTET__PLUGINS__OPTIONS__CODEC_OPUS__BITRATE",
    ] {
        assert!(effective.lines().any(|have| have == line), "{line}\n{effective}");
    }
}

#[test]
fn listeners_under_tls_need_a_certificate_and_its_key() {
    refused(
        "[sip]\nlisten = [\"udp:0.0.0.0:5060\", \"tls:0.0.0.0:5061\"]\n",
        &[
            "quartet.conf:2: listen names tls:0.0.0.0:5061, which needs a certificate: name it with certificate and key in [tls]",
        ],
    );
    refused(
        "[tls]\ncertificate = \"none.pem\"\n",
        &[
            "quartet.conf:2: certificate needs key as well",
            "quartet.conf:2: certificate names \"none.pem\", which cannot be read (No such file or directory (os error 2))",
        ],
    );
    refused(
        "[sip]\nlisten = [\n  { address = \"udp:0.0.0.0:1\", key = \"k\", certificate = \"c\" },\n  { address = \"wss:0.0.0.0:2\", key = \"k\" },\n  \
         { adress = \"tcp:0.0.0.0:3\" },\n  7,\n  { address = \"tcp:0.0.0.0:4\" },\n  \"tcp:0.0.0.0:4\",\n]\n",
        &[
            "quartet.conf:3: listen names udp:0.0.0.0:1 with a certificate, and nothing is sealed there; use tls or wss",
            "quartet.conf:4: listen names wss:0.0.0.0:2 with one of certificate and key; it needs both or neither",
            "quartet.conf:5: listen has the unknown key \"adress\"; valid here: address, certificate, key, client_ca",
            "quartet.conf:5: listen has a table without address",
            "quartet.conf:6: listen must hold texts in quotes, or tables as { address = \"tls:0.0.0.0:5061\", certificate = \"…\", key = \"…\" }",
            "quartet.conf:8: listen names \"tcp:0.0.0.0:4\" twice; name it once",
        ],
    );
    let folder = Folder::new(&[
        (
            "quartet.conf",
            "[sip]\nlisten = [\"tls:0.0.0.0:5061\", { address = \"wss:0.0.0.0:443\", certificate = \"web.pem\", key = \"web.key\" }]\n\
             [tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n",
        ),
        ("a.pem", ""),
        ("a.key", ""),
        ("web.pem", ""),
        ("web.key", ""),
    ]);
    ["a.key", "web.key"].iter().for_each(|key| folder.mode(key, 0o644));
    let everybody = folder.problems(&[]);
    assert_eq!(
        everybody,
        [
            "quartet.conf:2: listen has a key that names \"web.key\", which everybody may read; chmod 600 it",
            "quartet.conf:5: key names \"a.key\", which everybody may read; chmod 600 it",
        ]
    );
    ["a.key", "web.key"].iter().for_each(|key| folder.mode(key, 0o600));
    let settings = folder.load(&[]).unwrap().settings;
    let names = settings.sip.listen.iter().map(|listen| {
        let certificate = listen.files(&settings.tls).certificate.unwrap();
        certificate.file_name().unwrap().to_str().unwrap().to_owned()
    });
    assert_eq!(names.collect::<Vec<_>>(), ["a.pem", "web.pem"]);
}

#[test]
fn variables_with_mistakes() {
    let folder = Folder::new(&[("quartet.conf", "")]);
    let problems = folder.problems(&[
        ("QUARTET__SIP__LISTEN", "sctp:1.2.3.4:5060"),
        ("QUARTET__PHONE__USER", "100"),
        ("QUARTET__", "x"),
        ("QUARTET__IVR__PROMPTS", "nowhere-at-all"),
        ("QUARTET__NETWORK__HUB__URL", "wss://x"),
        ("QUARTET__PLUGINS__OPTIONS__CODEC_OPUS", "1"),
        ("QUARTET__LOG__LEVEL", "DEBUG"),
    ]);
    assert_eq!(
        problems,
        [
            "environment variable QUARTET__: sets no option of quartet.conf; names are as QUARTET__SIP__REALM",
            "environment variable QUARTET__IVR__PROMPTS: prompts names the folder \"nowhere-at-all\"; there is no folder nowhere-at-all, make it or correct the line",
            "environment variable QUARTET__LOG__LEVEL: level must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\", not \"DEBUG\"; did you mean \"debug\"?",
            "environment variable QUARTET__NETWORK__HUB__URL: url needs token_file, the file with the token that `quartet invite --gateway NAME` prints on that hub",
            "environment variable QUARTET__PHONE__USER: sets no option of quartet.conf; names are as QUARTET__SIP__REALM",
            "environment variable QUARTET__PLUGINS__OPTIONS__CODEC_OPUS: \"\" is no option of a plugin; names are as bitrate = 24000",
            "environment variable QUARTET__SIP__LISTEN: listen must be written \"udp:ADDRESS:PORT\", as \"udp:0.0.0.0:5060\"; there are udp, tcp, tls, ws and wss",
        ]
    );
}

#[test]
fn effective_settings_load_again() {
    let phones = format!("[[phone]]\nuser = \"100\"\npassword_hash = {{ md5 = \"{MD5}\" }}\n");
    let routes = "[[route]]\nname = \"a\"\nfrom = \"phones\"\nnumber = \"{u}\"\nto = \"hub:{u}\"\n";
    let folder = Folder::new(&[
        (
            "quartet.conf",
            "[sip]\nrealm = \"a\\\"b\"\n".replace("\\\"", "").as_str(),
        ),
        ("phones.conf", &phones),
        ("routes.conf", routes),
    ]);
    let effective = folder.load(&[]).unwrap().effective();
    assert!(!effective.contains(MD5), "{effective}");
    let quartet = effective.split("[[phone]]").next().unwrap();
    Folder::new(&[("quartet.conf", quartet)]).load(&[]).unwrap();
    assert!(effective.contains("realm = \"ab\""), "{effective}");
    assert!(effective.contains("# quartet.conf:2\n"), "{effective}");
    assert!(
        effective.ends_with("to = [\"hub:{u}\"]\nring_timeout = \"1m\"\nstrategy = \"all\"\n"),
        "{effective}"
    );
}

#[test]
fn presets_and_examples_pass_their_own_check() {
    for row in ROWS {
        let (Preset::Value(toml) | Preset::Words(_, toml) | Preset::Required(toml)) = row.preset;
        let mut problems = Vec::new();
        let tree = Tree::parse(Path::new("x"), ConfFile::Quartet, &format!("x = {toml}"), &mut problems);
        assert_eq!(problems, [], "{}.{}", row.section, row.name);
        if !toml.contains('…') {
            assert_eq!(row.kind.faults(&tree.root[0].2), [], "{}.{}", row.section, row.name);
        }
        assert!(row.help.ends_with('.'), "{}.{}", row.section, row.name);
    }
}

/// The repository, where generated files are compared.
fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(file)
}

#[track_caller]
fn compare(file: &str, expected: &str) {
    let path = repository(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{file} is not what the option table makes; run UPDATE=1 cargo test -p quartet config"
    );
}

#[test]
fn the_conf_file_and_the_manual_are_those_of_the_table() {
    compare("conf/quartet.conf", &quartet_conf());
    compare("docs/configuration.md", &manual());
}

#[test]
fn the_shipped_conf_folder_loads_and_lets_nobody_in() {
    // Copied: in a checkout under umask 002 a group may write them.
    let text = |file: &str| fs::read_to_string(repository(&format!("conf/{file}"))).unwrap();
    let [quartet, phones, routes] = ["quartet.conf", "phones.conf", "routes.conf"].map(text);
    let folder = Folder::new(&[
        ("quartet.conf", &quartet),
        ("phones.conf", &phones),
        ("routes.conf", &routes),
    ]);
    let loaded = folder.load(&[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.settings.phones.is_empty(), "no default password");
}

#[test]
fn the_shipped_conf_file_uncommented_is_its_defaults() {
    let uncommented: String = quartet_conf()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(option) if !option.starts_with(' ') => format!("{option}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    // Its pool has a second account.
    let second = "[network.telegram.second]\napi_id = 1\napi_hash_file = \"telegram.hash\"\n";
    let uncommented = uncommented + second;
    let all = Folder::new(&[("quartet.conf", &uncommented), ("telegram.hash", "0123")]);
    let none = Folder::new(&[("quartet.conf", "")]);
    let of = std::sync::Arc::unwrap_or_clone;
    let (mut all, none) = (
        of(all.load(&[]).unwrap().settings),
        of(none.load(&[]).unwrap().settings),
    );
    assert_eq!(all.plugins.options.len(), 1, "the example of a plugin's options");
    all.plugins.options.clear();
    let main = all.telegram.account("main").unwrap();
    assert_eq!(
        (main.api_id, main.calls_per_hour, main.dial_numbers),
        (12_345, 30, false)
    );
    assert_eq!(all.telegram.pools["all"], ["main", "second"]);
    assert_eq!(
        (all.sip, all.media, all.call, all.limits),
        (none.sip, none.media, none.call, none.limits)
    );
    assert_eq!(
        (all.ivr, all.network, all.plugins, all.log),
        (none.ivr, none.network, none.plugins, none.log)
    );
}

#[test]
fn the_shipped_examples_load_when_uncommented() {
    let uncomment = |file: &str| -> String {
        let text = fs::read_to_string(repository(file)).unwrap();
        let lines = text.lines().map(|line| match line.strip_prefix('#') {
            Some(option) if !option.starts_with(' ') => format!("{option}\n"),
            _ => format!("{line}\n"),
        });
        lines
            .collect::<String>()
            .replace("MD5_OF_QUARTET_PASSWD", MD5)
            .replace("SHA256_OF_QUARTET_PASSWD", SHA256)
    };
    let folder = Folder::new(&[
        ("quartet.conf", ""),
        ("phones.conf", &uncomment("conf/phones.conf")),
        ("routes.conf", &uncomment("conf/routes.conf")),
    ]);
    let settings = folder
        .load(&[])
        .unwrap_or_else(|problems| panic!("{problems}"))
        .settings;
    assert_eq!(settings.phones.len(), 2);
    assert!(settings.routes.len() >= 3);
}

#[test]
fn plugin_options_of_any_id_are_merged_with_those_of_the_environment() {
    let text = "[plugins.options.8k]\n1st-key = 0.5\nb_c = true\n[plugins.options.a-b]\nx = \"y.z[0]\"\n";
    let variables = [("QUARTET__PLUGINS__OPTIONS__8K__D".to_owned(), "7".to_owned())];
    let loaded = load_texts(Path::new("conf"), [text, "", ""], &variables).unwrap();
    let options = &loaded.settings.plugins.options;
    let of = |id: &str| {
        options[id]
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("8k"), ["1st-key=0.5", "b_c=true", "d=7"]);
    assert_eq!(of("a-b"), ["x=y.z[0]"]);
}

#[test]
fn mutated_files_never_panic() {
    let phones = format!("[[phone]]\nuser = \"100\"\npassword_hash = {{ md5 = \"{MD5}\" }}\ncodecs = [\"opus\"]\n");
    let routes = "[[route]]\nname = \"a\"\nfrom = \"phones\"\nnumber = \"tg*{user}\"\nto = [\"hub:{user}\"]\n";
    let quartet = quartet_conf().replace("\n#", "\n").replace("\n ", "\n# ");
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for round in 0..1500 {
        let mut texts = [
            quartet.clone().into_bytes(),
            phones.clone().into_bytes(),
            routes.as_bytes().to_vec(),
        ];
        let text = &mut texts[round % 3];
        for _ in 0..1 + rng.next_u32() % 4 {
            let at = rng.next_u32() as usize % text.len();
            match rng.next_u32() % 4 {
                0 => text[at] = rng.next_u32() as u8,
                1 => drop(text.remove(at)),
                2 => text.insert(at, b"[]{}=\"'\n#.,"[rng.next_u32() as usize % 11]),
                _ => text.truncate(at.max(1)),
            }
        }
        let [quartet, phones, routes] = texts.map(|text| String::from_utf8_lossy(&text).into_owned());
        let _ = load_texts(Path::new("/nonexistent"), [&quartet, &phones, &routes], &[]);
    }
}

#[test]
fn servers_for_media_are_read_with_their_secrets_beside_them() {
    let folder = Folder::new(&[
        (
            "quartet.conf",
            "[[ice_server]]\nurls = \"stun:192.0.2.1\"\n[log]\nlevel = \"warn\"\n[[ice_server]]\nurls = [\"turn:a.example\", \
             \"turns:a.example:443\"]\nusername = \"me\"\npassword_file = \"p\"\nca_file = \"p\"\n[[ice_server]]\nurls = \
             \"turn:b.example?transport=tcp\"\nsecret_file = \"p\"\n",
        ),
        ("p", "secret\n"),
    ]);
    let path = folder.0.join("p");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let loaded = folder.load(&[]).unwrap_or_else(|problems| panic!("{problems}"));
    let [stun, named, shared] = loaded.settings.ice_servers.as_slice() else {
        panic!("three servers");
    };
    assert_eq!(
        (stun.urls.as_slice(), &stun.username),
        (&["stun:192.0.2.1".to_owned()][..], &None)
    );
    assert_eq!((named.urls.len(), named.username.as_deref()), (2, Some("me")));
    assert_eq!(
        (&named.password_file, &named.ca_file),
        (&Some(path.clone()), &Some(path.clone()))
    );
    assert_eq!((&shared.secret_file, &shared.password_file), (&Some(path), &None));
    assert!(
        loaded
            .effective()
            .contains("[[ice_server]]\nurls = [\"turn:a.example\""),
        "{}",
        loaded.effective()
    );
    assert!(!loaded.effective().contains("secret\n"));
}

#[test]
fn what_is_wrong_with_a_server_for_media_is_said() {
    let folder = Folder::new(&[
        (
            "quartet.conf",
            "[[ice_server]]\nurls = \"turn:a\"\n[[ice_server]]\nurls = \"http:a\"\n[[ice_server]]\nusername = \"a\"\n\
             [[ice_server]]\nurls = \"turn:a\"\nusername = \"a\"\npassword_file = \"open\"\nsecret_file = \"gone\"\nca_file = \"open\"\n\
             [[ice_server]]\nurl = \"stun:a\"\n",
        ),
        ("open", "x"),
    ]);
    fs::set_permissions(
        folder.0.join("open"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let problems = folder.problems(&[]).join("\n");
    for wanted in [
        "quartet.conf:1: a relay wants to know who we are; add username and password_file, or secret_file",
        "quartet.conf:4: urls has \"http:a\", which names no server; write \"stun:HOST\"",
        "quartet.conf:5: [[ice_server]] has no urls; add a line urls = ",
        "quartet.conf:6: username needs password_file as well",
        "quartet.conf:10: password_file names \"open\", which everybody may read; chmod 600 it",
        "quartet.conf:11: secret_file stands in place of username and password_file",
        "quartet.conf:11: secret_file names \"gone\", which cannot be read",
        "quartet.conf:12: ca_file is for turns: addresses, and urls has none; remove the line",
        "quartet.conf:14: unknown key \"url\" in [[ice_server]]; did you mean \"urls\"?",
    ] {
        assert!(problems.contains(wanted), "{wanted}\nin\n{problems}");
    }
    // It stands in its own file.
    let misplaced = Folder::new(&[
        ("quartet.conf", ""),
        ("phones.conf", "[[ice_server]]\nurls = \"stun:a\"\n"),
    ]);
    let problems = misplaced.problems(&[]);
    assert_eq!(
        problems,
        ["phones.conf:1: [[ice_server]] belongs in quartet.conf; move it there"]
    );
    refused(
        "[ice_server]\nurls = \"stun:a\"\n",
        &["quartet.conf:1: must be written [[ice_server]], with two brackets on each side"],
    );
}

#[test]
fn accounts_and_pools_of_the_telegram_network() {
    let hash = "api_id = 1\napi_hash_file = \"absent\"\n";
    refused(
        &format!(
            "[network.telegram.Main]\n{hash}[network.telegram]\nx = 1\n[network.telegram.two]\n{hash}callsperhour = 1\n\
             [telegram_pool.two]\naccounts = [\"two\", \"three\"]\n[telegram_pool.none]\n"
        ),
        &[
            "quartet.conf:1: the name of a section must be 1 to 31 lower-case letters, digits or -, and begin with a letter",
            "quartet.conf:5: must be written [network.telegram.NAME]",
            "quartet.conf:8: api_hash_file names \"absent\", which cannot be read (No such file or directory (os error 2))",
            "quartet.conf:9: unknown key \"callsperhour\" in [network.telegram.NAME]; did you mean \"calls_per_hour\"?",
            "quartet.conf:10: \"two\" is an account and a pool; give one of them another name",
            "quartet.conf:11: accounts names \"three\", which has no section [network.telegram.three]",
            "quartet.conf:12: [telegram_pool.NAME] has no accounts; add a line accounts = [\"main\", \"second\"]",
        ],
    );
    refused_routes(
        "[[route]]\nname = \"a\"\nfrom = \"phones\"\nto = \"telegram:alice\"\n",
        &["routes.conf:4: to names the telegram network without an account; write \"telegram:NAME/@{user}\""],
    );
}

/// Seen: a login that was written into a URL by mistake was printed with the mistake.
#[test]
fn a_login_in_a_url_is_not_repeated() {
    for quartet in [
        "[network.hub]\nurl = \"wss://anna:S3cret@h\"\n",
        "[network.hub]\norigins = [\"https://anna:S3cret@h\"]\n",
        "[[ice_server]]\nurls = \"turn:anna:S3cret@h\"\n",
    ] {
        let loaded = load_texts(Path::new("/nonexistent"), [quartet, "", ""], &[]);
        let problems = loaded.err().expect("refused").to_string();
        assert!(!problems.contains("S3cret") && problems.contains("…@h"), "{problems}");
    }
}

//! The option table: one row per option of the three conf files.
//!
//! The check of the files, the defaults, `conf/quartet.conf`, `docs/configuration.md` and `quartet check --effective` are
//! all made from it. An option is added here, in [`super::settings`], and nowhere else.

use super::kind::Kind;
use super::words;

/// One option.
pub(super) struct Row {
    /// The section, without brackets.
    pub(super) section: &'static str,
    /// The key.
    pub(super) name: &'static str,
    /// Type, unit and range.
    pub(super) kind: Kind,
    /// What it is when nobody says.
    pub(super) preset: Preset,
    /// What it does, for the conf file and the manual.
    pub(super) help: &'static str,
}

/// What an option is when nobody says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Preset {
    /// This, as TOML.
    Value(&'static str),
    /// Something that depends on other options, in words; an example as TOML.
    Words(&'static str, &'static str),
    /// It must be said; an example as TOML.
    Required(&'static str),
}

/// A conf file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConfFile {
    /// quartet.conf
    Quartet,
    /// phones.conf
    Phones,
    /// routes.conf
    Routes,
}

impl ConfFile {
    /// All of them, in the order in which they are read.
    pub(super) const ALL: [Self; 3] = [Self::Quartet, Self::Phones, Self::Routes];

    /// The name within the conf folder.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Quartet => "quartet.conf",
            Self::Phones => "phones.conf",
            Self::Routes => "routes.conf",
        }
    }

    /// The file that a section belongs to.
    pub(super) fn of_section(section: &str) -> Self {
        match section {
            "phone" => Self::Phones,
            "route" => Self::Routes,
            _ => Self::Quartet,
        }
    }
}

/// A section with a line of explanation, in the order of the file.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("sip", "Where phones reach the gateway."),
    ("media", "Where audio flows."),
    ("call", "What a call does; a phone or a route may say otherwise."),
    ("limits", "What one source, one account or all of them may do."),
    ("ivr", "What is spoken in the handset."),
    (
        "network.hub",
        "The embedded hub, where encrypted users connect with a client of the hub protocol.",
    ),
    (
        "plugins",
        "Codecs and transports. Plugins are trusted code in the same process.",
    ),
    (
        "cdr",
        "Call records: one JSON line for each call, at its end, refused ones included; they never hold keys.",
    ),
    (
        "control",
        "The UNIX socket through which the other commands reach a running gateway; its mode is 0600.",
    ),
    (
        "store",
        "What outlives the process: hub accounts and invitations, where phones are registered, the calls that run.",
    ),
    ("log", "What is logged, to standard error."),
    ("phone", "A phone that may register."),
    (
        "route",
        "A row of routes.conf; the first that matches wins. A call without a route is refused: a phone's as unknown (404), a \
         network's as declined.",
    ),
];

/// Things of the design that are not served yet, and options that were: refused with a sentence instead of a guess at a
/// typing mistake.
pub(super) const LATER: &[(&str, &str)] = &[
    (
        "network.telegram",
        "the telegram network comes later; remove the section",
    ),
    (
        "network.hub.url",
        "a hub elsewhere comes later; the embedded one listens at [network.hub] listen",
    ),
    (
        "network.hub.token_file",
        "a hub elsewhere comes later; the embedded one needs no token",
    ),
    (
        "trunk",
        "trunks come later; remove the section, or register the PBX as a [[phone]]",
    ),
    (
        "limits.failures_slow",
        "failures_slow is gone: login_failures and login_interval say how many failed logins are judged; remove the line",
    ),
    (
        "limits.failures_lock",
        "failures_lock is gone: login_failures and login_interval say how many failed logins are judged; remove the line",
    ),
    (
        "limits.failures_window",
        "failures_window is gone: login_interval says how often a login is judged after too many failed; remove the line",
    ),
    ("phone.srtp", "SRTP towards phones comes later; remove the line"),
    ("phone.require_srtp", "SRTP towards phones comes later; remove the line"),
];

/// Any number of events or things that is still a limit.
const MANY: i64 = 1_000_000;

/// The table.
pub(super) const ROWS: &[Row] = &[
    Row {
        section: "sip",
        name: "listen",
        kind: Kind::Words {
            bare: false,
            empty: false,
            each: words::sip_listen,
        },
        preset: Preset::Value(r#"["udp:0.0.0.0:5060"]"#),
        help: "Sockets for phones, as \"udp:ADDRESS:PORT\". Port 0 lets the system choose; `quartet status` shows it.",
    },
    Row {
        section: "sip",
        name: "realm",
        kind: Kind::Text(words::realm),
        preset: Preset::Value(r#""quartet""#),
        help: "The name that passwords are made for. If it changes, every password hash must be made again with \
               `quartet passwd`.",
    },
    Row {
        section: "media",
        name: "addresses",
        kind: Kind::Words {
            bare: true,
            empty: false,
            each: words::media_address,
        },
        preset: Preset::Value(r#"["auto"]"#),
        help: "IP addresses of this machine that audio is bound to and offered at. \"auto\": all of them; for E2EE users without loopback, unless SIP listens there alone.",
    },
    Row {
        section: "media",
        name: "ports",
        kind: Kind::Text(words::ports),
        preset: Preset::Value(r#""20000-24999""#),
        help: "UDP ports for audio; a call takes up to four. Open them in the firewall. \"0\": chosen by the system.",
    },
    Row {
        section: "media",
        name: "workers",
        kind: Kind::Integer(0, 256),
        preset: Preset::Value("0"),
        help: "Threads that move audio. 0: one a core.",
    },
    Row {
        section: "call",
        name: "verify",
        kind: Kind::OneOf(&["announce", "confirm", "off"]),
        preset: Preset::Value(r#""announce""#),
        help: "How the four emojis are checked. announce: they are spoken once, *1 repeats them. confirm: they are spoken, \
               then 1 says that they match, 2 repeats, 9 says that they differ and ends the call. off: nothing is spoken.",
    },
    Row {
        section: "call",
        name: "confirm_timeout",
        kind: Kind::Period("1s", "5m"),
        preset: Preset::Value(r#""10s""#),
        help: "How long confirm waits for a key; then the call goes on as unverified.",
    },
    Row {
        section: "call",
        name: "rtp_timeout",
        kind: Kind::Period("1s", "1h"),
        preset: Preset::Value(r#""10s""#),
        help: "A call ends when the phone has sent no audio for so long, unless it holds.",
    },
    Row {
        section: "call",
        name: "ring_timeout",
        kind: Kind::Period("1s", "90s"),
        preset: Preset::Value(r#""60s""#),
        help: "How long a call rings before it counts as missed.",
    },
    Row {
        section: "call",
        name: "codecs",
        kind: Kind::Words {
            bare: false,
            empty: false,
            each: words::codec,
        },
        preset: Preset::Value(r#"["opus", "pcma", "pcmu"]"#),
        help: "Codecs for phones by their SDP name, most wanted first; with a clock where one name has several, as L16/16000.",
    },
    Row {
        section: "limits",
        name: "login_failures",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("10"),
        help: "Failed logins of one source address that are judged at once; of one account, over all sources, three times as \
               many. After those, one login in each login_interval is judged. `quartet locked` lists who is slowed.",
    },
    Row {
        section: "limits",
        name: "login_interval",
        kind: Kind::Period("1s", "1h"),
        preset: Preset::Value(r#""10s""#),
        help: "How often a login of a slowed source or account is judged.",
    },
    Row {
        section: "limits",
        name: "calls",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("100"),
        help: "Calls at the same time.",
    },
    Row {
        section: "limits",
        name: "calls_per_phone",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("4"),
        help: "Calls of one phone at the same time.",
    },
    Row {
        section: "limits",
        name: "calls_per_minute_phone",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("30"),
        help: "Calls that one phone, or one caller of a network, may begin in a minute; half of them at once.",
    },
    Row {
        section: "limits",
        name: "calls_per_minute_callee",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("10"),
        help: "Calls that one user of a network, or one phone, receives in a minute; half of them at once.",
    },
    Row {
        section: "limits",
        name: "calls_per_minute_route",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("300"),
        help: "Calls along one route in a minute; half of them at once.",
    },
    Row {
        section: "limits",
        name: "hub_requests_per_minute",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("30"),
        help: "Calls that one hub account, or one source address, may ask for in a minute.",
    },
    Row {
        section: "limits",
        name: "hub_sessions",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("1000"),
        help: "Open connections to the hub; the gateway's own is not counted.",
    },
    Row {
        section: "ivr",
        name: "prompts",
        kind: Kind::Text(words::prompts),
        preset: Preset::Value(r#""builtin""#),
        help: "The recordings: \"builtin\", or a folder with one folder per language.",
    },
    Row {
        section: "network.hub",
        name: "listen",
        kind: Kind::Text(words::http_listen),
        preset: Preset::Value(r#""http:127.0.0.1:8080""#),
        help: "Where the hub serves WebSockets, as \"http:ADDRESS:PORT\". Beyond this machine put a reverse proxy with TLS \
               in front.",
    },
    Row {
        section: "network.hub",
        name: "account",
        kind: Kind::Text(words::user),
        preset: Preset::Value(r#""gw""#),
        help: "The gateway's own account: phone 100 is 100@gw there.",
    },
    Row {
        section: "network.hub",
        name: "origins",
        kind: Kind::Words {
            bare: false,
            empty: true,
            each: words::origin,
        },
        preset: Preset::Value("[]"),
        help: "Web pages from elsewhere that may connect to the hub, as \"https://phone.example.org\". A browser says which page \
               it acts for; pages of the hub's own address may always connect, and so may programs that are no browsers.",
    },
    Row {
        section: "plugins",
        name: "path",
        kind: Kind::Words {
            bare: false,
            empty: true,
            each: words::path,
        },
        preset: Preset::Value("[]"),
        help: "Folders with plugins, searched before the program's own folder, `plugins` in it, and /usr/lib/quartet/plugins.",
    },
    Row {
        section: "plugins",
        name: "required",
        kind: Kind::Words {
            bare: false,
            empty: true,
            each: words::plugin,
        },
        preset: Preset::Value(r#"["codec-g711", "codec-opus", "transport-rtp", "transport-webrtc"]"#),
        help: "Without these the gateway does not start.",
    },
    Row {
        section: "cdr",
        name: "path",
        kind: Kind::Text(words::path),
        preset: Preset::Value(r#""state/cdr.jsonl""#),
        help: "The file that records are appended to. It may be rotated by renaming it. A call that stood when the gateway \
               crashed gets its line at the next start, with the cause crashed and an end that may be ten seconds early. Part of \
               a line that a crash left is moved to a file beside it, whose name ends in .torn.",
    },
    Row {
        section: "control",
        name: "path",
        kind: Kind::Text(words::path),
        preset: Preset::Value(r#""state/quartet.sock""#),
        help: "Where the socket is made.",
    },
    Row {
        section: "store",
        name: "path",
        kind: Kind::Text(words::path),
        preset: Preset::Value(r#""state/quartet.db""#),
        help: "A SQLite file; it is made if it is missing. One gateway at a time uses it. Changes are written at \
               most once a second; a crash loses those of the last.",
    },
    Row {
        section: "log",
        name: "level",
        kind: Kind::OneOf(&["error", "warn", "info", "debug", "trace"]),
        preset: Preset::Value(r#""info""#),
        help: "The least important level that is written; debug shows numbers and names. It is overridden by $RUST_LOG; libraries say nothing below info.",
    },
    Row {
        section: "phone",
        name: "user",
        kind: Kind::Text(words::user),
        preset: Preset::Required(r#""100""#),
        help: "The login name, which is also the extension.",
    },
    Row {
        section: "phone",
        name: "password_hash",
        kind: Kind::PasswordHash,
        preset: Preset::Required(r#"{ md5 = "…", sha256 = "…" }"#),
        help: "As `quartet passwd USER` prints it. The phone is asked only for what stands here: some fail at any other.",
    },
    Row {
        section: "phone",
        name: "name",
        kind: Kind::Text(words::label),
        preset: Preset::Words("the user", r#""Anna, desk""#),
        help: "The name that stands in the calls it receives.",
    },
    Row {
        section: "phone",
        name: "codecs",
        kind: Kind::Words {
            bare: false,
            empty: false,
            each: words::codec,
        },
        preset: Preset::Words("those of [call]", r#"["opus", "pcma"]"#),
        help: "Codecs by their SDP name, most wanted first; with a clock where one name has several, as L16/16000.",
    },
    Row {
        section: "phone",
        name: "language",
        kind: Kind::Text(words::language),
        preset: Preset::Value(r#""en""#),
        help: "The language that it is spoken to in.",
    },
    Row {
        section: "phone",
        name: "verify",
        kind: Kind::OneOf(&["announce", "confirm", "off"]),
        preset: Preset::Words("that of [call]", r#""confirm""#),
        help: "How the four emojis are checked.",
    },
    Row {
        section: "phone",
        name: "max_contacts",
        kind: Kind::Integer(1, 16),
        preset: Preset::Value("4"),
        help: "Devices that may be registered at the same time; all of them ring.",
    },
    Row {
        section: "route",
        name: "name",
        kind: Kind::Text(words::label),
        preset: Preset::Required(r#""people on the hub""#),
        help: "Unique; stands in logs and call records.",
    },
    Row {
        section: "route",
        name: "from",
        kind: Kind::Text(words::callers),
        preset: Preset::Required(r#""phones""#),
        help: "Whose calls it is for: \"phones\", \"phone:USER\" or \"network:hub\".",
    },
    Row {
        section: "route",
        name: "number",
        kind: Kind::Text(words::pattern),
        preset: Preset::Words("every number", r#""tg*{user}""#),
        help: "Which numbers it is for: what the phone dials, or the extension that a network's caller asks for (100 of \
               100@gw, nothing of gw). {name} captures one character or more, [0-9]{3} is three digits, {name:[0-9]{3}} \
               captures them.",
    },
    Row {
        section: "route",
        name: "to",
        kind: Kind::Words {
            bare: true,
            empty: false,
            each: words::target,
        },
        preset: Preset::Required(r#""hub:{user}""#),
        help: "Where the call goes: \"hub:USER\" for calls of phones; \"phone:USER\" or a list of phones for calls of a network. \
               {name} is what the number captured.",
    },
    Row {
        section: "route",
        name: "ring_timeout",
        kind: Kind::Period("1s", "90s"),
        preset: Preset::Words("that of [call]", r#""60s""#),
        help: "How long it rings.",
    },
    Row {
        section: "route",
        name: "strategy",
        kind: Kind::Text(words::strategy),
        preset: Preset::Value(r#""all""#),
        help: "all: several phones ring at the same time, the first to answer has the call.",
    },
];

/// Finds a row.
pub(super) fn row(section: &str, name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.section == section && row.name == name)
}

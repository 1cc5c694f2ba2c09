//! The option table: one row per option of the three conf files.
//!
//! The check of the files, the defaults, `conf/quartet.conf`, `docs/configuration.md` and `quartet check --effective` are
//! all made from it. An option is added here, in [`super::settings`], and nowhere else.
//!
//! Size: it is one table.

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
    /// The default.
    pub(super) preset: Preset,
    /// When a reload brings it into force.
    pub(super) reload: Reload,
    /// What it does, for the conf file and the manual.
    pub(super) help: &'static str,
}

/// When a changed option comes into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reload {
    /// At once.
    Live,
    /// For calls that begin after the reload.
    NewCalls,
    /// Not before the gateway is started again.
    Restart,
}

impl Reload {
    /// The word for the manual and for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NewCalls => "new calls",
            Self::Restart => "restart",
        }
    }
}

/// The default of an option.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Preset {
    /// This, as TOML.
    Value(&'static str),
    /// A default that depends on other options, in words; an example as TOML.
    Words(&'static str, &'static str),
    /// There is none, the option is required; an example as TOML.
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
    ("sip", "SIP signalling: where phones register and call."),
    ("tls", "The certificate for phones and proxies that connect under TLS."),
    ("media", "RTP and WebRTC media."),
    ("call", "Defaults for every call; a phone or a route may override them."),
    ("limits", "Limits per source address, per account and in all."),
    ("ivr", "Announcements in the handset."),
    (
        "network.hub",
        "The hub, where encrypted users connect with a client of the hub protocol: the embedded one, or one elsewhere.",
    ),
    (
        "network.telegram",
        "An account at Telegram, by which phones call its users and are called by them (docs/telegram.md); NAME is what routes call it. \
         Log in with quartet login telegram.NAME.",
    ),
    (
        "telegram_pool",
        "Several accounts under one name: a call goes by the one that is free and has called least. NAME is none of an account.",
    ),
    (
        "reflector",
        "A relay of our own for media that finds no other way, in this process or alone (quartet reflector). It sees only what is \
         encrypted. An [[ice_server]] with its address and the same secret lets the users of the hub use it.",
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
        "The database: hub accounts and invitations, registrations, running calls.",
    ),
    ("log", "The log, written to standard error."),
    (
        "ice_server",
        "Servers that help media of encrypted calls through: STUN says as which address we are seen, TURN relays. They come to those \
         that a network names.",
    ),
    (
        "trunk",
        "A PBX or a provider: it calls from known addresses without a login, and routes lead to it as trunk:NAME:NUMBER (docs/pbx). A PBX that \
         logs in is a [[phone]].",
    ),
    ("phone", "A SIP account: one extension, on one phone or several."),
    (
        "route",
        "A row of routes.conf; the first that matches wins. A call without a route is refused: a phone's as unknown (404), a \
         network's as declined.",
    ),
];

/// Whether a section is written in two brackets and may stand several times.
pub(super) fn is_repeated(section: &str) -> bool {
    matches!(section, "phone" | "route" | "ice_server" | "trunk") || is_named(section)
}

/// Whether there are several of a section, each with a name behind a dot.
pub(super) fn is_named(section: &str) -> bool {
    matches!(section, "network.telegram" | "telegram_pool")
}

/// A section as it is written.
pub(super) fn bracketed(section: &str) -> String {
    if is_named(section) {
        format!("[{section}.NAME]")
    } else if is_repeated(section) {
        format!("[[{section}]]")
    } else {
        format!("[{section}]")
    }
}

/// The networks that are served: those that have a section.
pub(super) fn networks() -> impl Iterator<Item = &'static str> {
    SECTIONS
        .iter()
        .filter_map(|(section, _)| section.strip_prefix("network."))
}

/// The networks in a sentence, each as `written`.
pub(super) fn networks_as(written: impl Fn(&str) -> String) -> String {
    networks().map(written).collect::<Vec<_>>().join(" or ")
}

/// Things of the design that are not served yet, and options that were: refused with a sentence instead of a guess at a
/// typing mistake.
pub(super) const LATER: &[(&str, &str)] = &[
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
    (
        "phone.password",
        "no password stands here: run `quartet passwd USER` and write the password_hash that it prints",
    ),
    (
        "phone.secret",
        "no password stands here: run `quartet passwd USER` and write the password_hash that it prints",
    ),
    ("phone.require_srtp", "this is srtp = \"required\" here"),
];

/// Any number of events or things that is still a limit.
const MANY: i64 = 1_000_000;

/// The table.
pub(super) const ROWS: &[Row] = &[
    Row {
        section: "sip",
        name: "listen",
        kind: Kind::Listen,
        preset: Preset::Value(r#"["udp:0.0.0.0:5060"]"#),
        reload: Reload::Live,
        help: "Addresses to listen on, as \"udp:ADDRESS:PORT\", \"tcp:…\", \"tls:…\", or for web pages \"ws:…\" and \"wss:…\"; tls and wss need the \
               certificate of [tls], or one of their own: { address = \"tls:0.0.0.0:5061\", certificate = \"pbx.pem\", key = \"pbx-key.pem\" }. 0.0.0.0 and [::] are all addresses of this machine, as they come and go; \
               another that it does not have yet is waited for. With port 0 the system chooses one; `quartet status` shows it.",
    },
    Row {
        section: "sip",
        name: "realm",
        kind: Kind::Text(words::realm),
        preset: Preset::Value(r#""quartet""#),
        reload: Reload::Restart,
        help: "The digest realm. Password hashes are made for it: if it changes, make each again with `quartet passwd`.",
    },
    Row {
        section: "sip",
        name: "replace_oldest",
        kind: Kind::Flag,
        preset: Preset::Value("true"),
        reload: Reload::Live,
        help: "When an account has max_contacts devices and another one registers: true: the oldest makes room, first of those with \
               the same address and program, for it is most likely the same one restarted; false: the new one is refused (403).",
    },
    Row {
        section: "sip",
        name: "min_expires",
        kind: Kind::Period("10s", "1h"),
        preset: Preset::Value(r#""60s""#),
        reload: Reload::Live,
        help: "The shortest time that a phone may register for; one that wants less is told so (423). Short ones are for phones behind a NAT that forgets \
               them soon.",
    },
    Row {
        section: "sip",
        name: "max_expires",
        kind: Kind::Period("60s", "24h"),
        preset: Preset::Value(r#""2h""#),
        reload: Reload::Live,
        help: "The longest; one that wants more registers for this long. One that says nothing has an hour, or what is nearest.",
    },
    Row {
        section: "sip",
        name: "trusted_proxies",
        kind: Kind::Words {
            bare: false,
            empty: true,
            each: words::network,
        },
        preset: Preset::Value("[]"),
        reload: Reload::Live,
        help: "SIP proxies and session border controllers of your own, for example [\"192.0.2.10\", \"2001:db8::10\"], or a network \
               (\"10.1.0.0/24\") in which there is nothing else: what they say in Via of where a request began is believed. Limits then count the phone itself, and its media may come \
               straight from there.",
    },
    Row {
        section: "sip",
        name: "origins",
        kind: Kind::Words {
            bare: false,
            empty: true,
            each: words::origin,
        },
        preset: Preset::Value("[]"),
        reload: Reload::Live,
        help: "Origins of web pages that may register over ws or wss, for example \"https://phone.example.org\". Pages of the gateway's own IP \
               address, or behind a proxy of its name, always may, and so may programs that are not browsers.",
    },
    Row {
        section: "tls",
        name: "certificate",
        kind: Kind::Text(words::path),
        preset: Preset::Words("none", r#""certificate.pem""#),
        reload: Reload::Live,
        help: "Our certificate in PEM form, then those that signed it, for listeners at tls:, wss: and https:. It is read again at a reload, and each \
               hour if the file has changed; if the new one cannot be used the old one stays.",
    },
    Row {
        section: "tls",
        name: "key",
        kind: Kind::Text(words::path),
        preset: Preset::Words("none", r#""key.pem""#),
        reload: Reload::Live,
        help: "The private key of certificate, in PEM form; not everybody may be able to read it (chmod 600).",
    },
    Row {
        section: "tls",
        name: "client_ca",
        kind: Kind::Text(words::path),
        preset: Preset::Words("none: nobody is asked for a certificate", r#""clients.pem""#),
        reload: Reload::Live,
        help: "Certificate authorities in PEM form: who connects to tls: or wss: must have a certificate of one of them.",
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
        reload: Reload::NewCalls,
        help: "Local IP addresses for media, offered in SDP and as ICE candidates. \"auto\": all of them, as they come and go; E2EE users are offered loopback only if SIP listens on loopback alone.",
    },
    Row {
        section: "media",
        name: "ports",
        kind: Kind::Text(words::ports),
        preset: Preset::Value(r#""20000-24999""#),
        reload: Reload::NewCalls,
        help: "UDP port range for media; a call takes up to four ports. Open it in the firewall. \"0\": any free port.",
    },
    Row {
        section: "media",
        name: "external_address",
        kind: Kind::Words {
            bare: true,
            empty: true,
            each: words::external_address,
        },
        preset: Preset::Value("[]"),
        reload: Reload::NewCalls,
        help: "Behind a NAT or in a cloud: the public IP addresses, as [\"203.0.113.5\", \"2001:db8::5\"], or one host name, looked up every \
               minute. Phones outside local_networks are told it in place of ours (SDP, Contact, Via), E2EE users beside ours. The NAT \
               has to pass the ports of [sip] listen and [media] ports on unchanged; docs/nat.md has the whole of it.",
    },
    Row {
        section: "media",
        name: "local_networks",
        kind: Kind::Words {
            bare: true,
            empty: true,
            each: words::local_network,
        },
        preset: Preset::Value(r#"["auto"]"#),
        reload: Reload::NewCalls,
        help: "Networks that reach this machine without external_address, as [\"10.0.0.0/8\", \"2001:db8:5::/48\"]. \"auto\": those of its \
               interfaces, as they come and go.",
    },
    Row {
        section: "media",
        name: "workers",
        kind: Kind::Integer(0, 256),
        preset: Preset::Value("0"),
        reload: Reload::Restart,
        help: "Media worker threads. 0: one per core.",
    },
    Row {
        section: "call",
        name: "verify",
        kind: Kind::OneOf(&["announce", "confirm", "off"]),
        preset: Preset::Value(r#""announce""#),
        reload: Reload::NewCalls,
        help: "How the four emojis are checked. announce: they are spoken once, *1 repeats them. confirm: they are spoken, \
               then 1 says that they match, 2 repeats, 9 says that they differ and ends the call. off: nothing is spoken.",
    },
    Row {
        section: "call",
        name: "confirm_timeout",
        kind: Kind::Period("1s", "5m"),
        preset: Preset::Value(r#""10s""#),
        reload: Reload::NewCalls,
        help: "How long confirm waits for a key press; after that the call goes on, unverified.",
    },
    Row {
        section: "call",
        name: "rtp_timeout",
        kind: Kind::Period("1s", "1h"),
        preset: Preset::Value(r#""10s""#),
        reload: Reload::NewCalls,
        help: "A phone that has sent no RTP for this long is asked whether it is still there (OPTIONS), and again every 10 s. The \
               call ends if it does not answer within 5 s; a muted phone keeps its call. On hold it is asked every 30 s.",
    },
    Row {
        section: "call",
        name: "connect_timeout",
        kind: Kind::Period("5s", "30s"),
        preset: Preset::Value(r#""30s""#),
        reload: Reload::NewCalls,
        help: "How long key exchange and media may take once the call was taken. A handset that waits is told after 6 s that it has \
               to, and at the end why it was in vain.",
    },
    Row {
        section: "call",
        name: "ring_timeout",
        kind: Kind::Period("1s", "90s"),
        preset: Preset::Value(r#""60s""#),
        reload: Reload::NewCalls,
        help: "How long a call rings before it is missed.",
    },
    Row {
        section: "call",
        name: "redirects",
        kind: Kind::OneOf(&["follow", "refuse"]),
        preset: Preset::Value(r#""follow""#),
        reload: Reload::NewCalls,
        help: "What becomes of a call that a phone sends on (call forwarding in the phone: 302 and others of 300 to 399). follow: it goes where a \
               call of that phone to that number would go, by its routes, five times at most. refuse: the phone has refused it.",
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
        reload: Reload::NewCalls,
        help: "Codecs for phones by SDP name, in order of preference; add the clock rate where a name has several, for example L16/16000.",
    },
    Row {
        section: "limits",
        name: "login_failures",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("10"),
        reload: Reload::Live,
        help: "Failed logins of one source address that are judged at once; of one account, over all sources, three times as \
               many. After those, one login in each login_interval is judged. `quartet locked` lists who is slowed.",
    },
    Row {
        section: "limits",
        name: "login_interval",
        kind: Kind::Period("1s", "1h"),
        preset: Preset::Value(r#""10s""#),
        reload: Reload::Live,
        help: "How often a login of a slowed source or account is judged.",
    },
    Row {
        section: "limits",
        name: "calls",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("100"),
        reload: Reload::Live,
        help: "Concurrent calls.",
    },
    Row {
        section: "limits",
        name: "calls_per_phone",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("4"),
        reload: Reload::Live,
        help: "Concurrent calls of one phone.",
    },
    Row {
        section: "limits",
        name: "calls_per_minute_phone",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("30"),
        reload: Reload::Live,
        help: "Calls that one phone, or one caller of a network, may make per minute; half of them at once.",
    },
    Row {
        section: "limits",
        name: "calls_per_minute_callee",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("10"),
        reload: Reload::Live,
        help: "Calls that one user of a network, or one phone, may get per minute; half of them at once.",
    },
    Row {
        section: "limits",
        name: "calls_per_minute_route",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("300"),
        reload: Reload::Live,
        help: "Calls that one route takes per minute; half of them at once.",
    },
    Row {
        section: "limits",
        name: "hub_requests_per_minute",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("30"),
        reload: Reload::Live,
        help: "Calls that one person's hub account may make per minute.",
    },
    Row {
        section: "limits",
        name: "hub_gateway_requests_per_minute",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("3000"),
        reload: Reload::Live,
        help: "Calls that the hub account of a gateway elsewhere may make per minute. Its other requests are bounded by ten times as \
               many.",
    },
    Row {
        section: "limits",
        name: "hub_gateway_calls",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("1000"),
        reload: Reload::Live,
        help: "Calls at the same time of a gateway elsewhere on this hub.",
    },
    Row {
        section: "limits",
        name: "sip_connections",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("4000"),
        reload: Reload::Restart,
        help: "Concurrent TCP, TLS and WebSocket connections of phones and proxies.",
    },
    Row {
        section: "limits",
        name: "hub_sessions",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("1000"),
        reload: Reload::Restart,
        help: "Concurrent connections to the hub; the gateway's own is not counted.",
    },
    Row {
        section: "ivr",
        name: "prompts",
        kind: Kind::Text(words::prompts),
        preset: Preset::Value(r#""builtin""#),
        reload: Reload::Live,
        help: "Recordings: \"builtin\", or a folder with a subfolder per language.",
    },
    Row {
        section: "network.hub",
        name: "listen",
        kind: Kind::Text(words::http_listen),
        preset: Preset::Value(r#""http:127.0.0.1:8080""#),
        reload: Reload::Restart,
        help: "Address of the hub's WebSocket server, as \"http:ADDRESS:PORT\", or \"https:ADDRESS:PORT\" with a certificate. Clients \
               elsewhere need TLS: that, or a reverse proxy in front.",
    },
    Row {
        section: "network.hub",
        name: "certificate",
        kind: Kind::Text(words::path),
        preset: Preset::Words("that of [tls]", r#""hub.pem""#),
        reload: Reload::Live,
        help: "Our certificate in PEM form at https:, then those that signed it; read again as those of [tls] are. Nobody is asked for one \
               here, whatever client_ca says.",
    },
    Row {
        section: "network.hub",
        name: "key",
        kind: Kind::Text(words::path),
        preset: Preset::Words("that of [tls]", r#""hub-key.pem""#),
        reload: Reload::Live,
        help: "The private key of certificate; not everybody may be able to read it (chmod 600).",
    },
    Row {
        section: "network.hub",
        name: "account",
        kind: Kind::Text(words::user),
        preset: Preset::Value(r#""gw""#),
        reload: Reload::Restart,
        help: "The gateway's own account on the embedded hub: phone 100 is 100@gw there.",
    },
    Row {
        section: "network.hub",
        name: "url",
        kind: Kind::Text(words::hub_url),
        preset: Preset::Words("the embedded hub", r#""wss://hub.example.org""#),
        reload: Reload::Restart,
        help: "A hub elsewhere, instead of the embedded one: \"wss://HOST\", or \"ws://127.0.0.1:PORT\" on this machine. There \
               `quartet invite --gateway NAME` makes an account for this gateway: phone 100 is 100@NAME.",
    },
    Row {
        section: "network.hub",
        name: "token_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words("none", r#""hub.token""#),
        reload: Reload::Restart,
        help: "The file with the token that the hub at url knows this gateway by; none but its owner and its group may read it.",
    },
    Row {
        section: "network.hub",
        name: "ca_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words("those that this machine trusts", r#""hub-ca.pem""#),
        reload: Reload::Restart,
        help: "Certificate authorities in PEM form, one of which must have signed the certificate of the hub at url.",
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
        reload: Reload::Restart,
        help: "Origins of other web pages that may connect to the hub, for example \"https://phone.example.org\". Pages of the hub's \
               own IP address, or behind a proxy of its name, may always connect, and so may programs that are not browsers.",
    },
    Row {
        section: "network.hub",
        name: "external_address",
        kind: Kind::Words {
            bare: true,
            empty: true,
            each: words::external_address,
        },
        preset: Preset::Words("that of [media]", r#"["203.0.113.5"]"#),
        reload: Reload::NewCalls,
        help: "As in [media], for the users of this network alone.",
    },
    Row {
        section: "reflector",
        name: "listen",
        kind: Kind::Words {
            bare: false,
            empty: true,
            each: words::reflector_listen,
        },
        preset: Preset::Value("[]"),
        reload: Reload::Restart,
        help: "Addresses to listen on, as [\"udp:0.0.0.0:599\", \"tcp:0.0.0.0:599\"]; none: no reflector. On a machine with several \
               addresses name the one that clients are told: answers come from there.",
    },
    Row {
        section: "reflector",
        name: "secret_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words("none", r#""reflector.secret""#),
        reload: Reload::Live,
        help: "A file with the secret that the reflector shares with the hub, mode 0600: the hub signs with it which calls may use the \
               reflector, and until when.",
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
        reload: Reload::Restart,
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
        reload: Reload::Restart,
        help: "Plugins without which the gateway does not start.",
    },
    Row {
        section: "cdr",
        name: "path",
        kind: Kind::Text(words::path),
        preset: Preset::Value(r#""state/cdr.jsonl""#),
        reload: Reload::Restart,
        help: "The file that records are appended to. It may be rotated by renaming it. A call that stood when the gateway \
               crashed gets its line at the next start, with the cause crashed and an end that may be ten seconds early. Part of \
               a line that a crash left is moved to a file beside it, whose name ends in .torn.",
    },
    Row {
        section: "control",
        name: "path",
        kind: Kind::Text(words::path),
        preset: Preset::Value(r#""state/quartet.sock""#),
        reload: Reload::Restart,
        help: "Path of the socket.",
    },
    Row {
        section: "store",
        name: "path",
        kind: Kind::Text(words::path),
        preset: Preset::Value(r#""state/quartet.db""#),
        reload: Reload::Restart,
        help: "A SQLite file; it is made if it is missing. One gateway at a time uses it. Changes are written at \
               most once a second; a crash loses those of the last.",
    },
    Row {
        section: "log",
        name: "level",
        kind: Kind::OneOf(&["error", "warn", "info", "debug", "trace"]),
        preset: Preset::Value(r#""info""#),
        reload: Reload::Live,
        help: "The lowest level that is logged; debug shows numbers and names. It is overridden by $RUST_LOG; libraries log nothing below info.",
    },
    Row {
        section: "network.telegram",
        name: "api_id",
        kind: Kind::Integer(1, 2_147_483_647),
        preset: Preset::Required("12345"),
        reload: Reload::Restart,
        help: "The number of your application, from my.telegram.org; never that of somebody else's program.",
    },
    Row {
        section: "network.telegram",
        name: "api_hash_file",
        kind: Kind::Text(words::path),
        preset: Preset::Required(r#""telegram.hash""#),
        reload: Reload::Restart,
        help: "A file with the api_hash that belongs to it and nothing else, mode 0600; read by quartet login.",
    },
    Row {
        section: "network.telegram",
        name: "proxy",
        kind: Kind::Text(words::socks_proxy),
        preset: Preset::Words("none", r#""socks5://192.0.2.20:1080""#),
        reload: Reload::Restart,
        help: "A SOCKS5 proxy by which the service is reached, as \"socks5://HOST:PORT\". It carries what is asked and told, not the media of calls.",
    },
    Row {
        section: "network.telegram",
        name: "proxy_login_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words("no login", r#""telegram.proxy""#),
        reload: Reload::Restart,
        help: "A file with USER:PASSWORD for that proxy and nothing else, mode 0600.",
    },
    Row {
        section: "network.telegram",
        name: "test_service",
        kind: Kind::Flag,
        preset: Preset::Value("false"),
        reload: Reload::Restart,
        help: "Whether quartet login goes to Telegram's public test service, where accounts are apart from the real ones. It decides where a new \
               login is made; log out and in again to change it.",
    },
    Row {
        section: "network.telegram",
        name: "session_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words(
            "telegram-NAME.session beside the store",
            r#""/var/lib/quartet/telegram-main.session""#,
        ),
        reload: Reload::Restart,
        help: "Where the login is kept, sealed with the key of session_key_file. Whoever has both is the account.",
    },
    Row {
        section: "network.telegram",
        name: "session_key_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words(
            "telegram.key beside the store",
            r#""/run/credentials/quartet.service/telegram.key""#,
        ),
        reload: Reload::Restart,
        help: "A file with 64 hexadecimal digits, mode 0600; made at the first login. Several accounts may share it.",
    },
    Row {
        section: "network.telegram",
        name: "calls_per_hour",
        kind: Kind::Integer(1, 1_000),
        preset: Preset::Value("30"),
        reload: Reload::Restart,
        help: "Calls that the account places in an hour; beyond, callers hear 503 with Retry-After. After a FLOOD_WAIT it is halved until the \
               next start.",
    },
    Row {
        section: "network.telegram",
        name: "lookups_per_day",
        kind: Kind::Integer(1, 1_000),
        preset: Preset::Value("50"),
        reload: Reload::Restart,
        help: "Users that the account asks the service for in a day, by name or number; whom it has met it knows.",
    },
    Row {
        section: "network.telegram",
        name: "dial_numbers",
        kind: Kind::Flag,
        preset: Preset::Value("false"),
        reload: Reload::Restart,
        help: "Whether telephone numbers may be dialled (\"telegram:NAME/+{number}\"). The service counts that: a number that it does not tell \
               is written into the account's address book for a moment.",
    },
    Row {
        section: "network.telegram",
        name: "allow",
        kind: Kind::Words {
            bare: true,
            empty: true,
            each: words::pattern,
        },
        preset: Preset::Value("[]"),
        reload: Reload::Restart,
        help: "Who may call the account, as patterns of the caller option of a route: [\"contact\", \"@anna\"]. Empty: everybody whom block does \
               not name. Others are declined, and recorded.",
    },
    Row {
        section: "network.telegram",
        name: "block",
        kind: Kind::Words {
            bare: true,
            empty: true,
            each: words::pattern,
        },
        preset: Preset::Value("[]"),
        reload: Reload::Restart,
        help: "Who may not, in the same words: [\"stranger\"].",
    },
    Row {
        section: "network.telegram",
        name: "caller_display",
        kind: Kind::OneOf(&["name", "user", "both"]),
        preset: Preset::Value(r#""name""#),
        reload: Reload::Restart,
        help: "What the display of a phone shows of a caller: the name that the caller goes by there, the user name, or both.",
    },
    Row {
        section: "network.telegram",
        name: "caller_headers",
        kind: Kind::Flag,
        preset: Preset::Value("false"),
        reload: Reload::Restart,
        help: "Whether a PBX is told who calls in header fields of the INVITE: X-TG-ID, X-TG-FirstName, X-TG-LastName, X-TG-Username, X-TG-Phone, \
               X-GW-Context (the account), each if it is known.",
    },
    Row {
        section: "telegram_pool",
        name: "accounts",
        kind: Kind::Words {
            bare: false,
            empty: false,
            each: words::account,
        },
        preset: Preset::Required(r#"["main", "second"]"#),
        reload: Reload::Restart,
        help: "Names of accounts.",
    },
    Row {
        section: "ice_server",
        name: "urls",
        kind: Kind::Words {
            bare: true,
            empty: false,
            each: words::ice_url,
        },
        preset: Preset::Required(r#""stun:stun.example.org""#),
        reload: Reload::NewCalls,
        help: "Addresses of one server: stun:HOST, turn:HOST, turn:HOST?transport=tcp, turns:HOST (TLS), reflector:HOST, reflector:HOST?transport=tcp. \
               All ways are tried at once. A reflector serves only calls of the hub that is served here.",
    },
    Row {
        section: "ice_server",
        name: "username",
        kind: Kind::Text(words::label),
        preset: Preset::Words("none", r#""gateway""#),
        reload: Reload::NewCalls,
        help: "Our name there, with password_file.",
    },
    Row {
        section: "ice_server",
        name: "password_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words("none", r#""turn.password""#),
        reload: Reload::NewCalls,
        help: "A file with the password and nothing else, mode 0600; read for each call.",
    },
    Row {
        section: "ice_server",
        name: "secret_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words("none", r#""turn.secret""#),
        reload: Reload::NewCalls,
        help: "In place of name and password: a file with the secret that the server shares with us (coturn: static-auth-secret). Each \
               call gets a name and a password of its own, good for a day; so does each user of the hub served here. Of a reflector: [reflector] secret_file.",
    },
    Row {
        section: "ice_server",
        name: "ca_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words("the certificate authorities that this machine trusts", r#""ca.pem""#),
        reload: Reload::NewCalls,
        help: "Certificate authorities in PEM form that turns: trusts instead of this machine's; read again at a reload.",
    },
    Row {
        section: "trunk",
        name: "name",
        kind: Kind::Text(words::trunk),
        preset: Preset::Required(r#""pbx""#),
        reload: Reload::Live,
        help: "What routes call it: from = \"trunk:pbx\", to = \"trunk:pbx:{number}\".",
    },
    Row {
        section: "trunk",
        name: "address",
        kind: Kind::Words {
            bare: true,
            empty: false,
            each: words::trunk_address,
        },
        preset: Preset::Required(r#""udp:192.0.2.10:5060""#),
        reload: Reload::NewCalls,
        help: "Where it listens, as \"udp:HOST:PORT\", \"tcp:HOST\" or \"tls:HOST\", or \"sip:DOMAIN\", the most wanted first: a call that one does not \
               answer within a second, or refuses as overloaded, goes to the next. Names are looked up every minute: those without a port by SRV records as \
               well, and a domain's transport by NAPTR records. Under TLS its certificate must be of that name. A call whose INVITE does not fit a datagram \
               (1,300 bytes) is tried over TCP before UDP, where `[sip] listen` has TCP.",
    },
    Row {
        section: "trunk",
        name: "allow",
        kind: Kind::Words {
            bare: false,
            empty: true,
            each: words::network,
        },
        preset: Preset::Value("[]"),
        reload: Reload::Live,
        help: "Addresses and networks from which its calls come, for example [\"192.0.2.10\", \"2001:db8::/64\"]: whoever sends from there calls as \
               this trunk, without a login.",
    },
    Row {
        section: "trunk",
        name: "username",
        kind: Kind::Text(words::user),
        preset: Preset::Words("none", r#""quartet""#),
        reload: Reload::NewCalls,
        help: "Our account there, for its digest challenges.",
    },
    Row {
        section: "trunk",
        name: "password_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words("none", r#""trunk.password""#),
        reload: Reload::NewCalls,
        help: "A file with the password of username and nothing else; not everybody may be able to read it (chmod 600).",
    },
    Row {
        section: "trunk",
        name: "register",
        kind: Kind::Flag,
        preset: Preset::Value("false"),
        reload: Reload::Live,
        help: "Whether we register there as username, so that it calls us where we are. Calls over the registration are the trunk's.",
    },
    Row {
        section: "trunk",
        name: "probe",
        kind: Kind::Period("0s", "1h"),
        preset: Preset::Value(r#""60s""#),
        reload: Reload::Live,
        help: "How often each of its places is asked (OPTIONS) whether it is there: calls go to one that is silent last. It keeps connections and NATs open \
               as well. 0s: never.",
    },
    Row {
        section: "trunk",
        name: "identity",
        kind: Kind::OneOf(&["p-asserted-identity", "remote-party-id", "from"]),
        preset: Preset::Value(r#""p-asserted-identity""#),
        reload: Reload::NewCalls,
        help: "The header field that tells it who calls; with the first two, From is username.",
    },
    Row {
        section: "trunk",
        name: "number",
        kind: Kind::Text(words::user),
        preset: Preset::Words("their own name", r#""4930123456""#),
        reload: Reload::NewCalls,
        help: "The number that callers of a network call with.",
    },
    Row {
        section: "trunk",
        name: "calls",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("30"),
        reload: Reload::Live,
        help: "Concurrent calls, both ways together.",
    },
    Row {
        section: "trunk",
        name: "calls_per_minute",
        kind: Kind::Integer(1, MANY),
        preset: Preset::Value("300"),
        reload: Reload::Live,
        help: "Calls that it may begin per minute; half of them at once.",
    },
    Row {
        section: "trunk",
        name: "ca_file",
        kind: Kind::Text(words::path),
        preset: Preset::Words(
            "the certificate authorities that this machine trusts",
            r#""pbx-ca.pem""#,
        ),
        reload: Reload::Live,
        help: "Certificate authorities in PEM form, one of which must have signed the certificate at its tls: addresses.",
    },
    Row {
        section: "trunk",
        name: "may_assert",
        kind: Kind::Words {
            bare: true,
            empty: true,
            each: words::pattern,
        },
        preset: Preset::Value("[]"),
        reload: Reload::NewCalls,
        help: "Numbers that its callers are shown with, as patterns like those of routes: {caller} for all. Others are shown as the trunk's name.",
    },
    Row {
        section: "trunk",
        name: "codecs",
        kind: Kind::Words {
            bare: false,
            empty: false,
            each: words::codec,
        },
        preset: Preset::Words("those of [call]", r#"["pcma", "opus"]"#),
        reload: Reload::NewCalls,
        help: "Its codecs, most wanted first.",
    },
    Row {
        section: "trunk",
        name: "language",
        kind: Kind::Text(words::language),
        preset: Preset::Value(r#""en""#),
        reload: Reload::NewCalls,
        help: "The language of what is spoken to its people.",
    },
    Row {
        section: "trunk",
        name: "verify",
        kind: Kind::OneOf(&["announce", "confirm", "off"]),
        preset: Preset::Words("that of [call]", r#""announce""#),
        reload: Reload::NewCalls,
        help: "How the four emojis of its calls are checked.",
    },
    Row {
        section: "trunk",
        name: "srtp",
        kind: Kind::OneOf(&["off", "optional", "required"]),
        preset: Preset::Value(r#""optional""#),
        reload: Reload::NewCalls,
        help: "Whether media is encrypted between trunk and gateway, as for a phone. Who reads its SIP messages reads the keys: reach it over tls:.",
    },
    Row {
        section: "phone",
        name: "user",
        kind: Kind::Text(words::user),
        preset: Preset::Required(r#""100""#),
        reload: Reload::Live,
        help: "The login name; also the extension.",
    },
    Row {
        section: "phone",
        name: "password_hash",
        kind: Kind::PasswordHash,
        preset: Preset::Required(r#"{ md5 = "…", sha256 = "…" }"#),
        reload: Reload::Live,
        help: "The line that `quartet passwd USER` prints. The phone is challenged with the listed algorithms only: some phones fail at others.",
    },
    Row {
        section: "phone",
        name: "name",
        kind: Kind::Text(words::label),
        preset: Preset::Words("the user", r#""Anna, desk""#),
        reload: Reload::NewCalls,
        help: "Display name in the calls that it receives.",
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
        reload: Reload::NewCalls,
        help: "Codecs by SDP name, in order of preference; add the clock rate where a name has several, for example L16/16000.",
    },
    Row {
        section: "phone",
        name: "language",
        kind: Kind::Text(words::language),
        preset: Preset::Value(r#""en""#),
        reload: Reload::NewCalls,
        help: "Language of the announcements.",
    },
    Row {
        section: "phone",
        name: "verify",
        kind: Kind::OneOf(&["announce", "confirm", "off"]),
        preset: Preset::Words("that of [call]", r#""confirm""#),
        reload: Reload::NewCalls,
        help: "How the four emojis are checked.",
    },
    Row {
        section: "phone",
        name: "transport",
        kind: Kind::Text(words::transport),
        preset: Preset::Value(r#""rtp""#),
        reload: Reload::NewCalls,
        help: "The session transport of its media, of a plugin that is loaded; `quartet plugin list` names those. A phone of \"rtp\" that offers \
               DTLS-SRTP, or is registered over a WebSocket (a browser), has its media by \"webrtc\"; one of \"webrtc\" is offered that, wherever it is.",
    },
    Row {
        section: "phone",
        name: "srtp",
        kind: Kind::OneOf(&["off", "optional", "required"]),
        preset: Preset::Value(r#""optional""#),
        reload: Reload::NewCalls,
        help: "Whether its media is encrypted between phone and gateway. optional: where the phone can (SDES keys are offered beside plain RTP); required: \
               other calls are refused. Who reads its SIP messages reads the keys: let it register over TLS.",
    },
    Row {
        section: "phone",
        name: "max_contacts",
        kind: Kind::Integer(1, 16),
        preset: Preset::Value("4"),
        reload: Reload::Live,
        help: "Devices registered at the same time; all of them ring.",
    },
    Row {
        section: "phone",
        name: "may_assert",
        kind: Kind::Words {
            bare: false,
            empty: true,
            each: words::pattern,
        },
        preset: Preset::Value("[]"),
        reload: Reload::NewCalls,
        help: "Numbers that it may show as the caller instead of its own, as patterns like those of routes: for a PBX, \
               [\"2[0-9]{2}\"] lets it call as its extensions 200 to 299. They are looked for in P-Asserted-Identity, \
               P-Preferred-Identity and From.",
    },
    Row {
        section: "phone",
        name: "external_address",
        kind: Kind::Words {
            bare: true,
            empty: true,
            each: words::external_address,
        },
        preset: Preset::Words("that of [media]", r#"["203.0.113.5"]"#),
        reload: Reload::NewCalls,
        help: "As in [media], for this phone alone; [] for one that reaches the gateway's own address, through a VPN for example.",
    },
    Row {
        section: "route",
        name: "name",
        kind: Kind::Text(words::label),
        preset: Preset::Required(r#""people on the hub""#),
        reload: Reload::NewCalls,
        help: "A unique name for logs and call records.",
    },
    Row {
        section: "route",
        name: "from",
        kind: Kind::Text(words::callers),
        preset: Preset::Required(r#""phones""#),
        reload: Reload::NewCalls,
        help: "Which callers it is for: \"phones\", \"phone:USER\" or \"network:hub\".",
    },
    Row {
        section: "route",
        name: "caller",
        kind: Kind::Words {
            bare: true,
            empty: false,
            each: words::pattern,
        },
        preset: Preset::Words("every caller", r#"["@anna", "+49{rest}", "stranger"]"#),
        reload: Reload::NewCalls,
        help: "Which of those callers it is for: patterns, one of which fits. A caller from telegram is known by user name (@anna), by number, \
               by telephone number (+49…) if the service tells it, and as contact or stranger, by whether it is in the account's address book; \
               one of the hub by its name.",
    },
    Row {
        section: "route",
        name: "number",
        kind: Kind::Text(words::pattern),
        preset: Preset::Words("every number", r#""tg*{user}""#),
        reload: Reload::NewCalls,
        help: "Which numbers it is for: what the phone dials, or the extension that a network's caller asks for (100 of \
               100@gw, nothing of gw). {name} captures one character or more, [0-9]{3} is three digits, {name:[0-9]{3}} \
               captures them. Upper or lower case, %-escapes, and - . ( ) in a number make no difference: write patterns in lower case and without them. A PBX that is \
               called as one phone is told the number that was captured first.",
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
        reload: Reload::NewCalls,
        help: "Where the call goes: \"hub:USER\" for calls of phones; \"phone:USER\" or a list of phones for calls of a network and of other phones. \
               {name} is what the number captured.",
    },
    Row {
        section: "route",
        name: "ring_timeout",
        kind: Kind::Period("1s", "90s"),
        preset: Preset::Words("that of [call]", r#""60s""#),
        reload: Reload::NewCalls,
        help: "How long it rings.",
    },
    Row {
        section: "route",
        name: "wait",
        kind: Kind::Period("0s", "10m"),
        preset: Preset::Value(r#""0s""#),
        reload: Reload::NewCalls,
        help: "How long a call waits for its turn (the phone is told 182 Queued) if every account at telegram that could place it is in a call. \
               With 0s it is busy at once.",
    },
    Row {
        section: "route",
        name: "transport",
        kind: Kind::Text(words::transport_stack),
        preset: Preset::Words("that of the network", r#""webrtc""#),
        reload: Reload::NewCalls,
        help: "The session transport of the legs of encrypted users along this route. \"webrtc over NAME\": all its media goes over the \
               relay of the path NAME, whose plugin has the option `relay`: [plugins.options.ID] relay = \"HOST:PORT\".",
    },
    Row {
        section: "route",
        name: "relay_only",
        kind: Kind::Flag,
        preset: Preset::Value("false"),
        reload: Reload::NewCalls,
        help: "Media of encrypted calls along this route goes over relays alone: the user learns no address of ours. It needs an \
               [[ice_server]] with a relay, or one of the network's.",
    },
    Row {
        section: "route",
        name: "strategy",
        kind: Kind::Text(words::strategy),
        preset: Preset::Value(r#""all""#),
        reload: Reload::NewCalls,
        help: "all: several phones ring at the same time, the first to answer has the call.",
    },
];

/// Finds a row.
pub(super) fn row(section: &str, name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.section == section && row.name == name)
}

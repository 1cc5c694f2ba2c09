//! `[[trunk]]`: a PBX or a provider that calls us from known addresses, and that we call.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use quartet_proto::net::Protocol;
use quartet_proto::sdp::Srtp;
use serde::{Deserialize, Deserializer, de};

use super::check::Block;
use super::cross::text_at;
use super::kind::quoted;
use super::problem::Problem;
use super::rows::preset;
use super::secret::PasswordHash;
use super::settings::{Call, Phone, VerifyMode};
use super::units::{Period, is_host_name, one_or_many, patterns};
use crate::permissions::{open_believed, read_secret};
use crate::route::Pattern;

/// Places are asked no more often whether they are there.
const MIN_PROBE: Duration = Duration::from_secs(5);

/// Where a trunk listens, written `udp:HOST`, `tls:HOST:PORT`, or `sip:DOMAIN`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrunkAddress {
    /// How bytes travel; none: as the DNS says of the domain.
    pub protocol: Option<Protocol>,
    /// An IP address, or a name that is looked up.
    pub host: String,
    /// Its port; none: as the DNS says of the name, or what is standard.
    pub port: Option<u16>,
}

impl TrunkAddress {
    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for TrunkAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            "must be written \"udp:HOST:PORT\", as \"udp:192.0.2.10:5060\" or \"tls:pbx.example.org\", or \"sip:DOMAIN\"; there are udp, tcp and tls".to_owned()
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(form)?;
        let protocol = match scheme {
            "udp" => Some(Protocol::Udp),
            "tcp" => Some(Protocol::Tcp),
            "tls" => Some(Protocol::Tls),
            "sip" => None,
            _ => return Err(form()),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(form)?;
                (host, rest.strip_prefix(':').or((rest.is_empty()).then_some("")))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port).filter(|port| !port.is_empty())),
                None => (rest, Some("")),
            },
        };
        let port = match port.ok_or_else(form)? {
            "" => None,
            digits => Some(digits.parse().ok().filter(|port| *port != 0).ok_or_else(form)?),
        };
        let is_ip = host.parse::<IpAddr>().is_ok();
        // Only the DNS says the transport, and then the port as well.
        let is_left_open = protocol.is_none() && (is_ip || port.is_some());
        if is_left_open || (!is_ip && !is_host_name(host)) {
            return Err(form());
        }
        Ok(Self {
            protocol,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for TrunkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.protocol.map_or("sip", Protocol::scheme);
        match self.ip() {
            Some(IpAddr::V6(ip)) => write!(f, "{scheme}:[{ip}]")?,
            Some(IpAddr::V4(_)) | None => write!(f, "{scheme}:{}", self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl<'de> Deserialize<'de> for TrunkAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// In which field a trunk is told who calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// `P-Asserted-Identity` (RFC 3325); `From` is our account.
    #[default]
    PAssertedIdentity,
    /// `Remote-Party-ID`; `From` is our account.
    RemotePartyId,
    /// `From` alone.
    From,
}

/// A `[[trunk]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// What routes call it.
    pub name: String,
    /// Where it listens, most wanted first.
    pub addresses: Vec<TrunkAddress>,
    /// Where its calls come from.
    pub allow: Vec<IpNet>,
    /// Our name there.
    pub username: Option<String>,
    /// Where the password is.
    pub password_file: Option<PathBuf>,
    /// Whether we register there.
    pub register: bool,
    /// How often its places are asked whether they are there; zero: never.
    pub probe: Period,
    /// How it is told who calls.
    pub identity: Identity,
    /// What it is told of callers who have no number.
    pub number: Option<String>,
    /// Calls at the same time, both ways together.
    pub calls: u32,
    /// Calls that it may begin in a minute.
    pub calls_per_minute: u32,
    /// Whom TLS trusts instead of those whom this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// What its legs have in common with those of a phone; its user is the name.
    pub leg: Phone,
}

/// The rows.
#[derive(Deserialize)]
pub(super) struct TrunkRows {
    #[serde(default)]
    pub(super) trunk: Vec<TrunkRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrunkRow {
    name: String,
    #[serde(deserialize_with = "addresses")]
    address: Vec<TrunkAddress>,
    #[serde(default, deserialize_with = "super::units::networks")]
    allow: Vec<IpNet>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    register: bool,
    probe: Option<Period>,
    #[serde(default)]
    identity: Identity,
    number: Option<String>,
    calls: Option<u32>,
    calls_per_minute: Option<u32>,
    ca_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "patterns")]
    may_assert: Vec<Pattern>,
    codecs: Option<Vec<String>>,
    language: Option<String>,
    verify: Option<VerifyMode>,
    srtp: Option<Srtp>,
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TrunkAddress>, D::Error> {
    let words = one_or_many(deserializer)?;
    words
        .iter()
        .map(|word| word.parse().map_err(de::Error::custom))
        .collect()
}

impl TrunkRow {
    /// Fills in what the file leaves open.
    pub(super) fn complete(self, call: &Call, folder: &Path) -> Trunk {
        let path = |file: Option<PathBuf>| file.map(|file| folder.join(file));
        Trunk {
            addresses: self.address,
            allow: self.allow,
            username: self.username,
            password_file: path(self.password_file),
            register: self.register,
            probe: self.probe.unwrap_or_else(|| preset("trunk", "probe")),
            identity: self.identity,
            number: self.number,
            calls: self.calls.unwrap_or_else(|| preset("trunk", "calls")),
            calls_per_minute: self
                .calls_per_minute
                .unwrap_or_else(|| preset("trunk", "calls_per_minute")),
            ca_file: path(self.ca_file),
            leg: Phone {
                user: self.name.clone(),
                password_hash: PasswordHash {
                    md5: None,
                    sha256: None,
                    sha512_256: None,
                },
                name: None,
                codecs: self.codecs.unwrap_or_else(|| call.codecs.clone()),
                language: self.language.unwrap_or_else(|| preset("trunk", "language")),
                // Whom it rings is not at a handset of ours: nobody is asked for a key there.
                verify: self.verify.unwrap_or(call.verify),
                transport: preset("phone", "transport"),
                srtp: self.srtp.unwrap_or_default(),
                max_contacts: 0,
                may_assert: self.may_assert,
                external_address: None,
            },
            name: self.name,
        }
    }
}

/// What the parts of a trunk mean together, and whether its files can be used.
pub(super) fn check(folder: &Path, blocks: &[Block], phones: &[&str], problems: &mut Vec<Problem>) {
    for block in blocks {
        let mut problem = |place: &super::Place, sentence: String| {
            problems.push(Problem {
                place: place.clone(),
                sentence,
            });
        };
        if let Some((name, place)) = text_at(block, "name")
            && phones.contains(&name)
        {
            problem(
                place,
                format!("name is that of the phone {}; choose another", quoted(name)),
            );
        }
        let user = text_at(block, "username");
        let password = text_at(block, "password_file");
        match (user, password) {
            (Some((_, place)), None) => problem(place, "username needs password_file as well".to_owned()),
            (None, Some((_, place))) => problem(place, "password_file needs username as well".to_owned()),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if let Some(at) = block.values.get("register")
            && at.value == super::kind::Raw::Flag(true)
            && user.is_none()
            && let Some(place) = &at.place
        {
            problem(
                place,
                "register needs username and password_file, the account there".to_owned(),
            );
        }
        if let Some((text, place)) = text_at(block, "probe")
            && let Ok(every) = text.parse::<Period>()
            && !every.duration().is_zero()
            && every.duration() < MIN_PROBE
        {
            problem(place, "probe must be 5s at least, or 0s for never".to_owned());
        }
        for (name, is_secret) in [("password_file", true), ("ca_file", false)] {
            let Some((path, place)) = text_at(block, name) else {
                continue;
            };
            let file = folder.join(path);
            let read = if is_secret {
                read_secret(&file).map(drop)
            } else {
                open_believed(&file).map(drop)
            };
            if let Err(why) = read {
                problem(place, format!("{name} names {}, {why}", quoted(path)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_transport_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("udp:192.0.2.10", "192.0.2.10", None),
            ("udp:192.0.2.10:5070", "192.0.2.10", Some(5070)),
            ("tls:pbx.example.org", "pbx.example.org", None),
            ("sip:example.org", "example.org", None),
            ("tcp:pbx.example.org:5080", "pbx.example.org", Some(5080)),
            ("udp:[2001:db8::1]", "2001:db8::1", None),
            ("tcp:[::1]:5070", "::1", Some(5070)),
        ] {
            let address: TrunkAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for bad in [
            "",
            "192.0.2.10",
            "sip:192.0.2.10",
            "sip:pbx.example.org:5060",
            "ws:192.0.2.10",
            "udp:",
            "udp::5060",
            "udp:host:0",
            "udp:host:",
            "udp:host:x",
            "udp:host:70000",
            "udp:a b",
            "udp:[::1",
            "udp:[::1]5060",
            "udp:2001:db8::1",
            "udp:user@host",
        ] {
            assert!(bad.parse::<TrunkAddress>().is_err(), "{bad}");
        }
    }
}

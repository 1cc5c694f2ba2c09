//! Values with a syntax of their own: periods, listening addresses, port ranges.
//!
//! Each is read by `FromStr`, whose error is the rest of a sentence that begins with the option's name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use quartet_proto::net::Protocol;
use serde::{Deserialize, Deserializer, de};

use super::hub_url::HubUrl;
use super::origin::Origin;
use crate::route::Pattern;

/// Reads a value by its `FromStr`; what [`crate::config`] checked before cannot fail here.
macro_rules! deserialize_by_from_str {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

deserialize_by_from_str!(
    Origin,
    HubUrl,
    Period,
    HttpListen,
    ReflectorListen,
    Ports,
    Prompts,
    Level
);

/// A length of time, written as whole numbers with units: `500ms`, `10s`, `1m 30s`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// Takes a length of time.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// As the rest of the program wants it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| "must be a whole number and a unit, as \"500ms\", \"10s\", \"2m\" or \"1h\"".to_owned();
        humantime::parse_duration(text).map(Self).map_err(wrong)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A socket of a reflector, written `udp:ADDRESS:PORT` or `tcp:ADDRESS:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReflectorListen {
    /// How bytes travel.
    pub protocol: Protocol,
    /// Port 0 lets the system choose.
    pub address: SocketAddr,
}

impl FromStr for ReflectorListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "must be written \"udp:ADDRESS:PORT\" or \"tcp:ADDRESS:PORT\", as \"udp:0.0.0.0:599\"";
        let (scheme, address) = text.split_once(':').ok_or(form)?;
        let protocol = match scheme {
            "udp" => Protocol::Udp,
            "tcp" => Protocol::Tcp,
            _ => return Err(form.to_owned()),
        };
        Ok(Self {
            protocol,
            address: socket_address(address)?,
        })
    }
}

/// A place to serve HTTP and WebSocket, written `http:ADDRESS:PORT` or `https:ADDRESS:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpListen {
    /// Whether it is under TLS.
    pub is_secure: bool,
    /// Port 0 lets the system choose.
    pub address: SocketAddr,
}

impl HttpListen {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }
}

impl FromStr for HttpListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "must be written \"http:ADDRESS:PORT\", as \"http:127.0.0.1:8080\", or \"https:ADDRESS:PORT\"";
        let (scheme, address) = text.split_once(':').ok_or(form)?;
        let is_secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(form.to_owned()),
        };
        Ok(Self {
            is_secure,
            address: socket_address(address)?,
        })
    }
}

/// A network, or one address as a network of its own.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| text.parse())
        .map_err(|_| "must be IP addresses or networks, as \"192.0.2.10\" or \"10.1.0.0/16\"".to_owned())
}

/// Reads a list of them.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    words
        .iter()
        .map(|word| network(word).map_err(de::Error::custom))
        .collect()
}

/// Reads `192.0.2.1:5060` or `[2001:db8::1]:5060`.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("names \"{text}\", which is not an IP address and a port, as 0.0.0.0:5060 or [::]:5060"))
}

/// Addresses that are offered for media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Those of the machine's own interfaces.
    Auto,
    /// These, most wanted first; never empty.
    Listed(Vec<IpAddr>),
}

impl Addresses {
    /// Reads the words of the list, `auto` alone or IP addresses.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the option's name.
    pub fn from_words<S: AsRef<str>>(words: &[S]) -> Result<Self, String> {
        match words {
            [] => Err("must not be empty; write \"auto\" or IP addresses".to_owned()),
            [one] if one.as_ref() == "auto" => Ok(Self::Auto),
            _ => words
                .iter()
                .map(|word| media_address(word.as_ref()))
                .collect::<Result<_, _>>()
                .map(Self::Listed),
        }
    }
}

/// What those outside are told in place of our own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalAddress {
    /// These, the first of a family; none: our own.
    Addresses(Vec<IpAddr>),
    /// Those that this name has now.
    Name(String),
}

impl ExternalAddress {
    /// Reads the words of the list, one name or IP addresses.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the option's name.
    pub fn from_words<S: AsRef<str>>(words: &[S]) -> Result<Self, String> {
        let both = || "must be IP addresses or one host name, not both".to_owned();
        let mut addresses = Vec::new();
        for word in words.iter().map(AsRef::as_ref) {
            match word.parse::<IpAddr>() {
                Ok(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() => {
                    return Err(format!("names {ip}, which nobody outside can send to"));
                }
                Ok(ip) => addresses.push(ip),
                Err(_) if is_host_name(word) && words.len() == 1 => return Ok(Self::Name(word.to_owned())),
                Err(_) if is_host_name(word) => return Err(both()),
                Err(_) => {
                    return Err(format!(
                        "names \"{word}\", which is neither an IP address nor a host name, as \"203.0.113.5\" or \"gw.example.org\""
                    ));
                }
            }
        }
        Ok(Self::Addresses(addresses))
    }
}

/// RFC 1123 §2.1; the last label is no number, or it would be a broken address.
pub(super) fn is_host_name(word: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = word.rsplit('.').next().unwrap_or_default();
    word.len() <= 253 && word.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl<'de> Deserialize<'de> for ExternalAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = one_or_many(deserializer)?;
        Self::from_words(&words).map_err(de::Error::custom)
    }
}

/// Networks that are not outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalNetworks {
    /// Those of the machine's own interfaces.
    Auto,
    /// These.
    Listed(Vec<IpNet>),
}

impl<'de> Deserialize<'de> for LocalNetworks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = one_or_many(deserializer)?;
        if words == ["auto"] {
            return Ok(Self::Auto);
        }
        let listed = words.iter().map(|word| network(word).map_err(de::Error::custom));
        listed.collect::<Result<_, _>>().map(Self::Listed)
    }
}

/// A word, or a list of words.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Words::deserialize(deserializer)? {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    })
}

/// Patterns of numbers or names: one, or a list of them.
pub(super) fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
    let words = one_or_many(deserializer)?;
    let read = words.iter().map(|word| word.parse().map_err(de::Error::custom));
    read.collect()
}

/// Reads one address that a phone could send audio to.
fn media_address(word: &str) -> Result<IpAddr, String> {
    if word == "auto" {
        return Err("must be \"auto\" alone or IP addresses, not both".to_owned());
    }
    let address: IpAddr = word
        .parse()
        .map_err(|_| format!("names \"{word}\", which is not an IP address; write \"auto\" or IP addresses"))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(format!(
            "names {address}, which nobody can send to; write \"auto\" or addresses of this machine"
        ));
    }
    Ok(address)
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> de::Visitor<'de> for Words {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a list of IP addresses")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Addresses, E> {
                Addresses::from_words(&[word]).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
                let mut words = Vec::<String>::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Addresses::from_words(&words).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// UDP ports of media sockets, written `20000-24999`, or `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The system chooses.
    System,
    /// Both ends belong to it.
    Range {
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "must be written \"FIRST-LAST\", as \"20000-24999\", or \"0\" for ports chosen by the system";
        if text == "0" {
            return Ok(Self::System);
        }
        let (first, last) = text.split_once('-').ok_or_else(form)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| form().to_owned());
        let (first, last) = (port(first)?, port(last)?);
        if first < 1024 {
            return Err(format!("begins at {first}; media ports must be 1024 or higher"));
        }
        if last < first {
            return Err(format!("is reversed; write \"{last}-{first}\""));
        }
        // A call without rtcp-mux takes two ports on each side.
        if u32::from(last) < u32::from(first) + 3 {
            return Err(format!(
                "has too few ports from {first} to {last}; a call takes up to four"
            ));
        }
        Ok(Self::Range { first, last })
    }
}

/// Where recordings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompts {
    /// Those in the program.
    Builtin,
    /// A folder with one folder per language.
    Folder(PathBuf),
}

impl FromStr for Prompts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("must be \"builtin\" or a folder".to_owned()),
            "builtin" => Ok(Self::Builtin),
            folder => Ok(Self::Folder(folder.into())),
        }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub tracing::Level);

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "error" => tracing::Level::ERROR,
            "warn" => tracing::Level::WARN,
            "info" => tracing::Level::INFO,
            "debug" => tracing::Level::DEBUG,
            "trace" => tracing::Level::TRACE,
            _ => return Err("must be error, warn, info, debug or trace".to_owned()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        for (text, ms, printed) in [
            ("500ms", 500, "500ms"),
            ("10s", 10_000, "10s"),
            ("60s", 60_000, "1m"),
            ("90s", 90_000, "1m 30s"),
            ("1m 30s", 90_000, "1m 30s"),
            ("2m", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
            ("1.5s", 1_500, "1s 500ms"),
            ("10 sec", 10_000, "10s"),
            ("0s", 0, "0s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.duration(), Duration::from_millis(ms), "{text}");
            assert_eq!(period.to_string(), printed);
        }
        for bad in [
            "",
            "10",
            "s",
            "-1s",
            "10 parsec",
            "s10",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    #[test]
    fn listening_addresses() {
        assert_eq!(
            "http:127.0.0.1:8080".parse::<HttpListen>().unwrap().address.port(),
            8080
        );
        let secure = "https:[::1]:443".parse::<HttpListen>().unwrap();
        assert_eq!((secure.is_secure, secure.scheme()), (true, "https"));
        for bad in ["", "https:127.0.0.1", "http://127.0.0.1:1", "http:", "ftp:127.0.0.1:1"] {
            assert!(bad.parse::<HttpListen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_and_addresses() {
        assert_eq!("0".parse(), Ok(Ports::System));
        assert_eq!(
            "20000-24999".parse(),
            Ok(Ports::Range {
                first: 20000,
                last: 24999
            })
        );
        for bad in [
            "",
            "20000",
            "80-90",
            "20000-20001",
            "30000-20000",
            "20000-70000",
            "65535-65535",
        ] {
            assert!(bad.parse::<Ports>().is_err(), "{bad}");
        }
        assert_eq!(Addresses::from_words(&["auto"]), Ok(Addresses::Auto));
        assert!(
            matches!(Addresses::from_words(&["192.0.2.1", "2001:db8::1"]), Ok(Addresses::Listed(list)) if list.len() == 2)
        );
        for bad in [&["auto", "192.0.2.1"][..], &[], &["0.0.0.0"], &["host"], &["224.0.0.1"]] {
            assert!(Addresses::from_words(bad).is_err(), "{bad:?}");
        }
    }
}

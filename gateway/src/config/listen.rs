//! Where SIP is heard, and with which certificate: an entry of `[sip] listen`, a text or a table.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use quartet_proto::net::Protocol;
use serde::{Deserialize, Deserializer, de};

use super::kind::{Raw, quoted};
use super::units::socket_address;

/// The keys of an entry that is a table.
const KEYS: [&str; 4] = ["address", "certificate", "key", "client_ca"];

/// A SIP socket to bind, written `udp:ADDRESS:PORT`, or as a table with files of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipListen {
    /// How bytes travel.
    pub protocol: Protocol,
    /// Port 0 lets the system choose.
    pub address: SocketAddr,
    /// What goes before `[tls]` here.
    pub tls: Tls,
}

/// `[tls]`: who we are to those who connect, and whom we let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, our own certificate first.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Who must have signed the certificate of whoever connects; none: nobody is asked for one.
    pub client_ca: Option<PathBuf>,
}

impl Tls {
    /// The files that count where these are a listener's own: they go before the common ones.
    pub(super) fn before(&self, common: &Self) -> Self {
        // A certificate is of no use with the key of another.
        let own = self.certificate.is_some() || self.key.is_some();
        let pair = if own { self } else { common };
        Self {
            certificate: pair.certificate.clone(),
            key: pair.key.clone(),
            client_ca: self.client_ca.clone().or_else(|| common.client_ca.clone()),
        }
    }

    /// All paths, to be changed.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.certificate, &mut self.key, &mut self.client_ca]
            .into_iter()
            .flatten()
    }
}

impl SipListen {
    /// As a sentence names it: `tls:0.0.0.0:5061`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.protocol.scheme(), self.address)
    }

    /// Whether it needs a certificate.
    pub fn is_secure(&self) -> bool {
        matches!(self.protocol, Protocol::Tls | Protocol::Wss)
    }

    /// The files that count here: its own, else those of `[tls]`.
    pub fn files(&self, common: &Tls) -> Tls {
        self.tls.before(common)
    }
}

impl FromStr for SipListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "must be written \"udp:ADDRESS:PORT\", as \"udp:0.0.0.0:5060\"; there are udp, tcp, tls, ws and wss";
        let (scheme, address) = text.split_once(':').ok_or(form)?;
        let is_lower = !scheme.contains(|c: char| c.is_ascii_uppercase());
        Ok(Self {
            protocol: scheme.parse().ok().filter(|_| is_lower).ok_or(form)?,
            address: socket_address(address)?,
            tls: Tls::default(),
        })
    }
}

impl<'de> Deserialize<'de> for SipListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Entry {
            Text(String),
            Table {
                address: String,
                certificate: Option<PathBuf>,
                key: Option<PathBuf>,
                client_ca: Option<PathBuf>,
            },
        }
        let (address, tls) = match Entry::deserialize(deserializer)? {
            Entry::Text(address) => (address, Tls::default()),
            Entry::Table {
                address,
                certificate,
                key,
                client_ca,
            } => (
                address,
                Tls {
                    certificate,
                    key,
                    client_ca,
                },
            ),
        };
        let listen: Self = address.parse().map_err(de::Error::custom)?;
        Ok(Self { tls, ..listen })
    }
}

/// What is wrong with one entry, each with its line, as the rest of a sentence that begins with the option's name.
pub(super) fn entry_faults(line: usize, entry: &Raw) -> Vec<(Option<usize>, String)> {
    let fault = |line: usize, sentence: String| (Some(line), sentence);
    let keys = match entry {
        Raw::Text(text) => {
            let read = text.parse::<SipListen>();
            return read.err().map(|sentence| fault(line, sentence)).into_iter().collect();
        }
        Raw::Table(keys) => keys,
        Raw::Integer(_) | Raw::Flag(_) | Raw::Other(_) | Raw::List(_) => {
            let sentence = "must hold texts in quotes, or tables as { address = \"tls:0.0.0.0:5061\", certificate = \"…\", key = \"…\" }";
            return vec![fault(line, sentence.to_owned())];
        }
    };
    let mut faults = Vec::new();
    for (key, line, value) in keys {
        match value.text() {
            _ if !KEYS.contains(&key.as_str()) => {
                let sentence = format!("has the unknown key {}; valid here: {}", quoted(key), KEYS.join(", "));
                faults.push(fault(*line, sentence));
            }
            None | Some("") => faults.push(fault(*line, format!("has a {key} that is no text in quotes"))),
            Some(_) => {}
        }
    }
    match of_table(entry, "address").map(str::parse::<SipListen>) {
        None => faults.push(fault(line, "has a table without address".to_owned())),
        Some(Err(sentence)) => faults.push(fault(line, sentence)),
        Some(Ok(listen)) if !listen.is_secure() && keys.len() > 1 => {
            let sentence = format!(
                "names {} with a certificate, and nothing is sealed there; use tls or wss",
                listen.name()
            );
            faults.push(fault(line, sentence));
        }
        Some(Ok(listen)) if of_table(entry, "certificate").is_some() != of_table(entry, "key").is_some() => {
            let sentence = format!(
                "names {} with one of certificate and key; it needs both or neither",
                listen.name()
            );
            faults.push(fault(line, sentence));
        }
        Some(Ok(_)) => {}
    }
    faults
}

/// A text of an entry; of a text itself the address.
pub(super) fn of_table<'a>(entry: &'a Raw, name: &str) -> Option<&'a str> {
    match entry {
        Raw::Text(text) => Some(text.as_str()).filter(|_| name == "address"),
        Raw::Table(keys) => keys
            .iter()
            .find(|(key, ..)| key == name)
            .and_then(|(.., value)| value.text()),
        Raw::Integer(_) | Raw::Flag(_) | Raw::Other(_) | Raw::List(_) => None,
    }
}

/// Makes the paths of an entry start at the conf folder.
pub(super) fn resolve(listen: &mut SipListen, folder: &Path) {
    for path in listen.tls.paths_mut() {
        *path = folder.join(&*path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_addresses() {
        for (text, protocol, address) in [
            ("udp:[::1]:0", Protocol::Udp, "[::1]:0"),
            ("tcp:0.0.0.0:5060", Protocol::Tcp, "0.0.0.0:5060"),
            ("tls:[::]:5061", Protocol::Tls, "[::]:5061"),
            ("ws:127.0.0.1:5066", Protocol::Ws, "127.0.0.1:5066"),
            ("wss:192.0.2.1:443", Protocol::Wss, "192.0.2.1:443"),
        ] {
            let listen: SipListen = text.parse().unwrap();
            assert_eq!((listen.protocol, listen.address), (protocol, address.parse().unwrap()));
            assert_eq!(listen.name(), text);
        }
        for (text, part) in [
            ("", "must be written"),
            ("udp", "must be written"),
            ("http:1.2.3.4:1", "must be written"),
            ("0.0.0.0:5060", "must be written"),
            ("udp:", "which is not an IP address and a port"),
            ("udp:1.2.3.4", "which is not an IP address and a port"),
            ("sctp:0.0.0.0:5060", "there are udp, tcp"),
            ("UDP:0.0.0.0:5060", "must be written"),
            ("tls:5061", "which is not an IP address and a port"),
            ("wss:pbx.example:443", "which is not an IP address"),
        ] {
            let error = text.parse::<SipListen>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn files_of_an_entry_go_before_the_common_ones_a_pair_at_a_time() {
        let tls = |certificate: &str, key: &str, ca: &str| {
            let path = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
            Tls {
                certificate: path(certificate),
                key: path(key),
                client_ca: path(ca),
            }
        };
        let mut listen: SipListen = "tls:0.0.0.0:5061".parse().unwrap();
        let common = tls("c", "k", "a");
        assert_eq!(listen.files(&common), common);
        listen.tls = tls("", "", "own");
        assert_eq!(listen.files(&common), tls("c", "k", "own"));
        listen.tls = tls("other", "key", "");
        assert_eq!(listen.files(&common), tls("other", "key", "a"));
    }
}

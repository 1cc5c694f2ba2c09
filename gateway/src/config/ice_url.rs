//! Addresses of STUN and TURN servers (RFC 7064, RFC 7065), and of reflectors in the same manner.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::kind::without_login;

/// What reaches a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
    /// A connection under TLS.
    Tls,
}

impl Via {
    /// The word of the transport contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// What a server does for media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceService {
    /// It says as which address it sees us.
    Stun,
    /// It relays for those whom it knows.
    Turn(Via),
    /// It relays for those who have a tag.
    Reflector(Via),
    /// It relays in the way of a plugin that the operator has brought; no address names it.
    Plugin(Via),
}

impl IceService {
    /// What reaches it.
    pub fn via(self) -> Via {
        match self {
            Self::Stun => Via::Udp,
            Self::Turn(via) | Self::Reflector(via) | Self::Plugin(via) => via,
        }
    }

    /// Whether it relays.
    pub fn is_relay(self) -> bool {
        match self {
            Self::Stun => false,
            Self::Turn(_) | Self::Reflector(_) | Self::Plugin(_) => true,
        }
    }
}

/// A server, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceUrl {
    /// Host name or IP address, IPv6 without brackets.
    pub host: String,
    /// 3478 if none is written, 5349 under TLS, 599 for a reflector.
    pub port: u16,
    /// What it does.
    pub service: IceService,
}

impl FromStr for IceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            format!(
                "has \"{}\", which names no server; write \"stun:HOST\", \"turn:HOST\", \"turn:HOST?transport=tcp\", \
                 \"turns:HOST\", \"reflector:HOST\" or \"reflector:HOST?transport=tcp\", with :PORT behind HOST where it is not 3478 \
                 (turns: 5349, reflector: 599)",
                without_login(text).escape_debug()
            )
        })
    }
}

/// Host and port of `HOST:PORT`, `[IPV6]:PORT` or either without a port.
fn host_and_port(authority: &str, usual: Option<u16>) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            let port = match rest.strip_prefix(':') {
                Some(port) => port,
                None if rest.is_empty() => "",
                None => return None,
            };
            (host, port)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_host = host.parse::<IpAddr>().is_ok() || !host.is_empty() && host.len() <= 253 && host.chars().all(is_name);
    let port = match port {
        "" if !authority.ends_with(':') => usual?,
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    is_host.then_some((host, port))
}

/// The server of a path that a plugin of the operator's brings, `HOST:PORT`; `None` if it is not that.
pub(super) fn path_server(text: &str, via: Via) -> Option<IceUrl> {
    let (host, port) = host_and_port(text, None)?;
    Some(IceUrl {
        host: host.to_owned(),
        port,
        service: IceService::Plugin(via),
    })
}

fn parse(text: &str) -> Option<IceUrl> {
    let (scheme, rest) = text.split_once(':')?;
    let (authority, query) = rest
        .split_once('?')
        .map_or((rest, None), |(host, query)| (host, Some(query)));
    let service = match (scheme, query) {
        ("stun", None) => IceService::Stun,
        ("turn", None | Some("transport=udp")) => IceService::Turn(Via::Udp),
        ("turn", Some("transport=tcp")) => IceService::Turn(Via::Tcp),
        ("turns", None | Some("transport=tcp")) => IceService::Turn(Via::Tls),
        ("reflector", None | Some("transport=udp")) => IceService::Reflector(Via::Udp),
        ("reflector", Some("transport=tcp")) => IceService::Reflector(Via::Tcp),
        _ => return None,
    };
    let usual = match service {
        IceService::Stun | IceService::Turn(Via::Udp | Via::Tcp) => 3478,
        IceService::Turn(Via::Tls) => 5349,
        IceService::Reflector(_) | IceService::Plugin(_) => 599,
    };
    let (host, port) = host_and_port(authority, Some(usual))?;
    Some(IceUrl {
        host: host.to_owned(),
        port,
        service,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_rfcs_write_them() {
        let read = |text: &str| {
            let url: IceUrl = text.parse().unwrap();
            (url.host, url.port, url.service)
        };
        let is = |host: &str, port, service| (host.to_owned(), port, service);
        assert_eq!(
            read("stun:stun.example.org"),
            is("stun.example.org", 3478, IceService::Stun)
        );
        assert_eq!(read("stun:192.0.2.1:19302"), is("192.0.2.1", 19302, IceService::Stun));
        assert_eq!(
            read("turn:example.org"),
            is("example.org", 3478, IceService::Turn(Via::Udp))
        );
        assert_eq!(
            read("turn:example.org:5?transport=udp"),
            is("example.org", 5, IceService::Turn(Via::Udp))
        );
        assert_eq!(
            read("turn:example.org?transport=tcp"),
            is("example.org", 3478, IceService::Turn(Via::Tcp))
        );
        assert_eq!(
            read("turns:example.org"),
            is("example.org", 5349, IceService::Turn(Via::Tls))
        );
        assert_eq!(
            read("turns:[2001:db8::1]:443?transport=tcp"),
            is("2001:db8::1", 443, IceService::Turn(Via::Tls))
        );
        assert_eq!(
            read("reflector:192.0.2.1"),
            is("192.0.2.1", 599, IceService::Reflector(Via::Udp))
        );
        assert_eq!(
            read("reflector:r.example:443?transport=tcp"),
            is("r.example", 443, IceService::Reflector(Via::Tcp))
        );
        assert_eq!(
            read("turn:[2001:db8::1]"),
            is("2001:db8::1", 3478, IceService::Turn(Via::Udp))
        );
    }

    #[test]
    fn the_server_of_a_path_is_host_and_port() {
        for (text, host, port) in [
            ("relay.example:4000", "relay.example", 4_000),
            ("192.0.2.1:1", "192.0.2.1", 1),
            ("[2001:db8::1]:443", "2001:db8::1", 443),
        ] {
            let service = IceService::Plugin(Via::Tcp);
            let host = host.to_owned();
            assert_eq!(
                path_server(text, Via::Tcp),
                Some(IceUrl { host, port, service }),
                "{text}"
            );
        }
        for text in [
            "",
            "relay.example",
            "relay.example:",
            "relay.example:0",
            ":5",
            "[::1]",
            "::1:5",
            "a b:5",
            "a:5x",
        ] {
            assert_eq!(path_server(text, Via::Udp), None, "{text}");
        }
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for text in [
            "",
            "turn:",
            "turn",
            "turn://example.org",
            "turn:example.org:",
            "turn:example.org:0",
            "turn:example.org:65536",
            "turn:example.org:x",
            "turn:user@example.org",
            "turn:example.org?transport=sctp",
            "turns:example.org?transport=udp",
            "stun:example.org?transport=tcp",
            "reflector:example.org?transport=tls",
            "reflectors:example.org",
            "http:example.org",
            "turn:[example.org]",
            "turn:[::1",
            "turn:[::1]x",
            "turn:2001:db8::1",
            "turn:a b",
        ] {
            let error = text.parse::<IceUrl>().unwrap_err();
            assert!(error.contains("names no server"), "{text}: {error}");
        }
    }
}

//! `Via`: who sent a request and where its response goes (RFC 3261 §18.2, RFC 3581). Ours, since rsip reads no IPv6 here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::address::{header_params, is_token, quote};
use super::uri::{Param, host_port_of, param};
use super::{Headers, LWS, words};
use crate::net::{FiveTuple, Protocol};

/// Begins every branch since RFC 3261.
pub(in crate::sip) const MAGIC_COOKIE: &str = "z9hG4bK";

/// Where a request is from whose way cannot be read without doubt.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Proxies in a row that may be trusted.
const MAX_PROXIES: usize = 8;

/// One `Via` element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// `UDP` and its like, upper case.
    pub transport: String,
    /// Host the sender believes to have.
    pub host: String,
    /// Its port, if told.
    pub port: Option<u16>,
    /// `branch`, `rport`, `received` and others.
    pub params: Vec<Param>,
}

impl Via {
    /// Reads one element; blanks are allowed around the slashes and the colon.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        if !name.trim_matches(LWS).eq_ignore_ascii_case("SIP") || version.trim_matches(LWS) != "2.0" {
            return None;
        }
        let rest = rest.trim_start_matches(LWS);
        let (transport, rest) = rest.split_at(rest.find(LWS)?);
        let (sent_by, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
        let sent_by: String = words(sent_by).collect();
        let (host, port) = host_port_of(&sent_by)?;
        let transport = Some(transport.to_ascii_uppercase()).filter(|t| is_token(t))?;
        Some(Self {
            transport,
            host,
            port,
            params: header_params(params),
        })
    }

    /// The topmost of a message.
    pub(in crate::sip) fn first(headers: &Headers) -> Option<Self> {
        Self::parse(headers.list("Via").next()?)
    }

    /// Where a request began that came from `source`: below the proxies that are trusted, the address and port that the lowest of
    /// them received it from (RFC 3261 §18.2.1, RFC 3581 §4). From others Via is not believed.
    ///
    /// The port is 0 if it is not known: without `received` and `rport` both. What cannot be read without doubt is from nowhere, the
    /// unspecified address: it was written by whoever would be taken for the proxy, or for somebody else behind it. So is all
    /// that a proxy passes on with line ends that it may have read in another way.
    pub(in crate::sip) fn origin(
        headers: &Headers,
        source: SocketAddr,
        is_trusted: impl Fn(IpAddr) -> bool,
    ) -> SocketAddr {
        if headers.has_odd_line_ends() && is_trusted(source.ip()) {
            return NOWHERE;
        }
        let mut origin = source;
        // The topmost is of whoever sent it to us.
        for (at, text) in headers.list("Via").skip(1).enumerate() {
            if !is_trusted(origin.ip()) {
                break;
            }
            let below = Self::sent_from(text).filter(|_| at < MAX_PROXIES);
            origin = below.unwrap_or(NOWHERE);
        }
        origin
    }

    /// Where an element says that its request was sent from, if two readers cannot disagree about it.
    fn sent_from(text: &str) -> Option<SocketAddr> {
        let via = Self::parse(text).filter(|_| !text.contains(['"', '\\', '(', ')', '<', '>']))?;
        let all = |name: &'static str| via.params.iter().filter(move |p| p.name.eq_ignore_ascii_case(name));
        let rport = match all("rport").count() {
            0 => None,
            1 => param(&via.params, "rport").and_then(|port| port.parse().ok()),
            _ => Some(0),
        };
        match all("received").count() {
            // The host is what the proxy has seen, else it would have said so; the port is only what the sender says.
            0 => Some(SocketAddr::new(via.ip()?, 0)),
            1 => {
                let ip = param(&via.params, "received")?.trim_matches(['[', ']']).parse().ok()?;
                Some(SocketAddr::new(ip, rport.unwrap_or(0)))
            }
            _ => None,
        }
    }

    /// The transaction's name.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        param(&self.params, "branch").filter(|b| !b.is_empty())
    }

    /// Whether the sender names the address it really sent from.
    #[must_use]
    pub fn names(&self, source: SocketAddr) -> bool {
        self.ip() == Some(source.ip()) && self.port.unwrap_or(5060) == source.port()
    }

    /// Where the sender takes connections, if it names the host that it really is at.
    pub(in crate::sip) fn listens_at(&self, source: FiveTuple) -> Option<SocketAddr> {
        let ip = self.ip().filter(|ip| *ip == source.remote.ip())?;
        let standard = if source.protocol == Protocol::Tls { 5061 } else { 5060 };
        Some(SocketAddr::new(ip, self.port.unwrap_or(standard)))
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Where the response goes: back to the source, and to its port if the sender asked for that or sits behind a NAT.
    #[must_use]
    pub(in crate::sip) fn response_to(&self, source: SocketAddr) -> SocketAddr {
        let symmetric = param(&self.params, "rport").is_some() || self.ip() != Some(source.ip());
        SocketAddr::new(
            source.ip(),
            if symmetric {
                source.port()
            } else {
                self.port.unwrap_or(5060)
            },
        )
    }

    /// The element as it stands in our response.
    #[must_use]
    pub(in crate::sip) fn received_from(mut self, source: SocketAddr) -> Self {
        let asked = param(&self.params, "rport").is_some();
        self.params.retain(|p| p.name != "received");
        for p in self.params.iter_mut().filter(|p| p.name == "rport") {
            p.value = Some(source.port().to_string());
        }
        if asked || self.ip() != Some(source.ip()) {
            self.params.push(Param {
                name: "received".to_owned(),
                value: Some(source.ip().to_string()),
            });
        }
        self
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let plain = |v: &str| !v.is_empty() && v.chars().all(|c| c == ':' || is_token(c.encode_utf8(&mut [0; 4])));
        for p in self.params.iter().filter(|p| is_token(&p.name)) {
            match &p.value {
                None => write!(f, ";{}", p.name)?,
                Some(value) if plain(value) => write!(f, ";{}={value}", p.name)?,
                Some(value) => write!(f, ";{}={}", p.name, quote(value))?,
            }
        }
        Ok(())
    }
}

//! URIs: SIP, SIPS and tel, IPv6 hosts and parameters included; rsip reads too few of them.
//!
//! What is printed is always safe in a header: anything a URI may not hold is percent-escaped.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::net::Protocol;
use crate::sip::SipError;

/// Longest URI looked at; longer ones are refused.
const MAX_LENGTH: usize = 2048;

/// The word before the colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`; the number is the user, there is no host.
    Tel,
    /// Anything else, lower case; the rest of the URI is kept as user.
    Other(String),
}

/// One `;name=value`; flags have no value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Param {
    /// Lower case.
    pub name: String,
    /// As it came; quotes are kept off.
    pub value: Option<String>,
}

/// A URI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uri {
    /// The scheme.
    pub scheme: Scheme,
    /// User part as on the wire (escaped, with its own parameters, without password).
    pub user: Option<String>,
    /// Host, lower case; IPv6 in brackets. Empty for tel.
    pub host: String,
    /// Port, if given.
    pub port: Option<u16>,
    /// Parameters of the URI.
    pub params: Vec<Param>,
    /// What follows `?`, as it came.
    pub headers: Option<String>,
}

impl Uri {
    /// A SIP URI of a user (plain text, escaped here; empty: none) at an address.
    #[must_use]
    pub fn sip(user: &str, at: SocketAddr) -> Self {
        let mut uri = Self::sip_host(user, &host_of(at.ip()));
        uri.port = Some(at.port());
        uri
    }

    /// A SIP URI of a user (plain text, escaped here; empty: none) at a host without port.
    #[must_use]
    pub fn sip_host(user: &str, host: &str) -> Self {
        Self {
            scheme: Scheme::Sip,
            user: (!user.is_empty()).then(|| escape(user, is_user)),
            host: host
                .chars()
                .filter(|c| is_host(*c))
                .collect::<String>()
                .to_ascii_lowercase(),
            port: None,
            params: Vec::new(),
            headers: None,
        }
    }

    /// The same, to be reached over this transport.
    #[must_use]
    pub fn over(mut self, protocol: Protocol) -> Self {
        self.params.retain(|param| param.name != "transport");
        let param = |value: &str| Param {
            name: "transport".to_owned(),
            value: Some(value.to_owned()),
        };
        self.params.extend(protocol.parameter().map(param));
        self
    }

    /// Puts another user (plain text, escaped here) in.
    pub fn set_user(&mut self, user: &str) {
        self.user = (!user.is_empty()).then(|| escape(user, is_user));
    }

    /// The user part without escapes and without its parameters; empty if there is none.
    #[must_use]
    pub fn user_unescaped(&self) -> String {
        let user = self.user.as_deref().unwrap_or_default();
        unescape(user.split(';').next().unwrap_or_default())
    }

    /// The user part as a name or a number that was dialled: without escapes and parameters, and in a telephone number without visual
    /// separators (RFC 3966 §5.1.1).
    #[must_use]
    pub fn dialled(&self) -> String {
        let user = self.user_unescaped();
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '*' | '#');
        let is_separator = |c: char| matches!(c, '-' | '.' | '(' | ')' | ' ');
        if user.contains(is_number) && user.chars().all(|c| is_number(c) || is_separator(c)) {
            user.replace(is_separator, "")
        } else {
            user
        }
    }

    /// A parameter's value; `Some("")` for a flag.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        param(&self.params, name)
    }

    /// The value of a header field that a request to it is to have, without escapes (RFC 3261 §19.1.1).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let fields = self
            .headers
            .as_deref()?
            .split('&')
            .filter_map(|field| field.split_once('='));
        let mut found = fields.filter(|(field, _)| unescape(field).eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| unescape(value))
    }

    /// Host and port, if the host is an address; the port of `sip:` is 5060 unless told.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let host = self
            .host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(&self.host);
        let default = if self.scheme == Scheme::Sips { 5061 } else { 5060 };
        host.parse::<IpAddr>()
            .ok()
            .map(|ip| SocketAddr::new(ip, self.port.unwrap_or(default)))
    }

    /// Whether both name the same resource, near enough to RFC 3261 §19.1.4: parameters other than
    /// `transport`, `user`, `ttl`, `method`, `maddr` do not count.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let counted = ["transport", "user", "ttl", "method", "maddr"];
        self.scheme == other.scheme
            && self.user.as_deref().map(unescape) == other.user.as_deref().map(unescape)
            && self.host == other.host
            && self.port == other.port
            && counted.iter().all(|name| match (self.param(name), other.param(name)) {
                (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
                (None, None) => true,
                (Some(a), None) | (None, Some(a)) => *name == "transport" && a.eq_ignore_ascii_case("udp"),
            })
    }
}

impl FromStr for Uri {
    type Err = SipError;

    fn from_str(text: &str) -> Result<Self, SipError> {
        let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>');
        if text.len() > MAX_LENGTH || text.chars().any(bad) {
            return Err(SipError::BadUri);
        }
        let (scheme, rest) = text.split_once(':').ok_or(SipError::BadUri)?;
        let starts_well = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well
            || !scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        {
            return Err(SipError::BadUri);
        }
        match scheme.to_ascii_lowercase().as_str() {
            "sip" => sip_rest(Scheme::Sip, rest),
            "sips" => sip_rest(Scheme::Sips, rest),
            "tel" => tel_rest(rest),
            other => Ok(Self {
                scheme: Scheme::Other(other.to_owned()),
                user: Some(rest.to_owned()),
                host: String::new(),
                port: None,
                params: Vec::new(),
                headers: None,
            }),
        }
    }
}

/// Everything after `sip:`.
fn sip_rest(scheme: Scheme, rest: &str) -> Result<Uri, SipError> {
    // The user part may hold `;` and `?`, so the `@` decides first; a host holds none.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let user = user.map(|u| u.split(':').next().unwrap_or_default());
    if user.is_some_and(|u| u.is_empty() || u.contains(['"', '@'])) {
        return Err(SipError::BadUri);
    }
    let (rest, headers) = match rest.split_once('?') {
        Some((rest, headers)) => (rest, Some(headers.to_owned())),
        None => (rest, None),
    };
    let (host_port, params) = match rest.split_once(';') {
        Some((host_port, params)) => (host_port, params_of(params)),
        None => (rest, Vec::new()),
    };
    let (host, port) = host_port_of(host_port).ok_or(SipError::BadUri)?;
    Ok(Uri {
        scheme,
        user: user.map(escape_wire),
        host,
        port,
        params,
        headers,
    })
}

/// Everything after `tel:`.
fn tel_rest(rest: &str) -> Result<Uri, SipError> {
    let (number, params) = match rest.split_once(';') {
        Some((number, params)) => (number, params_of(params)),
        None => (rest, Vec::new()),
    };
    let digit = |c: char| c.is_ascii_hexdigit() || matches!(c, '+' | '-' | '.' | '(' | ')' | '*' | '#');
    if number.is_empty() || !number.chars().all(digit) {
        return Err(SipError::BadUri);
    }
    let user = Some(number.to_owned());
    Ok(Uri {
        scheme: Scheme::Tel,
        user,
        host: String::new(),
        port: None,
        params,
        headers: None,
    })
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; the host lower case.
pub(in crate::sip) fn host_port_of(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']')?;
        let inside = text.get(1..end)?;
        inside.parse::<std::net::Ipv6Addr>().ok()?;
        (text.get(..=end)?, text.get(end + 1..)?)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        (text.get(..end)?, text.get(end..)?)
    };
    if host.is_empty() || !host.chars().all(is_host) {
        return None;
    }
    let port = match port.strip_prefix(':') {
        Some(digits) => Some(digits.trim_matches(super::LWS).parse::<u16>().ok()?),
        None if port.is_empty() => None,
        None => return None,
    };
    Some((host.to_ascii_lowercase(), port))
}

/// Splits `a=b;c` (no quotes in URIs) into parameters.
fn params_of(text: &str) -> Vec<Param> {
    text.split(';')
        .filter(|p| !p.is_empty())
        .map(|p| match p.split_once('=') {
            Some((name, value)) => Param {
                name: name.to_ascii_lowercase(),
                value: Some(value.to_owned()),
            },
            None => Param {
                name: p.to_ascii_lowercase(),
                value: None,
            },
        })
        .collect()
}

/// Finds a parameter by its lower-case name.
pub(in crate::sip) fn param<'a>(params: &'a [Param], name: &str) -> Option<&'a str> {
    params
        .iter()
        .find(|p| p.name == name)
        .map(|p| p.value.as_deref().unwrap_or_default())
}

/// An address as a URI host.
#[must_use]
pub(in crate::sip) fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn is_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':')
}

/// Unreserved and user-unreserved but `;` and `?`, RFC 3261 §25.1.
fn is_user(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,/".contains(c)
}

/// Percent-escapes all that `keep` does not allow.
fn escape(text: &str, keep: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if keep(c) {
            out.push(c);
        } else if !c.is_control() {
            let mut bytes = [0; 4];
            for b in c.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("%{b:02X}"));
            }
        }
    }
    out
}

/// As [`escape`] for text that is escaped already: `%`, `;` and `?` stay.
fn escape_wire(text: &str) -> String {
    escape(text, |c| is_user(c) || matches!(c, '%' | ';' | '?' | '#'))
}

/// Undoes percent-escapes; bad ones stay as they are.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        let digits = bytes
            .get(at + 1..at + 3)
            .filter(|d| *b == b'%' && d.iter().all(u8::is_ascii_hexdigit));
        let hex = digits
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        out.push(hex.unwrap_or(*b));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().map(escape_wire);
        match (&self.scheme, &user) {
            (Scheme::Sip, _) => f.write_str("sip:")?,
            (Scheme::Sips, _) => f.write_str("sips:")?,
            (Scheme::Tel, user) => write!(f, "tel:{}", user.as_deref().unwrap_or_default())?,
            (Scheme::Other(name), _) => {
                let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
                let rest = self.user.as_deref().unwrap_or_default();
                write!(f, "{name}:{}", escape(rest, |c| is_user(c) || "%;?#:@".contains(c)))?;
            }
        }
        if matches!(self.scheme, Scheme::Sip | Scheme::Sips) {
            if let Some(user) = &user {
                write!(f, "{user}@")?;
            }
            self.host
                .chars()
                .filter(|c| is_host(*c))
                .try_for_each(|c| write!(f, "{c}"))?;
            if let Some(port) = self.port {
                write!(f, ":{port}")?;
            }
        }
        let keep = |c: char| is_user(c) || matches!(c, '%' | '[' | ']' | ':');
        for p in &self.params {
            write!(f, ";{}", escape(&p.name, keep))?;
            if let Some(value) = &p.value {
                write!(f, "={}", escape(value, keep))?;
            }
        }
        match &self.headers {
            Some(headers) => write!(
                f,
                "?{}",
                escape(headers, |c| is_user(c) || matches!(c, '%' | '[' | ']' | ':' | '?'))
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dialled_is_a_name_or_a_number_without_separators() {
        for (uri, expected) in [
            ("sip:anna@x", "anna"),
            ("sip:%61nna%2Bb@x", "anna+b"),
            ("sip:a-b.c@x", "a-b.c"),
            ("sip:+1-201-555-0123@x;user=phone", "+12015550123"),
            ("tel:+49-(0)30-12.34;phone-context=x", "+490301234"),
            ("sip:030%201234@x", "0301234"),
            ("sip:*21*-5%23@x", "*21*5#"),
            ("sip:...@x", "..."),
            ("sip:x", ""),
        ] {
            assert_eq!(uri.parse::<Uri>().unwrap().dialled(), expected, "{uri}");
        }
    }
}

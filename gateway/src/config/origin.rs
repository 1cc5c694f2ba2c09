//! Web origins: which pages a browser says it acts for. RFC 6454.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::kind::without_login;

/// A web origin, written `SCHEME://HOST` or `SCHEME://HOST:PORT`.
#[derive(Clone, Eq)]
pub struct Origin {
    scheme: String,
    /// An IPv6 address stands in brackets.
    host: String,
    /// `None` if none is written and the scheme has none of its own.
    port: Option<u16>,
}

impl Origin {
    /// Whether this is a page of the server that a request's `Host` names. The scheme does not count: a proxy that does TLS
    /// in front makes https of http.
    pub fn is_at(&self, host: &str) -> bool {
        host_and_port(host).is_some_and(|(host, port)| {
            host.eq_ignore_ascii_case(&self.host) && port.or(default_port(&self.scheme)) == self.port
        })
    }

    /// Whether its host is an address, or `localhost`, which every browser takes for one: not a name that somebody can have
    /// mean another address.
    pub fn is_address(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
    }
}

/// RFC 6454 §5.
impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(&other.scheme)
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
    }
}

impl FromStr for Origin {
    type Err = String;

    /// Nothing may follow the port, and `null`, which stands for every page that hides where it comes from, is none.
    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            format!(
                "names \"{}\", which is no web origin; origins are as \"https://phone.example.org\", without a path",
                without_login(text).escape_debug()
            )
        })
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn parse(text: &str) -> Option<Origin> {
    let (scheme, authority) = text.split_once("://")?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(good) {
        return None;
    }
    let (host, port) = host_and_port(authority)?;
    Some(Origin {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port: port.or(default_port(scheme)),
    })
}

fn default_port(scheme: &str) -> Option<u16> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("https") || is("wss") {
        Some(443)
    } else if is("http") || is("ws") {
        Some(80)
    } else {
        None
    }
}

/// Splits `HOST[:PORT]`; an IPv6 address stands in brackets, which stay.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let address = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
    let good = match host.strip_prefix('[') {
        Some(inside) => inside
            .strip_suffix(']')
            .is_some_and(|inside| !inside.is_empty() && inside.chars().all(address)),
        None => !host.is_empty() && host.chars().all(name),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        // `parse` would take a sign.
        Some(digits) if digits.chars().all(|c| c.is_ascii_digit()) => Some(digits.parse().ok()?),
        None | Some(_) => return None,
    };
    good.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_origin_is() {
        for good in [
            "https://phone.example.org",
            "http://[::1]:3000",
            "chrome-extension://abcdef",
            "tauri://localhost",
        ] {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "null",
            "*",
            "https://*",
            "https://*.example.org",
            "phone.example.org",
            "https://a/b",
            "https://a/",
            "https://",
            "://a",
            "https://a@b",
            "https://a#b",
            "https://a b",
            "https://a:",
            "https://a:+443",
            "https://a:70000",
            "https://[]",
            "https://[::1",
            "https://[::1]x",
            "file://",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
        let error = "https://a/\n".parse::<Origin>().unwrap_err();
        assert!(error.contains("\"https://a/\\n\", which is no web origin"), "{error}");
    }

    #[test]
    fn the_same_origin_may_be_written_in_several_ways() {
        let origin = |text: &str| text.parse::<Origin>().unwrap();
        assert_eq!(origin("https://PHONE.example:443"), origin("HTTPS://phone.example"));
        for other in [
            "http://phone.example",
            "https://phone.example:444",
            "https://phone.example.org",
        ] {
            assert_ne!(origin("https://phone.example"), origin(other));
        }
        assert_eq!(format!("{:?}", origin("http://[::1]")), "http://[::1]:80");
    }
}

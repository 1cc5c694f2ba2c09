//! The address of a hub elsewhere: `wss://HOST`, `ws://HOST:PORT/PATH`. RFC 6455 §3.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::kind::without_login;

/// The path of the hub protocol on a hub.
pub const HUB_PATH: &str = "/hub/v1";

/// Where a hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubUrl {
    /// Whether TLS is spoken.
    pub is_secure: bool,
    /// A name or an IP address, IPv6 without brackets.
    pub host: String,
    /// 443 or 80 if none is written.
    pub port: u16,
    /// Begins with a slash; [`HUB_PATH`] if none is written.
    pub path: String,
}

impl HubUrl {
    /// Whether others can read what is said: no TLS, and not on this machine.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let is_here = match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        };
        !self.is_secure && !is_here
    }
}

impl FromStr for HubUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            format!(
                "is \"{}\", which is no address of a hub; write \"wss://hub.example.org\", or \"ws://127.0.0.1:8080\" on this machine",
                without_login(text).escape_debug()
            )
        })
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}{}", self.host, self.port, self.path)
    }
}

fn parse(text: &str) -> Option<HubUrl> {
    let (scheme, rest) = text.split_once("://")?;
    let is_secure = match scheme {
        "wss" => true,
        "ws" => false,
        _ => return None,
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    // A user, a query or a fragment would only be there by mistake, and could hold a secret.
    let good = |c: char| c.is_ascii_alphanumeric() || "/-._~%".contains(c);
    if path.len() > 256 || !path.chars().all(good) {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (
                host,
                if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':')?)
                },
            )
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_name = host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    if host.is_empty() || host.len() > 253 || !(is_name || host.contains(':')) {
        return None;
    }
    let port = match port {
        None if is_secure => 443,
        None => 80,
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
    };
    Some(HubUrl {
        is_secure,
        host: host.to_owned(),
        port,
        path: if matches!(path, "" | "/") { HUB_PATH } else { path }.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_an_address() {
        let check = |text: &str, whole: &str| assert_eq!(text.parse::<HubUrl>().unwrap().to_string(), whole);
        check("wss://hub.example.org", "wss://hub.example.org:443/hub/v1");
        check("wss://hub.example.org/", "wss://hub.example.org:443/hub/v1");
        check(
            "wss://hub.example.org:8443/quartet/hub/v1",
            "wss://hub.example.org:8443/quartet/hub/v1",
        );
        check("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/hub/v1");
        check("ws://[::1]:8080/hub/v1", "ws://[::1]:8080/hub/v1");
        check("ws://[2001:db8::1]", "ws://[2001:db8::1]:80/hub/v1");
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "hub.example.org",
            "https://hub.example.org",
            "wss://",
            "wss://:443",
            "wss://hub:0",
            "wss://hub:65536",
            "wss://hub:",
            "wss://user:secret@hub",
            "wss://hub/?token=x",
            "wss://hub/#x",
            "wss://[::1",
            "wss://[::1]443",
            "wss://[hub]",
            "wss://h ub",
            "WSS://hub",
            "wss://2001:db8::1",
            "wss://hub\n",
        ] {
            let error = text.parse::<HubUrl>().expect_err(text);
            assert!(error.contains("no address of a hub"), "{text}: {error}");
        }
    }

    #[test]
    fn what_others_can_read_is_known() {
        for (text, readable) in [
            ("ws://10.0.0.1:8080", true),
            ("ws://hub.example.org", true),
            ("wss://hub.example.org", false),
            ("ws://127.0.0.1:8080", false),
            ("ws://[::1]:8080", false),
            ("ws://localhost:8080", false),
        ] {
            assert_eq!(text.parse::<HubUrl>().unwrap().is_readable(), readable, "{text}");
        }
    }
}

//! Which web pages may open a WebSocket to the hub.
//!
//! A browser lets any page connect anywhere and says in `Origin` which page that was: without this check a stranger's page
//! could speak to a hub that only its visitor reaches, with the visitor's address. Other programs send no `Origin`.
//! RFC 6455 §10.2, RFC 6454 §6 and §7.

use axum::http::{HeaderMap, HeaderName, header};

use crate::config::Origin;

/// Where a reverse proxy that sets `Host` itself keeps the one that the browser asked for.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The address that a reverse proxy connects for. No page can have its browser send either of the two.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether the page that a request was made for, if any, may connect. `proxied`: the request may come through a reverse proxy
/// on this machine, which is believed what host the browser asked it for.
///
/// Without a proxy a name in `Host` proves nothing: whoever owns `evil.example` can have it mean the hub's address once his page
/// has been loaded (DNS rebinding). An address cannot be made to mean another.
pub(super) fn is_allowed(headers: &HeaderMap, proxied: bool, listed: &[Origin]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let Some(origin) = origin.to_str().ok().and_then(|text| text.parse::<Origin>().ok()) else {
        return false;
    };
    // A browser sends one; with several it is not clear which is meant.
    if origins.next().is_some() {
        return false;
    }
    let proxied = proxied
        && [FORWARDED_FOR, FORWARDED_HOST]
            .iter()
            .any(|name| headers.contains_key(name));
    let mut hosts = headers.get_all(header::HOST).iter();
    let own = match (hosts.next().map(|host| host.to_str()), hosts.next()) {
        (Some(Ok(host)), None) => origin.is_at(host) && (proxied || origin.is_address()),
        _ => false,
    };
    // The last is what the nearest proxy says, as with X-Forwarded-For.
    let forwarded = headers.get_all(FORWARDED_HOST).iter().next_back().filter(|_| proxied);
    let forwarded = forwarded
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next());
    own || forwarded.is_some_and(|host| origin.is_at(host.trim())) || listed.contains(&origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(allowed: bool, origin: &str, host: &str) {
        let headers = headers(&[("origin", origin), ("host", host), ("x-forwarded-for", "192.0.2.9")]);
        assert_eq!(is_allowed(&headers, true, &[]), allowed, "{origin} at {host}");
    }

    #[test]
    fn a_page_of_the_hubs_own_address_may_connect() {
        for (origin, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://hub.example", "hub.example"),
            ("http://hub.example", "hub.example:80"),
            ("https://hub.example", "hub.example"),
            ("https://hub.example:443", "hub.example"),
            ("https://HUB.example", "hub.EXAMPLE:443"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("https://[2001:DB8::1]", "[2001:db8::1]"),
        ] {
            check(true, origin, host);
        }
    }

    #[test]
    fn every_other_page_may_not() {
        for origin in [
            "https://evil.example",
            "http://hub.example:8081",
            "https://hub.example:80",
            "https://hub.example.evil.example",
            "https://evil.example/hub.example",
            "https://hub.example/",
            "https://hub.example@evil.example",
            "https://evil.example#hub.example",
            "https://hub.example https://evil.example",
            "https://hub.example:",
            "https://hub.example:+443",
            "https://hub.example:70000",
            "file://",
            "://hub.example",
            "hub.example",
            "null",
            "",
        ] {
            check(false, origin, "hub.example");
        }
        // A host that cannot be read is nobody's own.
        for host in ["", "hub.example:", "hub.example,evil.example", "hub.example/"] {
            check(false, "https://hub.example", host);
        }
        assert!(!is_allowed(
            &headers(&[("origin", "null"), ("host", "null")]),
            true,
            &[]
        ));
        assert!(!is_allowed(&headers(&[("origin", "http://a")]), true, &[]), "no host");
    }

    #[test]
    fn a_name_without_a_proxy_is_nobodys() {
        for (allowed, host) in [
            (false, "evil.example:8080"),
            (false, "evil.example"),
            (false, "127.0.0.1.evil.example:8080"),
            (false, "localhost.evil.example"),
            (true, "127.0.0.1:8080"),
            (true, "192.0.2.7:8080"),
            (true, "[2001:db8::1]:8080"),
            (true, "localhost:8080"),
        ] {
            for proxied in [false, true] {
                let origin = format!("http://{host}");
                let headers = headers(&[("origin", &origin), ("host", host)]);
                assert_eq!(is_allowed(&headers, proxied, &[]), allowed, "{host}");
            }
        }
    }

    #[test]
    fn two_of_a_header_are_one_too_many() {
        let same = [("origin", "http://192.0.2.7"), ("host", "192.0.2.7")];
        assert!(is_allowed(&headers(&same), false, &[]));
        assert!(!is_allowed(&headers(&[same[0], same[0], same[1]]), false, &[]));
        assert!(!is_allowed(&headers(&[same[0], same[1], ("host", "b")]), false, &[]));
    }

    #[test]
    fn programs_that_are_no_browsers_send_no_origin() {
        assert!(is_allowed(&headers(&[("host", "hub.example")]), false, &[]));
    }

    #[test]
    fn a_proxy_on_this_machine_is_believed_and_nobody_else() {
        let lines = [
            ("origin", "https://hub.example"),
            ("host", "127.0.0.1:8080"),
            ("x-forwarded-host", "evil.example, hub.example"),
        ];
        assert!(is_allowed(&headers(&lines), true, &[]));
        assert!(!is_allowed(&headers(&lines), false, &[]));
        let swapped = [lines[0], lines[1], ("x-forwarded-host", "hub.example, evil.example")];
        assert!(
            !is_allowed(&headers(&swapped), true, &[]),
            "the nearest proxy has the word"
        );
    }

    #[test]
    fn listed_origins_may_connect() {
        let listed = ["https://phone.example", "http://localhost:3000"].map(|text| text.parse().unwrap());
        let asks = |origin| is_allowed(&headers(&[("origin", origin), ("host", "hub")]), false, &listed);
        for origin in [
            "https://phone.example",
            "https://PHONE.example:443",
            "http://localhost:3000",
        ] {
            assert!(asks(origin), "{origin}");
        }
        for origin in [
            "http://phone.example",
            "https://phone.example:444",
            "http://localhost",
            "null",
        ] {
            assert!(!asks(origin), "{origin}");
        }
    }
}

//! The texts of the contract: `name:value` lines of options and `key=value` lists of `a=fmtp`.

use core::net::SocketAddr;

/// A plugin's settings as the operator wrote them; the host has refused unknown names already.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a>(pub(crate) &'a str);

impl<'a> Options<'a> {
    /// Wraps `name:value` lines.
    #[must_use]
    pub const fn new(lines: &'a str) -> Self {
        Self(lines)
    }

    /// Returns the value of the option, `None` if it is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    }

    /// Returns the value of the option as a number, `None` if it is not set or not a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }

    /// Returns the value of the option as an address, written `IP PORT`; `None` if it is not set or no address.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        let (ip, port) = self.get(name)?.split_once(' ')?;
        Some(SocketAddr::new(ip.parse().ok()?, port.trim().parse().ok()?))
    }
}

/// Finds a key in the value of `a=fmtp`, letter case ignored: `fmtp_value("a=1; USEDTX=1", "usedtx") == Some("1")`.
///
/// A key without `=` has the empty value.
#[must_use]
pub fn fmtp_value<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        name.trim().eq_ignore_ascii_case(key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_options_by_their_whole_name() {
        let options = Options::new("bitrate:24000\ncomplexity: 5\nx:a:b\n");
        assert_eq!(options.number("bitrate"), Some(24000));
        assert_eq!(options.number("complexity"), Some(5));
        assert_eq!(options.get("x"), Some("a:b"));
        assert_eq!(options.get("bit"), None);
        assert_eq!(options.number("x"), None);
    }

    #[test]
    fn finds_fmtp_keys() {
        for (fmtp, key, want) in [
            ("minptime=10;useinbandfec=1", "useinbandfec", Some("1")),
            ("minptime=10; UseInbandFEC = 1 ", "useinbandfec", Some("1")),
            ("xuseinbandfec=1", "useinbandfec", None),
            ("useinbandfec", "useinbandfec", Some("")),
            ("", "a", None),
            (";;;=;", "a", None),
            ("a==b", "a", Some("=b")),
        ] {
            assert_eq!(fmtp_value(fmtp, key), want, "{fmtp:?}");
        }
    }
}

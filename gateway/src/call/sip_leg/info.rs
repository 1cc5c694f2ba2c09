//! A key that a phone sends by SIP INFO, in either of the two common forms.

/// The key, if the body is one: `Signal=5` (application/dtmf-relay) or `5` (application/dtmf); 10 and 11 are `*` and `#`.
pub fn key(content_type: &str, body: &[u8]) -> Option<char> {
    let text = String::from_utf8_lossy(body);
    let word = if content_type.eq_ignore_ascii_case("application/dtmf-relay") {
        let mut fields = text.lines().filter_map(|line| line.split_once('='));
        fields.find(|(name, _)| name.trim().eq_ignore_ascii_case("signal"))?.1
    } else if content_type.eq_ignore_ascii_case("application/dtmf") {
        &*text
    } else {
        return None;
    };
    match word.trim() {
        "10" => Some('*'),
        "11" => Some('#'),
        word if word.len() == 1 => word
            .chars()
            .next()
            .map(|key| key.to_ascii_uppercase())
            .filter(|key| "0123456789*#ABCD".contains(*key)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn both_forms_are_read_and_nonsense_is_not() {
        assert_eq!(
            key("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n"),
            Some('5')
        );
        assert_eq!(key("Application/DTMF-Relay", b"Signal= *\r\n"), Some('*'));
        assert_eq!(
            key("application/dtmf-relay", b"Duration=90\r\nsignal = a\r\n"),
            Some('A')
        );
        assert_eq!(key("application/dtmf", b"11"), Some('#'));
        assert_eq!(key("application/dtmf", b"1"), Some('1'));
        for (kind, body) in [
            ("application/dtmf", &b"12"[..]),
            ("application/dtmf", b""),
            ("text/plain", b"1"),
            ("application/dtmf-relay", b"\xff"),
        ] {
            assert_eq!(key(kind, body), None);
        }
    }
}

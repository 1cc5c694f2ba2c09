//! A key that a phone sends by SIP INFO. No RFC says how; these forms are common.

/// The types of such bodies.
pub(in crate::sip) const TYPES: &[&str] = &["application/dtmf-relay", "application/dtmf"];

/// The key, if a body of one of these types (in lower case) is one: `Signal=5` or `5`, whichever the type; 10 and 11 are `*` and `#`,
/// 12 to 15 A to D.
#[must_use]
pub fn key(content_type: &str, body: &[u8]) -> Option<char> {
    if !TYPES.contains(&content_type) {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let mut fields = text.lines().filter_map(|line| line.split_once(['=', ':']));
    let signal = fields.find(|(name, _)| name.trim().eq_ignore_ascii_case("signal"));
    let word = signal.map_or(&*text, |(_, value)| value).trim();
    match (word, word.parse::<usize>()) {
        (_, Ok(code @ 10..=15)) => "*#ABCD".chars().nth(code - 10),
        (word, _) if word.len() == 1 => word
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
    fn every_form_is_read_and_nonsense_is_not() {
        for (kind, body, expected) in [
            (
                "application/dtmf-relay",
                &b"Signal=5\r\nDuration=160\r\n"[..],
                Some('5'),
            ),
            ("application/dtmf-relay", b"Signal= *\r\n", Some('*')),
            ("application/dtmf-relay", b"Duration=90\r\nsignal = a\r\n", Some('A')),
            ("application/dtmf-relay", b"Signal: 7\r\n", Some('7')),
            ("application/dtmf-relay", b"9\r\n", Some('9')),
            ("application/dtmf", b"Signal=9\r\n", Some('9')),
            ("application/dtmf", b"11", Some('#')),
            ("application/dtmf", b"15", Some('D')),
            ("application/dtmf", b"1", Some('1')),
            ("application/dtmf", b"16", None),
            ("application/dtmf", b"12345", None),
            ("application/dtmf", b"", None),
            ("text/plain", b"1", None),
            ("application/dtmf-relay", b"\xff", None),
        ] {
            assert_eq!(key(kind, body), expected, "{kind} {}", String::from_utf8_lossy(body));
        }
    }
}

//! Whom a number means: `NAME/@user`, `NAME/123456789`, `NAME/+4930123456`, where NAME is an account or a pool.

/// A user as he is dialled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dialled {
    /// By his user name, without `@`.
    Name(String),
    /// By his number at the service.
    Id(i64),
    /// By his telephone number, digits alone.
    Number(String),
}

/// A user name: Telegram allows 4 to 32 letters, digits and `_`.
const NAME: std::ops::RangeInclusive<usize> = 4..=32;
/// E.164 has 15 digits at most; shorter than 7 is no number of a user.
const NUMBER: std::ops::RangeInclusive<usize> = 7..=15;

impl Dialled {
    /// Reads one; `None` if it is none of the three.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(digits) = text.strip_prefix('+') {
            return number(digits).map(Self::Number);
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().filter(|id| *id > 0).map(Self::Id);
        }
        username(text.strip_prefix('@').unwrap_or(text)).map(Self::Name)
    }
}

/// A user name as it is compared, without `@`; `None` if it is none.
pub(super) fn username(text: &str) -> Option<String> {
    let spelt = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let is_name = NAME.contains(&text.len()) && text.bytes().all(spelt);
    is_name.then(|| text.to_ascii_lowercase())
}

/// A telephone number, without `+`; `None` if it is none.
pub(super) fn number(digits: &str) -> Option<String> {
    let is_number = NUMBER.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.to_owned())
}

/// The account or pool, and the user there.
pub(super) fn split(to: &str) -> Option<(&str, Dialled)> {
    let (place, user) = to.split_once('/')?;
    Some((place, Dialled::parse(user)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ids_and_numbers_are_told_apart() {
        for (text, meant) in [
            ("@Alice", Some(Dialled::Name("alice".into()))),
            ("bob_2000", Some(Dialled::Name("bob_2000".into()))),
            ("4711", Some(Dialled::Id(4_711))),
            ("+4930123456", Some(Dialled::Number("4930123456".into()))),
            ("", None),
            ("@", None),
            ("@abc", None),
            ("+", None),
            ("+12345", None),
            ("+49-30", None),
            ("0", None),
            ("99999999999999999999", None),
            ("@alice smith", None),
        ] {
            assert_eq!(Dialled::parse(text), meant, "{text}");
        }
        assert_eq!(split("main/@alice"), Some(("main", Dialled::Name("alice".into()))));
        assert_eq!(split("alice"), None);
    }
}

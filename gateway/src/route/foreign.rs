//! Patterns as other dial plans write them: they would be read as plain characters here, and match nothing that anybody dials.

/// How this pattern is written here, if it is one of Asterisk's or a regular expression; the rest of a sentence that begins with
/// the option's name.
pub(crate) fn foreign(text: &str) -> Option<String> {
    if let Some(pattern) = text.strip_prefix('_') {
        let is_asterisk = pattern.contains(['X', 'Z', 'N', '.', '!']) || pattern.contains('[');
        return is_asterisk.then(|| {
            format!(
                "is \"{text}\", a pattern of Asterisk; here it is written \"{}\"",
                of_asterisk(pattern)
            )
        });
    }
    let is_regular = text.starts_with('^')
        || text.ends_with('$')
        || text.contains('\\')
        || [".*", ".+", "(?", "|"].iter().any(|part| text.contains(part));
    is_regular.then(|| {
        format!(
            "is \"{text}\", a regular expression; here characters stand for themselves, [0-9]{{3}} for three digits and {{name}} for \
             any number of characters, as \"9{{number}}\""
        )
    })
}

/// `X` is a digit, `Z` one from 1, `N` one from 2, `.` and `!` are the rest.
fn of_asterisk(pattern: &str) -> String {
    let (mut out, mut in_class) = (String::new(), false);
    for c in pattern.chars() {
        match c {
            _ if in_class => out.push(c),
            'X' => out.push_str("[0-9]"),
            'Z' => out.push_str("[1-9]"),
            'N' => out.push_str("[2-9]"),
            '.' | '!' => out.push_str("{rest}"),
            _ => out.push(c),
        }
        in_class = (in_class || c == '[') && c != ']';
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Pattern;

    #[test]
    fn patterns_of_other_dial_plans_are_told_how_they_are_written_here() {
        for (theirs, ours) in [
            ("_9X.", "9[0-9]{rest}"),
            ("_NXXXXXX", "[2-9][0-9][0-9][0-9][0-9][0-9][0-9]"),
            ("_0Z!", "0[1-9]{rest}"),
            ("_[13-5X]X", "[13-5X][0-9]"),
        ] {
            let sentence = foreign(theirs).unwrap();
            assert!(sentence.ends_with(&format!("\"{ours}\"")), "{sentence}");
            assert!(ours.parse::<Pattern>().is_ok(), "{ours}");
        }
        for theirs in ["^9(\\d+)$", "^9.*", "9[0-9]+$", "9.+", "\\+49.*", "(?:a)", "100|101"] {
            assert!(foreign(theirs).unwrap().contains("regular expression"), "{theirs}");
        }
    }

    #[test]
    fn patterns_of_ours_are_left_alone() {
        for ours in [
            "",
            "100",
            "tg*{user}",
            "+49{rest}",
            "[0-9]{3}",
            "{n:[0-9]{3}}",
            "_",
            "_anna",
            "a.b",
            "*9#",
            "7{n:[0-9]{3}}",
        ] {
            assert_eq!(foreign(ours), None, "{ours}");
        }
    }
}

//! The valid word that a mistyped one was probably meant to be.

/// Longest word that is compared; no key is longer.
const MAX_CHARS: usize = 64;

/// Finds the candidate that is fewest typing mistakes away, if it is near enough to be meant.
pub(super) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = typed.chars().count();
    if length > MAX_CHARS {
        return None;
    }
    // In a short word two mistakes leave nothing of it.
    let near_enough = if length <= 3 { 1 } else { (length / 3).max(2) };
    candidates
        .into_iter()
        .map(|candidate| (distance(&typed.to_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= near_enough && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Counts the inserted, dropped, replaced and swapped characters between two words (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_counted() {
        for (a, b, mistakes) in [
            ("", "", 0),
            ("realm", "realm", 0),
            ("relm", "realm", 1),
            ("listne", "listen", 1),
            ("abc", "", 3),
            ("ab", "xy", 2),
        ] {
            assert_eq!(distance(a, b), mistakes, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_is_found_or_none() {
        let keys = ["listen", "realm"];
        assert_eq!(nearest("relm", keys), Some("realm"));
        assert_eq!(nearest("Listen", keys), Some("listen"));
        assert_eq!(nearest("password", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }
}

//! The valid word that a mistyped one was probably meant to be.

use strsim::osa_distance;

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
        .map(|candidate| (osa_distance(&typed.to_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= near_enough && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_found_or_none() {
        let keys = ["listen", "realm"];
        assert_eq!(nearest("relm", keys), Some("realm"));
        assert_eq!(nearest("listne", keys), Some("listen"), "swapped");
        assert_eq!(nearest("Listen", keys), Some("listen"));
        assert_eq!(nearest("password", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }
}

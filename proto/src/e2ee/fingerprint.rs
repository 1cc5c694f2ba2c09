//! What the two people compare: four emojis of the key. And what the two programs compare: a 64-bit fingerprint.
//!
//! The table is `emojis.tsv` beside this file: 333 rows of index, code points, emoji, English word. The words were chosen
//! to be distinct when heard.

use std::fmt;
use std::sync::OnceLock;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::SharedKey;

/// How many emojis the table holds.
pub const EMOJIS: usize = 333;

static TABLE_TEXT: &str = include_str!("emojis.tsv");

/// One emoji of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Emoji {
    index: u16,
}

impl Emoji {
    /// Makes an emoji of its place in the table. `None` at 333 and above.
    pub fn new(index: u16) -> Option<Emoji> {
        (usize::from(index) < EMOJIS).then_some(Emoji { index })
    }

    /// Returns the place in the table, 0 to 332.
    pub fn index(self) -> u16 {
        self.index
    }

    /// Returns the picture, as text.
    pub fn symbol(self) -> &'static str {
        table()[usize::from(self.index)].0
    }

    /// Returns what it is called in English.
    pub fn word(self) -> &'static str {
        table()[usize::from(self.index)].1
    }
}

impl fmt::Display for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

/// The rows of the table: symbol and word. Always [`EMOJIS`] long, which a test holds.
fn table() -> &'static Vec<(&'static str, &'static str)> {
    static TABLE: OnceLock<Vec<(&'static str, &'static str)>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut rows: Vec<_> = TABLE_TEXT
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let mut columns = line.split('\t').skip(2);
                Some((columns.next()?, columns.next()?))
            })
            .collect();
        rows.resize(EMOJIS, ("?", "unknown"));
        rows
    })
}

/// Returns the four emojis of a call: SHA-256 of the key and of the caller's public value exactly as it was sent.
///
/// The key enters with its leading zero bytes. One peer implementation leaves them out, so one call in 256 with it shows
/// another row there.
pub fn emojis(key: &SharedKey, caller_public: &[u8]) -> [Emoji; 4] {
    let hash = Sha256::new()
        .chain_update(key.as_bytes())
        .chain_update(caller_public)
        .finalize();
    let mut emojis = [Emoji { index: 0 }; 4];
    for (emoji, part) in emojis.iter_mut().zip(hash.chunks_exact(8)) {
        let number = part.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte)) & (u64::MAX >> 1);
        emoji.index = u16::try_from(number % EMOJIS as u64).expect("a remainder of 333 fits 16 bits");
    }
    emojis
}

/// Returns the fingerprint of a key: bytes 12 to 20 of its SHA-1, little-endian.
///
/// It only tells two keys apart; what proves the key to people are the [`emojis`].
pub fn of_key(key: &SharedKey) -> i64 {
    let hash = Sha1::digest(key.as_bytes());
    i64::from_le_bytes(hash[12..20].try_into().expect("the slice is eight bytes long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let rows: Vec<&str> = TABLE_TEXT.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(rows.len(), EMOJIS);
        for (place, row) in rows.iter().enumerate() {
            assert_eq!(row.split('\t').next(), Some(place.to_string().as_str()));
        }
        let mut words: Vec<&str> = (0..333)
            .map(|index| Emoji::new(index).expect("inside the table").word())
            .collect();
        assert!(words.iter().all(|word| !word.is_empty() && *word != "unknown"));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), EMOJIS, "two emojis share a word");
    }

    #[test]
    fn the_ends_of_the_table() {
        assert_eq!(Emoji::new(0).map(Emoji::symbol), Some("😉"));
        assert_eq!(Emoji::new(332).map(Emoji::word), Some("blue diamond"));
        assert_eq!(Emoji::new(333), None);
    }
}

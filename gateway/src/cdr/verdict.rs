//! What became of the four emojis of a call.

use serde::Serialize;

/// What is known about the emojis of a call; the word stands in the call record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Spoken, nothing was answered for.
    Announced,
    /// The person said that they match.
    Verified,
    /// The person was asked and did not answer.
    Unverified,
    /// The person said that they differ.
    Mismatch,
    /// Not spoken.
    Off,
}

impl Verdict {
    /// The word in the call record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Mismatch => "mismatch",
            Self::Off => "off",
        }
    }

    /// The verdict of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [
            Self::Announced,
            Self::Verified,
            Self::Unverified,
            Self::Mismatch,
            Self::Off,
        ];
        all.into_iter().find(|verdict| verdict.word() == word)
    }
}

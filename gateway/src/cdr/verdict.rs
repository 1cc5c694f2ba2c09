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
    /// The call ended, or failed, before the words were heard to their end.
    Unheard,
    /// They were not to be spoken: `verify = "off"`.
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
            Self::Unheard => "unheard",
            Self::Off => "off",
        }
    }

    /// All of them, in the order of the manual.
    pub(super) const ALL: [Self; 6] = [
        Self::Announced,
        Self::Verified,
        Self::Unverified,
        Self::Mismatch,
        Self::Unheard,
        Self::Off,
    ];

    /// What it means, for the manual.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Announced => "The words were spoken to their end; nobody was asked.",
            Self::Verified => "The person with the handset said that they match.",
            Self::Unverified => "The person was asked and did not answer.",
            Self::Mismatch => "The person said that they differ; the call was ended.",
            Self::Unheard => "The call ended, or failed, before the words were heard to their end.",
            Self::Off => "They were not to be spoken: `verify = \"off\"`.",
        }
    }

    /// The verdict of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.word() == word)
    }
}

//! The names of everything that can be said: 333 emoji words and a few dozen phrases.
//!
//! A name is the stem of the recording's file (`emoji-017`, `not-verified`), so operators see and write it.

use std::fmt;

use quartet_proto::e2ee::fingerprint::{EMOJIS, Emoji};

/// One thing that can be said, in whatever language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PromptId {
    /// The word for an emoji.
    Emoji(Emoji),
    /// A fixed sentence or part of one.
    Phrase(Phrase),
}

impl PromptId {
    /// Finds what a file stem names. `None` if nothing is called that.
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some(digits) = name.strip_prefix("emoji-") {
            let well_formed = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let index = well_formed.then(|| digits.parse().ok()).flatten()?;
            return Emoji::new(index).map(Self::Emoji);
        }
        Phrase::ALL
            .iter()
            .find(|phrase| phrase.name() == name)
            .copied()
            .map(Self::Phrase)
    }

    /// Everything that can be said, emojis first.
    pub fn all() -> impl Iterator<Item = Self> {
        let emojis = (0..EMOJIS)
            .filter_map(|index| Emoji::new(u16::try_from(index).ok()?))
            .map(Self::Emoji);
        emojis.chain(Phrase::ALL.iter().copied().map(Self::Phrase))
    }
}

impl fmt::Display for PromptId {
    /// Writes the stem of the recording's file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emoji(emoji) => write!(f, "emoji-{:03}", emoji.index()),
            Self::Phrase(phrase) => f.write_str(phrase.name()),
        }
    }
}

/// Declares the phrases: each with the stem of its file, and its English text as documentation.
macro_rules! phrases {
    ($($variant:ident $name:literal $text:literal)*) => {
        /// A fixed sentence or part of one. Each is documented by what the English recording says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Phrase { $(#[doc = $text] $variant,)* }

        impl Phrase {
            /// Every phrase.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stem of the recording's file.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What the English recording says.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

phrases! {
    Again "again" "Once more:"
    Busy "busy" "The person you called is busy."
    Compare "compare" "Your call is encrypted. Compare:"
    Connecting "connecting" "Please wait while we connect your call."
    Declined "declined" "The call was declined."
    Differ "differ" "They do not match. Someone may be listening. The call will end now."
    Digit0 "digit-0" "Zero."
    Digit1 "digit-1" "One."
    Digit2 "digit-2" "Two."
    Digit3 "digit-3" "Three."
    Digit4 "digit-4" "Four."
    Digit5 "digit-5" "Five."
    Digit6 "digit-6" "Six."
    Digit7 "digit-7" "Seven."
    Digit8 "digit-8" "Eight."
    Digit9 "digit-9" "Nine."
    Dropped "dropped" "The connection was lost."
    Ended "ended" "The call has ended."
    Failed "failed" "The call could not be connected. Please try again later."
    Goodbye "goodbye" "Goodbye."
    Hash "hash" "The hash key."
    Hold "hold" "Your call is on hold."
    Incoming "incoming" "You have a call from"
    Invalid "invalid" "That is not a valid choice."
    Limit "limit" "There are too many calls now. Please try again later."
    LineNotEncrypted "line-not-encrypted" "Warning: the line to your telephone is not encrypted."
    Menu "menu" "Press one if they match, two to hear them again, nine if they differ."
    NetworkDown "network-down" "The network cannot be reached. Please try again later."
    NoAnswer "no-answer" "The person you called does not answer."
    NoInput "no-input" "No key was pressed."
    NotAllowed "not-allowed" "You are not allowed to call this number."
    NotEncrypted "not-encrypted" "The call could not be encrypted, so it has ended."
    NotVerified "not-verified" "The call could not be verified."
    Outdated "outdated" "The other person's app is too old for this call."
    Pin "pin" "Please enter your PIN, followed by the hash key."
    PinWrong "pin-wrong" "That PIN is not correct."
    RepeatHint "repeat-hint" "To hear the words again, press star one."
    Star "star" "Star."
    ThankYou "thank-you" "Thank you."
    Unavailable "unavailable" "The person you called cannot be reached."
    Unknown "unknown" "That number does not exist."
    Verified "verified" "The call is verified."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_what_it_names() {
        let mut count = 0;
        for id in PromptId::all() {
            assert_eq!(PromptId::from_name(&id.to_string()), Some(id));
            count += 1;
        }
        assert_eq!(count, 333 + Phrase::ALL.len());
    }

    #[test]
    fn other_names_lead_nowhere() {
        for name in [
            "",
            "emoji-",
            "emoji-1",
            "emoji-333",
            "emoji-0001",
            "emoji-+01",
            "emoji-٠٠١",
            "Menu",
            "menu.opus",
        ] {
            assert_eq!(PromptId::from_name(name), None, "{name}");
        }
    }
}

//! What is said, in which order: the announcement of the four words, the question, the answers.
//!
//! Scripts are data. [`super::prompts::Prompts::clips`] makes sound of them; when to play them decides the call.

use std::time::Duration;

use quartet_proto::e2ee::fingerprint::Emoji;

use super::phrase::{Phrase, PromptId};

/// Before the first word: the handset is still on its way to the ear, and the first packets open the phone's path.
pub const LEAD: Duration = Duration::from_millis(300);

/// Between two emoji words. With this gap a recogniser told 99 % of them apart through G.711.
pub const WORD_GAP: Duration = Duration::from_millis(400);

/// Between two sentences.
pub const SENTENCE_GAP: Duration = Duration::from_millis(300);

/// One step of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Say this.
    Say(PromptId),
    /// Say nothing for this long.
    Pause(Duration),
}

impl From<Phrase> for Line {
    fn from(phrase: Phrase) -> Self {
        Self::Say(PromptId::Phrase(phrase))
    }
}

/// "Your call is encrypted. Compare: …" and the four words, once.
pub fn announcement(emojis: &[Emoji; 4]) -> Vec<Line> {
    let mut lines = vec![Line::Pause(LEAD)];
    lines.extend(compare(Phrase::Compare, emojis));
    lines
}

/// "Once more: …" and the four words: what the key `*1` plays during a call.
pub fn repeat(emojis: &[Emoji; 4]) -> Vec<Line> {
    compare(Phrase::Again, emojis)
}

/// The announcement, then the question to be answered by a key.
pub fn confirm(emojis: &[Emoji; 4]) -> Vec<Line> {
    let mut lines = announcement(emojis);
    lines.extend(question());
    lines
}

/// The words once more, then the question: the answer to key 2.
pub fn confirm_again(emojis: &[Emoji; 4]) -> Vec<Line> {
    let mut lines = repeat(emojis);
    lines.extend(question());
    lines
}

/// "That is not a valid choice.", then the question: the answer to a key that means nothing.
pub fn invalid_choice() -> Vec<Line> {
    let mut lines = vec![Phrase::Invalid.into()];
    lines.extend(question());
    lines
}

/// Key 1 was pressed: the words match.
pub fn verified() -> Vec<Line> {
    sentences(&[Phrase::ThankYou, Phrase::Verified])
}

/// The question was not answered; the call goes on.
pub fn not_verified() -> Vec<Line> {
    sentences(&[Phrase::NotVerified])
}

fn compare(opening: Phrase, emojis: &[Emoji; 4]) -> Vec<Line> {
    let mut lines = vec![opening.into()];
    for emoji in emojis {
        lines.extend([Line::Pause(WORD_GAP), Line::Say(PromptId::Emoji(*emoji))]);
    }
    lines
}

fn question() -> [Line; 2] {
    [Line::Pause(WORD_GAP), Phrase::Menu.into()]
}

/// Sentences, one after the other.
pub fn sentences(phrases: &[Phrase]) -> Vec<Line> {
    let mut lines = Vec::new();
    for phrase in phrases {
        lines.extend([Line::Pause(SENTENCE_GAP), (*phrase).into()]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emojis() -> [Emoji; 4] {
        [6, 17, 200, 332].map(|index| Emoji::new(index).expect("in the table"))
    }

    /// A script as the names of its recordings and its pauses in milliseconds.
    fn names(lines: &[Line]) -> String {
        let name = |line: &Line| match line {
            Line::Say(id) => id.to_string(),
            Line::Pause(pause) => pause.as_millis().to_string(),
        };
        lines.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_four_words_are_said_in_their_order() {
        let words = "400 emoji-006 400 emoji-017 400 emoji-200 400 emoji-332";
        assert_eq!(names(&announcement(&emojis())), format!("300 compare {words}"));
        assert_eq!(names(&repeat(&emojis())), format!("again {words}"));
        assert_eq!(names(&confirm(&emojis())), format!("300 compare {words} 400 menu"));
        assert_eq!(names(&confirm_again(&emojis())), format!("again {words} 400 menu"));
    }

    #[test]
    fn a_word_that_comes_twice_is_said_twice() {
        let twice = [emojis()[0]; 4];
        assert_eq!(names(&repeat(&twice)).matches("emoji-006").count(), 4);
    }

    #[test]
    fn the_answers() {
        assert_eq!(names(&verified()), "300 thank-you 300 verified");
        assert_eq!(names(&not_verified()), "300 not-verified");
        assert_eq!(names(&invalid_choice()), "invalid 400 menu");
    }
}

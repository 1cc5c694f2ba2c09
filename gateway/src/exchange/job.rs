//! What the exchange has done elsewhere: steps of key exchanges and the sound of announcements.

use crate::call::{KeyExchangeJob, KeyExchangeResult};
use crate::ivr::script::Line;
use crate::ivr::sound::Clip;
use crate::media::PlayKey;

/// Work that is too slow for the signalling task.
#[derive(Debug)]
pub enum Job {
    /// A step of a key exchange.
    KeyExchange(KeyExchangeJob),
    /// Making sound of a script.
    Speak {
        /// Names it when it has been played.
        play: PlayKey,
        /// What is said.
        script: Vec<Line>,
        /// In which language.
        language: String,
    },
}

/// What came of a [`Job`].
#[derive(Debug)]
pub enum JobResult {
    /// Of a step of a key exchange; `None` if it could not be taken.
    KeyExchange(Option<KeyExchangeResult>),
    /// Of a script: its sound; `None` if there is none, and then nothing was heard.
    Speak(PlayKey, Option<Vec<Clip>>),
}

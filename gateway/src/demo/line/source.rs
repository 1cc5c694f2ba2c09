//! What a line can say.

use std::sync::Arc;

/// What is said into the line.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Nothing is sent.
    Silent,
    /// A sine.
    Tone {
        /// Its frequency.
        hz: f32,
    },
    /// What is heard.
    Echo,
    /// A recording at the line's rate, again and again, from the first packet on.
    Sound(Arc<[i16]>),
}

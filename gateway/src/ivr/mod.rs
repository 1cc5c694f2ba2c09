//! What the handset is told: scripts, prompts, the words of the emojis.

pub mod sound;

//! What the handset is told: scripts, recordings, the words of the emojis.
//!
//! A [`script`] says what is said in which order, as data: [`phrase::PromptId`]s and pauses. [`prompts::Prompts`] finds
//! the recordings (those in the program, or the operator's own), decodes them when they are first needed and makes
//! [`sound::Clip`]s of them, which the media room plays.
//!
//! Nothing here knows a call, a leg or a clock. Files are read when a configuration is loaded, and never after.

pub mod phrase;
pub mod prompts;
pub mod recording;
pub mod script;
pub mod sound;

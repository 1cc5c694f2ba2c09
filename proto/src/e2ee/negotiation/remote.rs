//! What the peer said of its transport, gathered into lines for ours: credentials first, each line once.

use tracing::debug;

use crate::e2ee::Role;

use super::messages::InitialSetup;
use super::{NegotiationError, lines};

/// Candidates of the peer that are passed on in a call.
const MAX_CANDIDATES: usize = 512;
/// Candidates that wait for credentials.
pub(super) const MAX_WAITING: usize = 64;
/// Streams of the peer that are announced in a call.
const MAX_STREAMS: usize = 32;

#[derive(Default)]
pub(super) struct Remote {
    /// The latest credentials, and the counter they came with.
    setup: Option<(u32, InitialSetup)>,
    /// Candidates whose credentials have not come, with the user fragment they name.
    pub(super) waiting: Vec<(String, Option<String>)>,
    candidates: usize,
    streams: Vec<u32>,
    /// The counter of the last media state.
    media_state: u32,
    /// Lines to bring with the next event.
    lines: String,
}

impl Remote {
    /// Tells whether credentials have come.
    pub(super) fn has_setup(&self) -> bool {
        self.setup.is_some()
    }

    /// Returns the lines that are new, if there are any.
    pub(super) fn take_lines(&mut self) -> Option<String> {
        (!self.lines.is_empty()).then(|| std::mem::take(&mut self.lines))
    }

    /// Tells whether a media state is later than those before it, and remembers it.
    pub(super) fn is_latest_media_state(&mut self, counter: u32) -> bool {
        let latest = counter > self.media_state;
        self.media_state = self.media_state.max(counter);
        latest
    }

    /// Takes credentials; older ones that arrive later are no news. The same again may be: a peer may answer a restart with those that
    /// it has.
    ///
    /// # Errors
    /// [`NegotiationError::BadSetup`] if the first cannot be used. A running call survives a bad restart.
    pub(super) fn take_setup(&mut self, counter: u32, setup: InitialSetup, peer: Role) -> Result<(), NegotiationError> {
        if self.setup.as_ref().is_some_and(|(known, _)| *known > counter) {
            return Ok(());
        }
        let Some(lines) = lines::of_setup(&setup, peer) else {
            debug!("setup is unusable");
            return if self.has_setup() {
                Ok(())
            } else {
                Err(NegotiationError::BadSetup)
            };
        };
        self.lines.push_str(&lines);
        if !self.has_setup() {
            // Streams were announced before the credentials.
            for ssrc in &self.streams {
                self.lines.push_str(&format!("ssrc:{ssrc}\n"));
            }
        }
        let (fitting, others) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, named)| named.as_ref().is_none_or(|named| *named == setup.ufrag));
        self.waiting = others;
        for (line, _) in fitting {
            self.push(&line);
        }
        self.setup = Some((counter, setup));
        Ok(())
    }

    /// Takes a candidate. One of other credentials waits for them: it came before them, or after they were replaced.
    pub(super) fn take_candidate(&mut self, text: &str) {
        let Some((line, ufrag)) = lines::of_candidate(text) else {
            debug!("candidate is unusable");
            return;
        };
        if self.candidates >= MAX_CANDIDATES {
            return;
        }
        let fits = |setup: &InitialSetup| ufrag.as_ref().is_none_or(|ufrag| *ufrag == setup.ufrag);
        if self.setup.as_ref().is_some_and(|(_, setup)| fits(setup)) {
            self.candidates += 1;
            self.push(&line);
        } else if self.waiting.len() < MAX_WAITING {
            self.candidates += 1;
            self.waiting.push((line, ufrag));
        }
    }

    /// Announces a stream, once.
    pub(super) fn take_stream(&mut self, ssrc: u32) {
        if self.streams.contains(&ssrc) || self.streams.len() >= MAX_STREAMS {
            return;
        }
        self.streams.push(ssrc);
        if self.has_setup() {
            self.push(&format!("ssrc:{ssrc}"));
        }
    }

    fn push(&mut self, line: &str) {
        self.lines.push_str(line);
        self.lines.push('\n');
    }
}

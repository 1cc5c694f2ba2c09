//! A member of a call: its leg, how far it has come, and its media.

use std::time::Duration;

use quartet_proto::e2ee::fingerprint::Emoji;
use tracing::Span;

use super::Leg;
use super::transfer::Identity;
use crate::media::{LegKey, Report};

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It calls, or it is called.
    Pending,
    /// It accepted the call.
    Accepted,
    /// It hears and is heard.
    Connected,
    /// It is over; it stays until its media is closed.
    Ended,
}

/// A leg in its call.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) leg: Leg,
    /// What every line of the log about this leg stands in, within that of its call.
    pub(super) span: Span,
    pub(super) phase: Phase,
    /// Media was opened for it and is not closed yet.
    pub(super) is_media_open: bool,
    /// How long after the call was taken it heard and was heard.
    pub(super) setup: Option<Duration>,
    /// How it was heard last.
    pub(super) report: Report,
    /// The emojis of its key, if it has one.
    pub(super) emojis: Option<[Emoji; 4]>,
    /// The member whose place it takes once it is connected.
    pub(super) replaces: Option<LegKey>,
    /// Who it is, if it was not in the call from its beginning.
    pub(super) identity: Option<Identity>,
}

impl Member {
    pub(super) fn new(call: &Span, leg: Leg) -> Self {
        Self {
            span: span_of(call, &leg),
            leg,
            phase: Phase::Pending,
            is_media_open: false,
            setup: None,
            report: Report::default(),
            emojis: None,
            replaces: None,
            identity: None,
        }
    }

    /// It goes on in another call.
    pub(super) fn move_to(&mut self, call: &Span) {
        self.span = span_of(call, &self.leg);
    }

    pub(super) fn key(&self) -> LegKey {
        self.leg.key()
    }

    /// Whether it is not over.
    pub(super) fn is_running(&self) -> bool {
        self.phase != Phase::Ended
    }

    /// Whether it is part of the call: neither over, nor only about to replace another.
    pub(super) fn is_in_call(&self) -> bool {
        self.is_running() && self.replaces.is_none()
    }
}

fn span_of(call: &Span, leg: &Leg) -> Span {
    tracing::info_span!(parent: call, "leg", key = leg.key().0, side = leg.side().word())
}

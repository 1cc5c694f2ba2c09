//! What a call says to its legs and hears from them: one vocabulary for phones and E2EE users.

use quartet_proto::e2ee::Job;
use quartet_proto::e2ee::fingerprint::Emoji;
use quartet_proto::e2ee::key_exchange::{Agreed, Answered, Committed, KeyExchangeError};
use quartet_proto::sip::SipCommand;

use super::Cause;
use super::e2ee_leg::E2eeLeg;
use super::sip_leg::SipLeg;
use crate::cdr;
use crate::media::{LegKey, MediaCommand, PlayKey};
use crate::networks::NetworkCommand;

/// What a leg tells its call.
#[derive(Clone, Debug)]
pub enum LegEvent {
    /// The person's device rings.
    Ringing,
    /// The person accepted the call; media is not yet up.
    Accepted,
    /// The four emojis of the call's key.
    Emojis([Emoji; 4]),
    /// The person hears and is heard.
    Connected,
    /// A key was pressed.
    Dtmf {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
        /// Media has forwarded it to the partner already.
        forwarded: bool,
    },
    /// A prompt has played to its end.
    Played(PlayKey),
    /// The leg is over, by its own side.
    Ended(Cause),
}

/// What a call tells a leg.
#[derive(Clone, Debug)]
pub enum LegCommand {
    /// The other side rings.
    Ring,
    /// Somebody accepted the call: whoever calls may begin to connect.
    Accept {
        /// The leg that accepted it: media of both has to meet in one worker.
        same_worker_as: LegKey,
    },
    /// The other side is connected: answer, and show this where it can be shown.
    Answer {
        /// What a display shows.
        display: Option<String>,
    },
    /// Find out whether it is still there.
    Probe,
    /// The call is over, for this cause.
    End(Cause),
}

/// Something that the world must do for a call.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a few a second, and most of them SIP")]
pub enum Action {
    /// Tell the SIP endpoint.
    Sip(SipCommand),
    /// Tell the media workers.
    Media(MediaCommand),
    /// Tell the network of the E2EE leg.
    Network(NetworkCommand),
    /// Run this elsewhere and bring the result back to this leg.
    Compute(LegKey, KeyExchangeJob),
    /// The call runs: if the process dies, this is its record.
    Running(Box<cdr::Record>),
    /// The call is over: write this.
    Record(Box<cdr::Record>),
}

/// A job of the key exchange, too slow for the signalling thread.
#[derive(Debug)]
pub enum KeyExchangeJob {
    /// The caller draws its secret.
    Begin(Job<Committed>),
    /// The callee draws its secret.
    Answer(Job<Answered>),
    /// Either side computes the shared key.
    Agree(Job<Result<Agreed, KeyExchangeError>>),
}

/// The result of a [`KeyExchangeJob`].
#[derive(Debug)]
pub enum KeyExchangeResult {
    /// The caller's secret and its commitment.
    Begun(Committed),
    /// The callee's secret and public value.
    Answered(Answered),
    /// The shared key, or why there is none.
    Agreed(Result<Agreed, KeyExchangeError>),
}

impl KeyExchangeJob {
    /// Computes; takes up to some milliseconds.
    pub fn run(self) -> KeyExchangeResult {
        match self {
            Self::Begin(job) => KeyExchangeResult::Begun(job.run()),
            Self::Answer(job) => KeyExchangeResult::Answered(job.run()),
            Self::Agree(job) => KeyExchangeResult::Agreed(job.run()),
        }
    }
}

/// One end of a call.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "two or three a call, and every call has both kinds"
)]
pub enum Leg {
    /// A phone.
    Sip(SipLeg),
    /// An E2EE user.
    E2ee(E2eeLeg),
}

impl Leg {
    /// The key of the leg, in media as well.
    pub fn key(&self) -> LegKey {
        match self {
            Self::Sip(leg) => leg.key(),
            Self::E2ee(leg) => leg.key(),
        }
    }

    /// Tells the leg something.
    pub fn command(&mut self, now: std::time::Instant, command: LegCommand) {
        match self {
            Self::Sip(leg) => leg.handle_command(command),
            Self::E2ee(leg) => leg.handle_command(now, command),
        }
    }

    /// What the leg has to say.
    pub fn poll_event(&mut self) -> Option<LegEvent> {
        match self {
            Self::Sip(leg) => leg.poll_event(),
            Self::E2ee(leg) => leg.poll_event(),
        }
    }

    /// What the leg wants done.
    pub fn poll_action(&mut self) -> Option<Action> {
        match self {
            Self::Sip(leg) => leg.poll_action(),
            Self::E2ee(leg) => leg.poll_action(),
        }
    }
}

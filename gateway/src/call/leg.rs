//! What a call says to its legs and hears from them: one vocabulary for phones and E2EE users.

use std::time::Instant;

use quartet_proto::e2ee::Job;
use quartet_proto::e2ee::MediaState;
use quartet_proto::e2ee::fingerprint::Emoji;
use quartet_proto::e2ee::key_exchange::{Agreed, Answered, Committed, KeyExchangeError};
use quartet_proto::sip::{SipCommand, SipEvent};

use super::e2ee_leg::E2eeLeg;
use super::sip_leg::SipLeg;
use crate::cdr::{Cause, Record, Side};
use crate::config::VerifyMode;
use crate::ivr::script::Line;
use crate::media::{Bind, LegKey, MediaCommand, MediaEvent, PlayKey};
use crate::networks::{NetworkCommand, NetworkEvent, NetworkId};

/// Media with keys of a handshake, in a call record.
pub(super) const DTLS_SRTP: &str = "DTLS-SRTP";

/// What a leg tells its call.
#[derive(Clone, Debug)]
pub enum LegEvent {
    /// The call waits for its turn.
    Queued,
    /// The person's device rings.
    Ringing,
    /// The device rings, and there is something to be heard before anybody takes the call.
    Early,
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
    /// The phone holds the call, or does no longer: [`Leg::holds`].
    Held,
    /// What the E2EE user's side says of its sound.
    State(MediaState),
    /// The leg is over, by its own side.
    Ended(Cause),
}

impl LegEvent {
    /// The word for the log; which key was pressed and which emojis there are is nobody's business.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Ringing => "ringing",
            Self::Early => "early",
            Self::Accepted => "accepted",
            Self::Emojis(_) => "emojis",
            Self::Connected => "connected",
            Self::Dtmf { .. } => "dtmf",
            Self::Played(_) => "played",
            Self::Held => "held",
            Self::State(_) => "state",
            Self::Ended(_) => "ended",
        }
    }
}

/// What a call tells a leg.
#[derive(Clone, Debug)]
pub enum LegCommand {
    /// The call waits for its turn.
    Queue,
    /// The other side rings.
    Ring,
    /// The same, and there is something to be heard of it already.
    Early,
    /// Somebody accepted the call: whoever calls may begin to connect.
    Connect {
        /// The leg that accepted it: media of both has to meet in one worker.
        same_worker_as: LegKey,
    },
    /// The other side is connected: answer, and show this where it can be shown.
    Answer {
        /// What a display shows.
        display: Option<String>,
    },
    /// Show this, where it can be shown in a call that stands.
    Show {
        /// What a display shows.
        display: String,
    },
    /// What has become of the transfer that its person asked for.
    Transferred {
        /// As whoever is called has answered, 100 to 699; from 200 on it is the last word.
        status: u16,
    },
    /// Tell the other side of our sound.
    State(MediaState),
    /// Find out whether it is still there.
    Probe,
    /// The machine has other addresses: these are for media now.
    Rebind(Bind),
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
    Network(NetworkId, NetworkCommand),
    /// Run this elsewhere and bring the result back to this leg.
    Compute(LegKey, KeyExchangeJob),
    /// Make sound of this and play it to this leg.
    Speak {
        /// The handset.
        leg: LegKey,
        /// Names it when it has been played, or cannot be.
        play: PlayKey,
        /// What is said.
        script: Vec<Line>,
        /// In which language.
        language: String,
    },
    /// The call runs: if the process dies, this is its record.
    Running(Box<Record<Instant>>),
    /// The call is over: write this.
    Record(Box<Record<Instant>>),
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
    pub fn handle_command(&mut self, now: Instant, command: LegCommand) {
        match self {
            Self::Sip(leg) => leg.handle_command(command),
            Self::E2ee(leg) => leg.handle_command(now, command),
        }
    }

    /// What the SIP endpoint says of the leg's dialog.
    pub fn handle_sip(&mut self, now: Instant, event: SipEvent) {
        match self {
            Self::Sip(leg) => leg.handle_sip(now, event),
            Self::E2ee(_) => {}
        }
    }

    /// What the network says of the leg's call.
    pub fn handle_network(&mut self, now: Instant, event: NetworkEvent) {
        match self {
            Self::Sip(_) => {}
            Self::E2ee(leg) => leg.handle_network(now, event),
        }
    }

    /// What media says of the leg.
    pub fn handle_media(&mut self, now: Instant, event: MediaEvent) {
        match self {
            Self::Sip(leg) => leg.handle_media(now, event),
            Self::E2ee(leg) => leg.handle_media(now, event),
        }
    }

    /// A job of the key exchange is done; `None`: it could not be taken.
    pub fn handle_job(&mut self, now: Instant, done: Option<KeyExchangeResult>) {
        match (self, done) {
            (Self::Sip(_), _) => {}
            (Self::E2ee(leg), Some(done)) => leg.handle_job(now, done),
            (Self::E2ee(leg), None) => leg.handle_overload(),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Sip(_) => {}
            Self::E2ee(leg) => leg.handle_timeout(now),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Sip(_) => None,
            Self::E2ee(leg) => leg.poll_timeout(),
        }
    }

    /// What the leg tells its call.
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

    /// The account of the phone, if it is one.
    pub fn phone(&self) -> Option<&str> {
        match self {
            Self::Sip(leg) => Some(leg.user()),
            Self::E2ee(_) => None,
        }
    }

    /// Whether it is a phone that holds the call.
    pub fn holds(&self) -> bool {
        match self {
            Self::Sip(leg) => leg.holds(),
            Self::E2ee(_) => false,
        }
    }

    /// The language that the person is spoken to in, if announcements are made here.
    pub fn language(&self) -> Option<&str> {
        match self {
            Self::Sip(leg) => Some(leg.language()),
            Self::E2ee(_) => None,
        }
    }

    /// How the emojis are checked here, if they are.
    pub fn verify(&self) -> Option<VerifyMode> {
        match self {
            Self::Sip(leg) => Some(leg.verify()),
            Self::E2ee(_) => None,
        }
    }

    /// Whether the peer may send nothing and be there all the same; `None` if somebody else watches that.
    pub fn may_be_silent(&self) -> Option<bool> {
        match self {
            Self::Sip(leg) => Some(leg.may_be_silent()),
            Self::E2ee(_) => None,
        }
    }

    /// Which side of the gateway it is on.
    pub fn side(&self) -> Side {
        match self {
            Self::Sip(_) => Side::Phone,
            Self::E2ee(_) => Side::Network,
        }
    }

    /// Whether it is end-to-end encrypted: without one of those there are no emojis to compare.
    pub fn is_user(&self) -> bool {
        self.side() == Side::Network
    }

    /// What the program at the far end speaks, if a network says that.
    pub fn speaks(&self) -> Option<&str> {
        match self {
            Self::Sip(_) => None,
            Self::E2ee(leg) => leg.speaks(),
        }
    }

    /// The codec in use, for the call record.
    pub fn codec(&self) -> Option<&str> {
        match self {
            Self::Sip(leg) => leg.codec(),
            Self::E2ee(leg) => leg.codec(),
        }
    }

    /// How its media is encrypted, for the call record.
    pub fn srtp(&self) -> Option<&'static str> {
        match self {
            Self::Sip(leg) => leg.srtp(),
            Self::E2ee(leg) => leg.codec().map(|_| DTLS_SRTP),
        }
    }
}

//! The core: a call is a list of legs, at most one bridged pair of them, and what becomes of both.
//!
//! [`Call`] is sans-IO. It is fed with what its legs see and with time; it is drained of [`Action`]s. It knows neither
//! SIP nor the E2EE protocol: `sip_leg` and `e2ee_leg` translate, each for its own side, into one vocabulary
//! ([`LegEvent`], [`LegCommand`]). Every call ends in one [`Cause`].

mod cause;
mod codecs;
mod e2ee_leg;
mod key;
mod leg;
mod presence;
mod record;
mod sip_leg;
mod verify;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use quartet_proto::e2ee::fingerprint::Emoji;

pub use cause::Cause;
pub use codecs::{e2ee_codecs, offered_codecs};
pub use e2ee_leg::{E2eeLeg, E2eeLegConfig, Incoming as E2eeIncoming, Outgoing as E2eeOutgoing};
pub use key::{CallKey, Instance, NoCallKey};
pub use leg::{Action, KeyExchangeJob, KeyExchangeResult, Leg, LegCommand, LegEvent};
use presence::Presence;
use record::Times;
#[doc(hidden)] // for tests/fuzz
pub use sip_leg::info::key as info_key;
pub use sip_leg::{SipLeg, SipLegConfig};
pub use verify::{Output as VerifyOutput, Script, Verdict, Verify};

use crate::cdr::Direction;
use crate::config::VerifyMode;
use crate::ivr::prompts::Prompts;
use crate::ivr::script;
use crate::media::{LegKey, MediaCommand, PlayKey, Report};

/// How long media may take to close.
const CLOSING: Duration = Duration::from_secs(5);

/// The times and rules of a call.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long the question of [`VerifyMode::Confirm`] waits.
    pub confirm_timeout: Duration,
    /// How long a phone may be silent (no RTP, no RTCP) before the call ends.
    pub rtp_timeout: Duration,
    /// How long the callee may ring.
    pub ring_timeout: Duration,
    /// How long key exchange and media may take after somebody took the call.
    pub connect_timeout: Duration,
}

/// Who calls whom, as the record and `quartet calls` show it.
#[derive(Clone, Debug)]
pub struct Parties {
    /// The caller.
    pub from: String,
    /// The callee; as it was dialled, where no route was found.
    pub to: String,
    /// The name of the route that was taken, if one was found.
    pub route: Option<String>,
    /// Which way.
    pub direction: Direction,
    /// The network of the E2EE user, if a route led to one.
    pub network: Option<&'static str>,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody took it yet.
    Ringing,
    /// Somebody took it; keys and media are on their way.
    Connecting,
    /// Both hear each other.
    Talking,
    /// It is over; media and dialogs are being closed.
    Ended(Cause),
}

impl State {
    /// The word for `quartet calls`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::Connecting => "connecting",
            Self::Talking => "talking",
            Self::Ended(_) => "ended",
        }
    }
}

/// A call.
///
/// `legs[0]` is the caller. Drain [`poll_action`](Self::poll_action) after each `handle_*`; drop the call once
/// [`is_over`](Self::is_over).
#[derive(Debug)]
pub struct Call {
    key: CallKey,
    parties: Parties,
    policy: Policy,
    legs: Vec<Leg>,
    /// The callee's leg that took the call.
    taken: Option<LegKey>,
    connected: Vec<LegKey>,
    /// Media legs that are not closed yet.
    open_media: Vec<LegKey>,
    state: State,
    /// When ringing, or connecting, has taken too long.
    deadline: Option<Instant>,
    verify: Verify,
    emojis: Option<[Emoji; 4]>,
    play: Option<PlayKey>,
    plays: u64,
    /// What the callees that refused said, the most telling one.
    refusal: Option<Cause>,
    reports: Vec<(LegKey, Report)>,
    presence: Presence,
    times: Times,
    /// What the running call was last noted with: whether it was answered, and the verdict.
    noted: Option<(bool, Verdict)>,
    actions: VecDeque<Action>,
}

impl Call {
    /// Makes a call from its caller and all that are called, at least one.
    pub fn new(now: Instant, wall: SystemTime, key: CallKey, parties: Parties, policy: Policy, legs: Vec<Leg>) -> Self {
        let mut call = Self {
            key,
            parties,
            policy,
            legs,
            taken: None,
            connected: Vec::new(),
            open_media: Vec::new(),
            state: State::Ringing,
            deadline: Some(now + policy.ring_timeout),
            verify: Verify::new(VerifyMode::Off, policy.confirm_timeout),
            emojis: None,
            play: None,
            plays: 0,
            refusal: None,
            reports: Vec::new(),
            presence: Presence::new(now),
            times: Times::new(now, wall),
            noted: None,
            actions: VecDeque::new(),
        };
        call.note_running(now);
        call.collect();
        call
    }

    /// The call's key.
    pub fn key(&self) -> CallKey {
        self.key
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Who calls whom.
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// The emojis, once there is a key.
    pub fn emojis(&self) -> Option<&[Emoji; 4]> {
        self.emojis.as_ref()
    }

    /// What is known about them.
    pub fn verdict(&self) -> Verdict {
        self.verify.verdict()
    }

    /// How long the two have been talking.
    pub fn talked(&self, now: Instant) -> Option<Duration> {
        self.times.answered().map(|at| now.saturating_duration_since(at))
    }

    /// The keys of all legs that the call still has.
    pub fn legs(&self) -> impl Iterator<Item = LegKey> + '_ {
        self.legs.iter().map(Leg::key)
    }

    /// Whether a user of a network of this name began the call; a phone may have the same name.
    pub fn is_from_outside(&self, name: &str) -> bool {
        self.parties.direction == Direction::Incoming && self.parties.from == name
    }

    /// Whether this phone has a part in the call.
    pub fn has_phone(&self, user: &str) -> bool {
        self.legs
            .iter()
            .any(|leg| matches!(leg, Leg::Sip(leg) if leg.user() == user))
    }

    /// The leg of that key.
    pub fn leg_mut(&mut self, key: LegKey) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.key() == key)
    }

    /// Whether all is closed and the call may be dropped.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Ended(_)) && self.open_media.is_empty()
    }

    /// A leg was fed; what it has to say is heard now.
    pub fn handle_legs(&mut self, now: Instant, prompts: &mut Prompts) {
        while let Some((key, event)) = self.next_event() {
            self.on_event(now, key, event, prompts);
        }
        self.collect();
    }

    /// Media has a word about a leg that the leg itself does not need.
    pub fn handle_report(&mut self, now: Instant, key: LegKey, report: Report) {
        self.watch(now, key, report.silent);
        self.reports.retain(|(leg, _)| *leg != key);
        self.reports.push((key, report));
        self.collect();
    }

    /// Media has closed a leg.
    pub fn handle_closed(&mut self, key: LegKey) {
        self.open_media.retain(|leg| *leg != key);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant, prompts: &mut Prompts) {
        for leg in &mut self.legs {
            if let Leg::E2ee(leg) = leg {
                leg.handle_timeout(now);
            }
        }
        if self.deadline.is_some_and(|at| now >= at) {
            self.on_deadline(now);
        }
        self.verify.handle_timeout(now);
        self.follow_verify(now, prompts);
        self.handle_legs(now, prompts);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let legs = self.legs.iter().filter_map(|leg| {
            if let Leg::E2ee(leg) = leg {
                leg.poll_timeout()
            } else {
                None
            }
        });
        legs.chain(self.deadline).chain(self.verify.poll_timeout()).min()
    }

    /// The operator, or the end of the process, ends the call; `cause` is for a call in which nobody talks yet.
    pub fn hang_up(&mut self, now: Instant, cause: Cause) {
        let talking = self.state == State::Talking;
        self.end(now, if talking { Cause::Answered } else { cause });
        self.collect();
    }

    /// What the call wants done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Ringing, connecting or closing has taken too long.
    fn on_deadline(&mut self, now: Instant) {
        match self.state {
            State::Ringing => self.end(now, Cause::Missed),
            State::Connecting if self.emojis.is_none() => self.end(now, Cause::KeyExchange),
            State::Connecting | State::Talking => self.end(now, Cause::Media),
            State::Ended(_) => {
                self.deadline = None;
                if !self.open_media.is_empty() {
                    tracing::warn!(call = %self.key, "media was not closed in time; the call is forgotten");
                    self.open_media.clear();
                }
            }
        }
    }

    fn next_event(&mut self) -> Option<(LegKey, LegEvent)> {
        self.legs
            .iter_mut()
            .find_map(|leg| leg.poll_event().map(|event| (leg.key(), event)))
    }

    fn caller(&self) -> LegKey {
        self.legs[0].key()
    }

    fn on_event(&mut self, now: Instant, key: LegKey, event: LegEvent, prompts: &mut Prompts) {
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        match event {
            LegEvent::Ringing => self.tell(now, self.caller(), LegCommand::Ring),
            LegEvent::Accepted => self.on_accepted(now, key),
            LegEvent::Emojis(emojis) => self.emojis = Some(emojis),
            LegEvent::Connected => self.on_connected(now, key, prompts),
            LegEvent::Dtmf { digit, forwarded } => {
                let partner = self.legs().find(|leg| *leg != key);
                if let Some(leg) = partner.filter(|_| !forwarded && self.state == State::Talking) {
                    self.actions
                        .push_back(Action::Media(MediaCommand::SendDtmf { leg, digit }));
                }
                self.verify.handle_key(now, digit);
                self.follow_verify(now, prompts);
            }
            LegEvent::Played(play) => {
                if self.play == Some(play) {
                    self.play = None;
                    self.verify.handle_played(now);
                    self.follow_verify(now, prompts);
                }
            }
            LegEvent::Ended(cause) => self.on_ended(now, key, cause),
        }
    }

    /// The first callee who takes the call has it; the others stop ringing.
    fn on_accepted(&mut self, now: Instant, key: LegKey) {
        if self.taken.is_some() || key == self.caller() {
            return;
        }
        self.taken = Some(key);
        self.state = State::Connecting;
        self.deadline = Some(now + self.policy.connect_timeout);
        let caller = self.caller();
        let others: Vec<_> = self.legs().filter(|leg| *leg != key && *leg != caller).collect();
        for other in others {
            self.tell(now, other, LegCommand::End(Cause::Answered));
            self.close_media(other);
        }
        self.legs.retain(|leg| leg.key() == key || leg.key() == caller);
        self.tell(now, caller, LegCommand::Accept { same_worker_as: key });
    }

    fn on_connected(&mut self, now: Instant, key: LegKey, prompts: &mut Prompts) {
        if !self.connected.contains(&key) {
            self.connected.push(key);
        }
        let caller = self.caller();
        let Some(callee) = self.taken else { return };
        if key == callee {
            let display = self.emojis.as_ref().map(display_of);
            self.tell(now, caller, LegCommand::Answer { display });
        }
        if self.connected.len() == 2 && self.state == State::Connecting {
            let phone = self.legs.iter().find_map(|leg| match leg {
                Leg::Sip(leg) => Some(leg.verify()),
                Leg::E2ee(_) => None,
            });
            self.verify = Verify::new(phone.unwrap_or(VerifyMode::Off), self.policy.confirm_timeout);
            self.state = State::Talking;
            self.deadline = None;
            self.presence = Presence::new(now);
            self.times.answer(now);
            self.actions
                .push_back(Action::Media(MediaCommand::Bridge { a: caller, b: callee }));
            if self.emojis.is_some() {
                self.verify.begin();
            }
            self.follow_verify(now, prompts);
        }
    }

    fn on_ended(&mut self, now: Instant, key: LegKey, cause: Cause) {
        // Whoever hangs up before both hear each other has not been talking.
        let talked = self.state == State::Talking;
        let cause = if cause == Cause::Answered && !talked {
            Cause::Hangup
        } else {
            cause
        };
        let waiting = self.taken.is_none() && key != self.caller();
        if !waiting {
            return self.end(now, cause);
        }
        self.refusal = Some(self.refusal.map_or(cause, |known| known.or_more_telling(cause)));
        self.close_media(key);
        self.collect();
        self.legs.retain(|leg| leg.key() != key);
        if self.legs.len() == 1 {
            let cause = self.refusal.unwrap_or(cause);
            self.end(now, cause);
        }
    }

    fn follow_verify(&mut self, now: Instant, prompts: &mut Prompts) {
        while let Some(output) = self.verify.poll_output() {
            match output {
                VerifyOutput::Speak(say) => self.speak(say, prompts),
                VerifyOutput::Mismatch => {
                    tracing::warn!(
                        call = %self.key,
                        "the person at the handset says that the emojis differ: call ended"
                    );
                    self.end(now, Cause::Mismatch);
                }
            }
        }
        self.note_running(now);
    }

    /// Plays to the handset. What cannot be played is not counted as heard.
    fn speak(&mut self, say: Script, prompts: &mut Prompts) {
        let handset = self.legs.iter().find_map(|leg| match leg {
            Leg::Sip(leg) => Some((leg.key(), leg.language().to_owned())),
            Leg::E2ee(_) => None,
        });
        let (Some((leg, language)), Some(emojis)) = (handset, self.emojis.as_ref()) else {
            return;
        };
        let script = match say {
            Script::Announcement => script::announcement(emojis),
            Script::Repeat => script::repeat(emojis),
            Script::Question => script::confirm(emojis),
            Script::QuestionAgain => script::confirm_again(emojis),
            Script::Verified => script::verified(),
            Script::NotVerified => script::not_verified(),
            Script::Invalid => script::invalid_choice(),
        };
        match prompts.clips(&language, &script) {
            Ok(clips) => {
                self.plays += 1;
                let play = PlayKey(self.plays);
                self.play = Some(play);
                self.actions
                    .push_back(Action::Media(MediaCommand::Play { leg, play, clips }));
            }
            Err(error) => {
                tracing::error!(call = %self.key, %error, "the announcement cannot be spoken");
                self.verify.handle_unheard();
            }
        }
    }

    fn tell(&mut self, now: Instant, key: LegKey, command: LegCommand) {
        if let Some(leg) = self.leg_mut(key) {
            leg.command(now, command);
        }
        self.collect();
    }

    fn end(&mut self, now: Instant, cause: Cause) {
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        self.state = State::Ended(cause);
        self.deadline = Some(now + CLOSING);
        let keys: Vec<_> = self.legs().collect();
        for key in keys {
            self.tell(now, key, LegCommand::End(cause));
            self.close_media(key);
        }
        let record = self.record(now, cause);
        self.actions.push_back(Action::Record(Box::new(record)));
    }

    fn close_media(&mut self, leg: LegKey) {
        if !self.open_media.contains(&leg) {
            return;
        }
        self.actions.push_back(Action::Media(MediaCommand::Close { leg }));
    }

    /// Moves what the legs want done into our own queue, in order.
    fn collect(&mut self) {
        for leg in &mut self.legs {
            while let Some(action) = leg.poll_action() {
                if let Action::Media(MediaCommand::Open { leg, .. }) = action {
                    self.open_media.push(leg);
                }
                self.actions.push_back(action);
            }
        }
    }
}

/// What a phone's display shows: the emojis, and their words for displays that have no pictures.
fn display_of(emojis: &[Emoji; 4]) -> String {
    let symbols: String = emojis.iter().map(|e| e.symbol()).collect();
    let words = emojis.iter().map(|e| e.word()).collect::<Vec<_>>().join(", ");
    format!("{symbols} {words}")
}

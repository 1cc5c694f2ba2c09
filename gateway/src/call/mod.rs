//! The core: a call is a list of members, at most one bridged pair of them, and what becomes of both.
//!
//! [`Call`] is sans-IO. It is fed with what its legs see and with time; it is drained of [`Action`]s. It knows neither
//! SIP nor the E2EE protocol: `sip_leg` and `e2ee_leg` translate, each for its own side, into one vocabulary
//! ([`LegEvent`], [`LegCommand`]). Every call ends in one [`Cause`].

mod announce;
mod codecs;
mod e2ee_leg;
mod ending;
mod key;
mod leg;
mod liveness;
mod member;
mod record;
mod sip_leg;
mod sound;
mod terms;
mod transfer;
mod verify;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use quartet_proto::e2ee::fingerprint::Emoji;
use quartet_proto::sip::Line;
use tracing::Span;

use announce::Speech;
pub use codecs::{e2ee_codecs, offered_codecs};
pub use e2ee_leg::{E2eeLeg, E2eeLegConfig, Outgoing as E2eeOutgoing};
pub use key::{CallKey, Instance, NoCallKey};
pub use leg::{Action, KeyExchangeJob, KeyExchangeResult, Leg, LegCommand, LegEvent};
use liveness::Liveness;
use member::{Member, Phase};
use record::Times;
pub use sip_leg::{MediaWay, SipLeg, SipLegConfig, TrunkTerms};
use sound::Sound;
pub use terms::{Parties, Policy, State};
use transfer::Transfer;
pub use transfer::{Partner, Released};
pub use verify::{Output as VerifyOutput, Script, Verify};
use waiting::Waiting;

use crate::cdr::{By, Cause, Direction, Verdict};
use crate::config::VerifyMode;
use crate::media::{Bind, LegKey, MediaCommand, MediaEvent, PlayKey, Report};
use crate::networks::NetworkId;

/// How long media may take to close.
const CLOSING: Duration = Duration::from_secs(5);

/// A call.
///
/// `members[0]` is the caller. Drain [`poll_action`](Self::poll_action) after each `handle_*`; drop the call once
/// [`is_over`](Self::is_over).
#[derive(Debug)]
pub struct Call {
    key: CallKey,
    /// What every line of the log about this call stands in.
    span: Span,
    parties: Parties,
    policy: Policy,
    members: Vec<Member>,
    state: State,
    /// When the present state (ringing, connecting, ended but not closed) will have lasted too long; none while talking.
    deadline: Option<Instant>,
    verify: Verify,
    play: Option<PlayKey>,
    plays: u64,
    speech: Speech,
    /// What the callees that refused said, the most telling one.
    refusal: Option<Cause>,
    liveness: Liveness,
    waiting: Waiting,
    /// Somebody is to take another's place.
    transfer: Option<Transfer>,
    /// Who has taken another's place.
    transfers: Vec<String>,
    /// Where it was sent on to.
    redirects: Vec<String>,
    times: Times,
    /// What the running call was last noted with: whether it was answered, and the verdict.
    noted: Option<(bool, Verdict)>,
    sound: Sound,
    actions: VecDeque<Action>,
}

impl Call {
    /// Makes a call from its caller and all that are called, at least one.
    pub fn new(now: Instant, key: CallKey, parties: Parties, policy: Policy, legs: Vec<Leg>) -> Self {
        let span = tracing::info_span!("call", key = %key);
        let mode = legs
            .iter()
            .find_map(Leg::verify)
            .filter(|_| legs.iter().any(Leg::is_user));
        let mut call = Self {
            key,
            members: legs.into_iter().map(|leg| Member::new(&span, leg)).collect(),
            span,
            parties,
            policy,
            state: State::Ringing,
            deadline: Some(now + policy.ring_timeout),
            verify: Verify::new(mode.unwrap_or(VerifyMode::Off), policy.confirm_timeout),
            play: None,
            plays: 0,
            speech: Speech::default(),
            refusal: None,
            liveness: Liveness::new(now),
            waiting: Waiting::default(),
            transfer: None,
            transfers: Vec::new(),
            redirects: Vec::new(),
            times: Times::new(now),
            noted: None,
            sound: Sound::default(),
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

    /// The emojis, once the encryption key is agreed.
    pub fn emojis(&self) -> Option<&[Emoji; 4]> {
        self.in_call().find_map(|member| member.emojis.as_ref())
    }

    /// What is known about them.
    pub fn verdict(&self) -> Verdict {
        self.verify.verdict()
    }

    /// How long the two have been talking.
    pub fn talked(&self, now: Instant) -> Option<Duration> {
        self.times.answered().map(|at| now.saturating_duration_since(at))
    }

    /// Whether a user of a network of this name began the call; a phone may have the same name.
    pub fn is_from_outside(&self, name: &str) -> bool {
        self.parties.direction == Direction::Incoming && self.parties.from == name
    }

    /// The accounts of the phones that have a part in the call, and the trunks, each as often as it has.
    pub fn phones(&self) -> impl Iterator<Item = &str> {
        self.running().filter_map(|member| member.leg.phone())
    }

    /// Whether this phone has a part in the call.
    pub fn has_phone(&self, user: &str) -> bool {
        self.phones().any(|phone| phone == user)
    }

    /// Whether the person at this phone has a part in the call by its own doing: it called, or it accepted.
    pub fn engages(&self, user: &str) -> bool {
        let caller = self.caller();
        self.running()
            .filter(|member| member.key() == caller || member.phase != Phase::Pending)
            .any(|member| member.leg.phone() == Some(user))
    }

    /// What each of its phones does in it.
    pub fn lines(&self) -> impl Iterator<Item = (&str, Line)> {
        let caller = self.caller();
        let is_over = matches!(self.state, State::Ended(_));
        self.running().filter(move |_| !is_over).filter_map(move |member| {
            let line = match member.phase {
                Phase::Pending if member.key() != caller => Line::Ringing,
                _ if self.state == State::Ringing => Line::Calling,
                Phase::Pending | Phase::Accepted | Phase::Connected | Phase::Ended => Line::Talking,
            };
            member.leg.phone().map(|phone| (phone, line))
        })
    }

    /// Whether it has rung in vain: for too long, or its caller gave up.
    pub fn is_missed(&self) -> bool {
        matches!(self.state, State::Ended(Cause::Missed | Cause::Hangup))
    }

    /// Feeds the leg of that key, unless it is over. [`handle_legs`](Self::handle_legs) must follow: it hears what the leg has to say.
    pub fn with_leg<R>(&mut self, key: LegKey, feed: impl FnOnce(&mut Leg) -> R) -> Option<R> {
        let _call = self.span.clone().entered();
        let member = self.member_mut(key).filter(|member| member.is_running())?;
        let _leg = member.span.clone().entered();
        Some(feed(&mut member.leg))
    }

    /// Whether all is closed and the call may be dropped.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Ended(_)) && self.members.iter().all(|member| !member.is_media_open)
    }

    /// A leg was fed; what it has to say is heard now.
    pub fn handle_legs(&mut self, now: Instant) {
        let _call = self.span.clone().entered();
        while let Some((key, event)) = self.next_event() {
            self.on_event(now, key, event);
        }
        self.collect();
    }

    /// Something happened in the media of a leg.
    pub fn handle_media(&mut self, now: Instant, event: MediaEvent) {
        let key = event.leg();
        match event {
            MediaEvent::Report { report, .. } => self.on_report(now, key, report),
            MediaEvent::Closed { .. } => self.on_closed(key),
            MediaEvent::Local { .. }
            | MediaEvent::Connected { .. }
            | MediaEvent::Failed { .. }
            | MediaEvent::Played { .. }
            | MediaEvent::State { .. }
            | MediaEvent::Dtmf { .. } => _ = self.with_leg(key, |leg| leg.handle_media(now, event)),
        }
    }

    /// The machine has other addresses: these are for media with the users of each network now.
    pub fn rebind(&mut self, now: Instant, binds: &BTreeMap<NetworkId, Bind>) {
        let legs = self.running().filter_map(|member| match &member.leg {
            Leg::E2ee(leg) => Some((leg.key(), binds.get(leg.network_id())?.clone())),
            Leg::Sip(_) => None,
        });
        for (key, bind) in legs.collect::<Vec<_>>() {
            self.tell(now, key, LegCommand::Rebind(bind));
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _call = self.span.clone().entered();
        for member in self.members.iter_mut().filter(|member| member.is_running()) {
            let _leg = member.span.clone().entered();
            member.leg.handle_timeout(now);
        }
        if self.deadline.is_some_and(|at| now >= at) {
            self.on_deadline(now);
        }
        self.verify.handle_timeout(now);
        self.follow_verify(now);
        self.follow_waiting(now);
        self.handle_legs(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let legs = self.running().filter_map(|member| member.leg.poll_timeout());
        legs.chain(self.deadline)
            .chain(self.verify.poll_timeout())
            .chain(self.waiting.poll_timeout())
            .min()
    }

    /// The operator, or the end of the process, ends the call; `cause` is for a call in which nobody talks yet.
    pub fn hang_up(&mut self, now: Instant, cause: Cause, by: By) {
        let _call = self.span.clone().entered();
        let talking = self.state == State::Talking;
        self.end_farewell(now);
        self.end(now, if talking { Cause::Answered } else { cause }, by);
    }

    /// What the call wants done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Ringing, connecting or closing has taken too long.
    fn on_deadline(&mut self, now: Instant) {
        match self.state {
            State::Ringing => self.end(now, Cause::Missed, By::Gateway),
            State::Connecting if self.emojis().is_none() => self.end(now, Cause::KeyExchange, By::Gateway),
            State::Connecting => self.end(now, Cause::Media, By::Gateway),
            State::Talking => self.fail_transfer(now, Cause::Missed),
            State::Ended(_) => {
                self.deadline = None;
                if !self.is_over() {
                    tracing::warn!("media was not closed in time; the call is forgotten");
                    self.members.iter_mut().for_each(|member| member.is_media_open = false);
                }
            }
        }
    }

    fn on_report(&mut self, now: Instant, key: LegKey, report: Report) {
        let _call = self.span.clone().entered();
        if let Some(member) = self.member_mut(key) {
            member.report = report;
        }
        self.check_silence(now, key, report.silent);
        self.collect();
    }

    fn on_closed(&mut self, key: LegKey) {
        if let Some(member) = self.member_mut(key) {
            member.is_media_open = false;
        }
        self.drop_ended();
    }

    fn next_event(&mut self) -> Option<(LegKey, LegEvent)> {
        let mut running = self.members.iter_mut().filter(|member| member.is_running());
        running.find_map(|member| member.leg.poll_event().map(|event| (member.key(), event)))
    }

    fn running(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_running())
    }

    /// The members that are part of the call, the caller first.
    fn in_call(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_in_call())
    }

    fn member_mut(&mut self, key: LegKey) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.key() == key)
    }

    fn caller(&self) -> LegKey {
        self.members[0].key()
    }

    /// The callee that accepted the call.
    fn callee(&self) -> Option<LegKey> {
        let accepted = |member: &&Member| matches!(member.phase, Phase::Accepted | Phase::Connected);
        let mut callees = self.in_call().filter(|member| member.key() != self.caller());
        callees.find(accepted).map(Member::key)
    }

    fn on_event(&mut self, now: Instant, key: LegKey, event: LegEvent) {
        if matches!(self.state, State::Ended(_)) {
            return self.on_event_after_end(now, &event);
        }
        let Some(member) = self.member_mut(key) else { return };
        member.span.in_scope(|| tracing::debug!(event = event.word(), "leg"));
        let (phase, replaces) = (member.phase, member.replaces);
        match event {
            LegEvent::Emojis(emojis) => {
                member.emojis = Some(emojis);
                // A phone that calls is shown them when it is answered, one that talks with somebody else as soon as it talks with
                // this one; one that was called has answered already.
                let display = announce::display_of(&emojis);
                if let Some(phone) = self.callee().filter(|callee| *callee != key && replaces.is_none()) {
                    self.tell(now, phone, LegCommand::Show { display });
                }
            }
            LegEvent::Queued => {
                self.deadline = Some(now + self.policy.wait + self.policy.ring_timeout);
                if replaces.is_none() {
                    self.tell(now, self.caller(), LegCommand::Queue);
                }
            }
            LegEvent::Accepted if replaces.is_some() => self.on_transfer_accepted(now, key),
            LegEvent::Ringing | LegEvent::Early if let Some(old) = replaces => {
                self.tell(now, old, LegCommand::Transferred { status: 180 });
            }
            LegEvent::Early if self.is_alone(key) => self.pass_early(now, key),
            LegEvent::Ringing | LegEvent::Early => self.tell(now, self.caller(), LegCommand::Ring),
            LegEvent::Accepted => self.on_accepted(now, key),
            LegEvent::Connected => match replaces {
                Some(old) => self.on_replaced(now, key, old),
                None if phase != Phase::Connected => self.on_connected(now, key),
                None => {}
            },
            LegEvent::Dtmf { digit, forwarded } => self.on_key(now, key, digit, forwarded),
            LegEvent::Played(play) => {
                if self.play == Some(play) {
                    self.play = None;
                    if self.state == State::Talking {
                        self.verify.handle_played(now);
                        self.follow_verify(now);
                    }
                }
            }
            LegEvent::Held => self.tell_state(now),
            LegEvent::State(state) => self.sound.theirs = state,
            LegEvent::Ended(cause) => self.on_ended(now, key, cause),
        }
    }

    /// Whether nobody else is called.
    fn is_alone(&self, key: LegKey) -> bool {
        self.in_call()
            .all(|member| [self.caller(), key].contains(&member.key()))
    }

    /// Has a phone that calls hear what there is to be heard before anybody takes its call: of one callee, for there is one ear.
    fn pass_early(&mut self, now: Instant, key: LegKey) {
        let caller = self.caller();
        self.tell(now, caller, LegCommand::Early);
        if !self.members[0].leg.is_user() {
            let (a, b) = (caller, key);
            self.actions.push_back(Action::Media(MediaCommand::Bridge { a, b }));
        }
    }

    /// The first callee who accepts the call has it; the others stop ringing.
    fn on_accepted(&mut self, now: Instant, key: LegKey) {
        if self.callee().is_some() || key == self.caller() {
            return;
        }
        if let Some(member) = self.member_mut(key) {
            member.phase = Phase::Accepted;
        }
        self.state = State::Connecting;
        self.deadline = Some(now + self.policy.connect_timeout);
        self.times.take(now);
        let caller = self.caller();
        let others: Vec<_> = self.in_call().map(Member::key).collect();
        for other in others.into_iter().filter(|leg| *leg != key && *leg != caller) {
            self.end_member(now, other, Cause::Elsewhere);
        }
        self.begin_waiting(now);
        self.tell(now, caller, LegCommand::Connect { same_worker_as: key });
    }

    fn on_connected(&mut self, now: Instant, key: LegKey) {
        let setup = self.times.since_taken(now);
        if let Some(member) = self.member_mut(key) {
            (member.phase, member.setup) = (Phase::Connected, setup);
        }
        let caller = self.caller();
        let Some(callee) = self.callee() else { return };
        if key == callee {
            let display = self.emojis().map(announce::display_of);
            self.tell(now, caller, LegCommand::Answer { display });
        }
        let is_complete = self.in_call().all(|member| member.phase == Phase::Connected);
        if is_complete && self.state == State::Connecting {
            self.state = State::Talking;
            self.deadline = None;
            self.times.answer(now);
            self.end_waiting();
            self.bridge(now, caller, callee);
        }
    }

    /// The two hear each other from now on.
    fn bridge(&mut self, now: Instant, a: LegKey, b: LegKey) {
        self.actions.push_back(Action::Media(MediaCommand::Bridge { a, b }));
        self.liveness = Liveness::new(now);
        let mode = self.in_call().find_map(|member| member.leg.verify());
        let mode = mode.filter(|_| self.has_user());
        self.verify = Verify::new(mode.unwrap_or(VerifyMode::Off), self.policy.confirm_timeout);
        if self.emojis().is_some() {
            self.verify.begin();
        }
        self.follow_verify(now);
    }

    fn tell(&mut self, now: Instant, key: LegKey, command: LegCommand) {
        self.with_leg(key, |leg| leg.handle_command(now, command));
        self.collect();
    }

    /// Moves what the legs want done into our own queue, in order.
    fn collect(&mut self) {
        for member in &mut self.members {
            while let Some(action) = member.leg.poll_action() {
                member.is_media_open |= matches!(action, Action::Media(MediaCommand::Open { .. }));
                self.actions.push_back(action);
            }
        }
    }
}

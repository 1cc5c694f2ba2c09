//! The phone's side of a call: one dialog, one media leg, one offer and answer.
//!
//! Translates once: SIP events and media events into [`LegEvent`], [`LegCommand`] into SIP and media commands. It knows
//! neither who is at the other end nor what the call is for.

mod again;
mod config;
mod describe;
mod keys;
mod progress;

use std::collections::VecDeque;
use std::time::Instant;

use quartet_proto::sdp::sdes::Suite;
use quartet_proto::sdp::{Agreed, Codec, SessionDescription};
use quartet_proto::sip::{Contact, DialogKey, NameAddr, OutgoingInvite, SipCommand, SipEvent};

pub use self::config::{MediaWay, SipLegConfig, TrunkTerms};
use self::keys::{KeyWay, Keys};
use super::leg::{Action, DTLS_SRTP, LegCommand, LegEvent};
use crate::cdr::Cause;
use crate::config::VerifyMode;
use crate::media::{LegKey, MediaCommand, MediaEvent, Role, Sink};

/// The packet duration that phones are asked for.
const PTIME_MS: u32 = 20;

/// The header field that names a call.
const CALL_HEADER: &str = "X-Quartet-Call";

/// Where the leg stands.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one a leg, moved a few times in its life")]
enum State {
    /// The phone called; it waits for ringing or an answer.
    Waiting { offer: Option<SessionDescription> },
    /// We answered; the ACK is on its way. With a late offer it brings the phone's answer.
    Answered { ours: Option<SessionDescription> },
    /// We are about to call the phone.
    Opening {
        contact: Contact,
        from: NameAddr,
        to: NameAddr,
    },
    /// We called the phone.
    Calling { offer: SessionDescription },
    /// The dialog stands.
    Confirmed,
    /// The phone looks for another way for media (an ICE restart); its offer waits for what our transport has to say.
    Restarting { offer: SessionDescription },
    /// Over.
    Ended,
}

/// A phone's leg.
///
/// Drain [`poll_event`](Self::poll_event) and [`poll_action`](Self::poll_action) after each `handle_*`.
#[derive(Debug)]
pub struct SipLeg {
    config: SipLegConfig,
    dialog: DialogKey,
    state: State,
    /// Keys come from a handshake.
    is_dtls: bool,
    /// That is over.
    is_up: bool,
    /// The dialog stood before.
    awaits_media: bool,
    /// Media was encrypted by keys of the descriptions.
    was_secure: bool,
    /// What our transport says of itself, once it does.
    lines: Option<String>,
    /// The same of a generation of ICE that the phone was not told of.
    next: Option<String>,
    /// The answer that waits for our transport.
    pending: Option<Option<NameAddr>>,
    /// The phone is to hear something before its call is taken.
    is_early: bool,
    /// What was last to be heard of the phone before it takes the call.
    early_body: Vec<u8>,
    agreed: Option<Agreed>,
    /// Our latest description.
    sent: Option<SessionDescription>,
    /// Our offer in mid-call that waits for its answer.
    offered: Option<SessionDescription>,
    /// All codecs that either side has described: their numbers keep their meaning.
    used: Vec<Codec>,
    /// Keys that may come in another way too.
    keys: Keys,
    /// It was asked whether it is there.
    probed: bool,
    events: VecDeque<LegEvent>,
    actions: VecDeque<Action>,
}

impl SipLeg {
    /// Takes an INVITE.
    ///
    /// # Errors
    /// The cause, if its offer cannot be answered, whatever happens later.
    pub fn incoming(config: SipLegConfig, dialog: DialogKey, body: Option<&[u8]>) -> Result<Self, Cause> {
        let offer = match body {
            Some(body) => Some(SessionDescription::parse(body).map_err(|error| {
                tracing::info!(%error, "offer");
                Cause::Description
            })?),
            None => None,
        };
        let mut leg = Self::new(config, dialog, State::Waiting { offer });
        let mut role = Role::Offer;
        if let State::Waiting { offer: Some(offer) } = &leg.state {
            leg.is_dtls = offer.wants_dtls() && leg.config.dtls.is_some();
            role = Role::Answer;
            // A trial answer, so that a hopeless call is refused before anybody's phone rings.
            leg.answer_to(offer, &describe::trial_lines())?;
        }
        if leg.config.codecs.is_empty() {
            return Err(Cause::NoCodec);
        }
        leg.open(role);
        Ok(leg)
    }

    /// Calls a phone.
    pub fn outgoing(config: SipLegConfig, dialog: DialogKey, contact: Contact, from: NameAddr, to: NameAddr) -> Self {
        let mut leg = Self::new(config, dialog, State::Opening { contact, from, to });
        leg.open(Role::Offer);
        leg
    }

    fn new(config: SipLegConfig, dialog: DialogKey, state: State) -> Self {
        Self {
            is_dtls: config.offers_dtls && config.dtls.is_some(),
            config,
            dialog,
            state,
            is_up: false,
            awaits_media: false,
            was_secure: false,
            lines: None,
            next: None,
            pending: None,
            is_early: false,
            early_body: Vec::new(),
            agreed: None,
            sent: None,
            offered: None,
            used: Vec::new(),
            keys: Keys::default(),
            probed: false,
            events: VecDeque::new(),
            actions: VecDeque::new(),
        }
    }

    /// The leg's key.
    pub fn key(&self) -> LegKey {
        self.config.key
    }

    /// The language of the person at this phone.
    pub fn language(&self) -> &str {
        &self.config.language
    }

    /// The phone's account.
    pub fn user(&self) -> &str {
        &self.config.user
    }

    /// How this phone's calls are verified.
    pub fn verify(&self) -> VerifyMode {
        self.config.verify
    }

    /// Whether the phone holds the call.
    pub fn holds(&self) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| !agreed.direction.sends())
    }

    /// Whether the phone need not send: it listens only, or it holds, and not every phone that holds has music.
    pub fn may_be_silent(&self) -> bool {
        let both = |agreed: &Agreed| agreed.direction.receives() && agreed.direction.sends();
        self.agreed.as_ref().is_some_and(|agreed| !both(agreed))
    }

    /// The codec in use, for the call record.
    pub fn codec(&self) -> Option<&str> {
        self.agreed.as_ref().map(|agreed| agreed.send.name.as_str())
    }

    /// How media is encrypted, for the call record.
    pub fn srtp(&self) -> Option<&'static str> {
        let agreed = self.agreed.as_ref()?;
        let dtls = self.is_dtls.then_some(DTLS_SRTP);
        agreed.suite.map(Suite::name).or(dtls)
    }

    /// What the call wants.
    pub fn handle_command(&mut self, command: LegCommand) {
        match command {
            LegCommand::Queue => self.tell_progress(182),
            LegCommand::Ring => self.tell_progress(180),
            LegCommand::Early => self.answer_early(),
            LegCommand::Connect { .. } | LegCommand::State(_) => {}
            LegCommand::Answer { display } => {
                if let State::Waiting { .. } = self.state {
                    let peer = self.config.peer.clone();
                    self.pending = Some(display.map(|display| NameAddr::new(Some(&display), peer)));
                    self.answer();
                }
            }
            LegCommand::Show { display } => {
                let identity = NameAddr::new(Some(&display), self.config.peer.clone());
                let dialog = self.dialog;
                self.sip(SipCommand::Show { dialog, identity });
            }
            LegCommand::Transferred { status } => {
                let dialog = self.dialog;
                self.sip(SipCommand::NotifyRefer { dialog, status });
            }
            LegCommand::Probe => {
                self.probed = true;
                self.sip(SipCommand::Probe { dialog: self.dialog });
            }
            // Its phone was told where media goes.
            LegCommand::Rebind(_) => {}
            LegCommand::End(cause) => self.end(cause),
        }
    }

    /// What the endpoint says of this dialog.
    pub fn handle_sip(&mut self, now: Instant, event: SipEvent) {
        match event {
            SipEvent::Provisional { status, body, .. } => self.on_progress(status, body.as_deref()),
            SipEvent::Accepted { body, .. } => self.on_answered(body.as_deref()),
            SipEvent::Confirmed { body, .. } => self.on_confirmed(body.as_deref()),
            SipEvent::Rejected { status, .. } => self.over(Cause::from_status(status)),
            SipEvent::Cancelled { .. } => self.over(Cause::Hangup),
            SipEvent::Bye { .. } => {
                let answered = matches!(
                    self.state,
                    State::Confirmed | State::Answered { .. } | State::Restarting { .. }
                );
                self.over(if answered { Cause::Answered } else { Cause::Hangup });
            }
            // It was silent, and has not answered whether it is there.
            SipEvent::Lost { .. } if self.probed => self.over(Cause::Media),
            SipEvent::Lost { .. } => self.over(Cause::Network),
            SipEvent::Ended { .. } => {
                if !matches!(self.state, State::Ended) {
                    self.over(Cause::Network);
                }
            }
            SipEvent::Dtmf { digit, .. } => self.on_key(now, KeyWay::Info, digit),
            SipEvent::Moved { origin, .. } => {
                self.config.signalling_peer_ip = origin.ip();
                self.tell_remote();
            }
            SipEvent::Reinvite { body, .. } => self.on_reinvite(body.as_deref()),
            SipEvent::Refresh { .. } => {
                // None of ours is open.
                self.offered = None;
                self.offer_again();
            }
            SipEvent::Unchanged { .. } => self.offered = None,
            SipEvent::Reaccepted { body, .. } => self.on_reaccepted(body.as_deref()),
            SipEvent::Incoming { .. }
            | SipEvent::Refer { .. }
            | SipEvent::ContactChanged { .. }
            | SipEvent::LoginFailed { .. }
            | SipEvent::Registered { .. }
            | SipEvent::RegisterFailed { .. }
            | SipEvent::Subscribe { .. }
            | SipEvent::Unsubscribed { .. }
            | SipEvent::Probed { .. } => {}
        }
    }

    /// What media says of this leg.
    pub fn handle_media(&mut self, now: Instant, event: MediaEvent) {
        match event {
            MediaEvent::Local { lines, .. } => {
                self.note_lines(&lines);
                match self.state {
                    State::Waiting { .. } if self.is_early && self.pending.is_none() => self.answer_early(),
                    State::Waiting { .. } => self.answer(),
                    State::Opening { .. } => self.invite(),
                    State::Restarting { .. } => self.answer_restart(),
                    State::Confirmed => self.offer_restart(),
                    State::Answered { .. } | State::Calling { .. } | State::Ended => {}
                }
            }
            MediaEvent::Failed { fault, .. } => self.fail(fault.cause()),
            MediaEvent::Dtmf { digit, .. } => self.on_key(now, KeyWay::Rtp, digit),
            MediaEvent::Played { play, .. } => self.events.push_back(LegEvent::Played(play)),
            MediaEvent::Connected { .. } => {
                self.is_up = true;
                if std::mem::take(&mut self.awaits_media) {
                    self.events.push_back(LegEvent::Connected);
                }
            }
            MediaEvent::State { .. } | MediaEvent::Report { .. } | MediaEvent::Closed { .. } => {}
        }
    }

    fn on_key(&mut self, now: Instant, way: KeyWay, digit: char) {
        if self.keys.is_new(now, way, digit) {
            let forwarded = way == KeyWay::Rtp;
            self.events.push_back(LegEvent::Dtmf { digit, forwarded });
        }
    }

    /// What the leg tells its call.
    pub fn poll_event(&mut self) -> Option<LegEvent> {
        self.events.pop_front()
    }

    /// What the leg wants done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn open(&mut self, role: Role) {
        let way = self.config.dtls.as_ref().filter(|_| self.is_dtls);
        let MediaWay { transport, bind } = way.unwrap_or(&self.config.media).clone();
        self.media(MediaCommand::Open {
            leg: self.config.key,
            same_worker_as: self.config.same_worker_as,
            transport,
            sink: Sink::Telephone,
            role,
            bind,
            options: String::new(),
            relay_only: false,
        });
    }

    /// Answers the phone once both the call and our transport are ready.
    fn answer(&mut self) {
        let (Some(lines), Some(identity)) = (self.shown_lines(), self.pending.clone()) else {
            return;
        };
        let State::Waiting { offer } = std::mem::replace(&mut self.state, State::Ended) else {
            return;
        };
        let (body, ours) = match &offer {
            Some(offer) => match self.answer_to(offer, &lines) {
                Ok(answered) => {
                    self.note_used(offer);
                    self.agree(answered.agreed);
                    (self.describe(answered.description).to_bytes(), None)
                }
                Err(cause) => {
                    self.state = State::Waiting { offer: None };
                    return self.fail(cause);
                }
            },
            None => {
                let ours = self.offer(&lines);
                (ours.to_bytes(), Some(ours))
            }
        };
        self.sip(SipCommand::Accept {
            dialog: self.dialog,
            body: Some(body),
            identity,
            headers: self.headers(),
        });
        self.state = State::Answered { ours };
    }

    /// Calls the phone once our transport has told its address.
    fn invite(&mut self) {
        let Some(lines) = self.shown_lines() else { return };
        let offer = self.offer(&lines);
        let State::Opening { contact, from, to } = std::mem::replace(&mut self.state, State::Ended) else {
            return;
        };
        let trunk = self.config.trunk.take();
        let account = trunk.is_none().then(|| self.config.user.clone());
        let (name, credentials, identity, alternates) = match trunk {
            Some(trunk) => (Some(trunk.name), trunk.credentials, trunk.identity, trunk.alternates),
            None => (None, None, None, Vec::new()),
        };
        self.sip(SipCommand::Invite(Box::new(OutgoingInvite {
            dialog: self.dialog,
            request_uri: contact.uri,
            five_tuple: contact.five_tuple,
            origin: contact.origin,
            from,
            to,
            identity,
            headers: self
                .headers()
                .into_iter()
                .chain(self.config.caller_headers.clone())
                .collect(),
            routes: contact.path,
            body: Some(offer.to_bytes()),
            credentials,
            account,
            trunk: name,
            alternates,
        })));
        self.state = State::Calling { offer };
    }

    /// The phone took our call.
    fn on_answered(&mut self, body: Option<&[u8]>) {
        let State::Calling { offer } = std::mem::replace(&mut self.state, State::Confirmed) else {
            return;
        };
        // One that says nothing more says what was said before.
        if body.is_some() || self.agreed.is_none() {
            match self.accept(&offer, body) {
                Ok(agreed) => self.agree(agreed),
                Err(cause) => return self.fail(cause),
            }
        }
        self.events.push_back(LegEvent::Accepted);
        self.connect();
    }

    /// The phone confirmed our answer.
    fn on_confirmed(&mut self, body: Option<&[u8]>) {
        let State::Answered { ours } = std::mem::replace(&mut self.state, State::Confirmed) else {
            return;
        };
        if let Some(ours) = ours {
            match self.accept(&ours, body) {
                Ok(agreed) => self.agree(agreed),
                Err(cause) => return self.fail(cause),
            }
        }
        self.connect();
    }

    /// The dialog stands: the phone is there once its media is. Whatever is said before a handshake is over, nobody hears.
    fn connect(&mut self) {
        if self.is_dtls && !self.is_up {
            self.awaits_media = true;
        } else {
            self.events.push_back(LegEvent::Connected);
        }
    }

    /// Ends the leg by a fault that we found: the phone is told.
    fn fail(&mut self, cause: Cause) {
        self.end(cause);
        self.events.push_back(LegEvent::Ended(cause));
    }

    /// The call ends this leg.
    fn end(&mut self, cause: Cause) {
        let dialog = self.dialog;
        let command = match std::mem::replace(&mut self.state, State::Ended) {
            State::Waiting { .. } => SipCommand::Reject {
                dialog,
                status: cause.status(),
                reason: Some(cause.reason()),
                retry_after: cause
                    .retry_after()
                    .map(|after| u32::try_from(after.as_secs()).unwrap_or(u32::MAX)),
            },
            State::Answered { .. } | State::Calling { .. } | State::Confirmed | State::Restarting { .. } => {
                SipCommand::Hangup {
                    dialog,
                    reason: Some(cause.reason()),
                }
            }
            State::Opening { .. } | State::Ended => return,
        };
        self.sip(command);
    }

    /// The leg is over by its own side.
    fn over(&mut self, cause: Cause) {
        self.state = State::Ended;
        self.events.push_back(LegEvent::Ended(cause));
    }

    /// What names the call in our messages, as in the log and in the record.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let call = self.config.call.map(|call| (CALL_HEADER, call.to_string()));
        call.into_iter().collect()
    }

    fn sip(&mut self, command: SipCommand) {
        self.actions.push_back(Action::Sip(command));
    }

    fn media(&mut self, command: MediaCommand) {
        self.actions.push_back(Action::Media(command));
    }
}

#[cfg(test)]
pub(super) mod tests;

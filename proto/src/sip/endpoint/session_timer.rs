//! Session timers, RFC 4028: calls whose ends say now and then that they go on, so that one whose end was lost ends as well.
//!
//! Whoever calls asks for an interval and may name who refreshes; whoever is called agrees, or names a longer one (422). We refresh by UPDATE
//! where the peer takes it, else have the TU make an offer. A refresh that draws 408 or 481, or nothing, ends the call at once; after any other
//! refusal it stands until the interval is over.

use std::time::{Duration, Instant};

use super::Endpoint;
use crate::sip::command::Reason;
use crate::sip::dialog::{Dialog, State};
use crate::sip::message::{Headers, Method, Request, Response, SDP, sdp_of};
use crate::sip::response::Head;
use crate::sip::timers::{Owner, TRANSACTION_TIMEOUT, Timer};
use crate::sip::transaction::Purpose;
use crate::sip::{DialogKey, SipError, SipEvent};

/// The shortest interval in seconds: RFC 4028 §4 allows none below.
const MIN_SE: u32 = 90;
/// The one that we ask for, which RFC 4028 §4 recommends.
const SESSION_EXPIRES: u32 = 1800;
/// The longest that a peer may have us take: a day.
const MAX_SE: u32 = 86_400;
/// How long before its end the side that does not refresh takes the call for lost, at most (RFC 4028 §10).
const EARLY: Duration = Duration::from_secs(32);
/// When a refresh that could not be sent, or met another request, is tried again (RFC 3261 §14.1: 2.1 to 4 s for the one, less for the other).
const AGAIN: Duration = Duration::from_millis(2_500);
/// The same where it was refused: the call stands until the interval is over.
const REFUSED: Duration = Duration::from_secs(30);

/// What a message says of the session's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) struct Asked {
    seconds: Option<u32>,
    /// Whether the sender of the request is to refresh; `None`: nothing is said.
    by_sender: Option<bool>,
    /// Its sender knows timers.
    is_known: bool,
}

/// The timer of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) struct SessionTimer {
    seconds: u32,
    /// We refresh it.
    is_ours: bool,
}

impl Asked {
    pub(super) fn of(headers: &Headers) -> Self {
        let value = headers.get("Session-Expires").unwrap_or_default();
        let mut parts = value.split(';').map(str::trim);
        let seconds = parts.next().and_then(|seconds| seconds.parse::<u32>().ok());
        let by_sender = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let is_refresher = name.trim().eq_ignore_ascii_case("refresher");
            is_refresher.then(|| value.trim().eq_ignore_ascii_case("uac"))
        });
        let knows = |name| headers.list(name).any(|option| option.eq_ignore_ascii_case("timer"));
        Asked {
            seconds: seconds.map(|seconds| seconds.min(MAX_SE)),
            by_sender,
            is_known: knows("Supported") || knows("Require"),
        }
    }
}

/// What an INVITE of ours asks for.
pub(super) fn asked_fields(timer: Option<SessionTimer>) -> Vec<(&'static str, String)> {
    let value = match timer {
        None => SESSION_EXPIRES.to_string(),
        // Who refreshes stays who it was (RFC 4028 §7.2).
        Some(SessionTimer { seconds, is_ours }) => {
            format!("{seconds};refresher={}", if is_ours { "uac" } else { "uas" })
        }
    };
    vec![
        ("Supported", "timer".to_owned()),
        ("Session-Expires", value),
        ("Min-SE", MIN_SE.to_string()),
    ]
}

impl Endpoint {
    /// Refuses an interval that is too short, if its sender knows what to do then.
    pub(super) fn is_interval_refused(&mut self, now: Instant, request: &Request, head: &Head) -> bool {
        let asked = Asked::of(&request.headers);
        let refused = asked.is_known && asked.seconds.is_some_and(|seconds| seconds < MIN_SE);
        if refused {
            self.respond_stateless(now, head, 422, None, vec![("Min-SE", MIN_SE.to_string())]);
        }
        refused
    }

    /// Takes what the peer asks for, and gives the fields of our 2xx.
    pub(super) fn agree_session(&mut self, now: Instant, key: DialogKey, asked: Asked) -> Vec<(&'static str, String)> {
        let before = self.dialogs.get(key).and_then(|dialog| dialog.session);
        // Who knows timers, and says nothing of one in mid-call, has not ended it.
        let kept = before.map(|timer| timer.seconds).filter(|_| asked.is_known);
        let Some(seconds) = asked.seconds.or(kept) else {
            self.set_session(now, key, None);
            return Vec::new();
        };
        // A proxy may have asked, for a phone that knows nothing of it.
        let by_sender = asked.is_known && asked.by_sender.unwrap_or(true);
        let timer = SessionTimer {
            seconds: seconds.max(MIN_SE),
            is_ours: !by_sender,
        };
        self.set_session(now, key, Some(timer));
        let refresher = if by_sender { "uac" } else { "uas" };
        let mut fields = vec![
            ("Supported", "timer".to_owned()),
            ("Session-Expires", format!("{};refresher={refresher}", timer.seconds)),
        ];
        if by_sender {
            fields.push(("Require", "timer".to_owned()));
        }
        fields
    }

    /// Takes what the peer's 2xx to an INVITE or UPDATE of ours says.
    pub(super) fn on_session_answered(&mut self, now: Instant, key: DialogKey, response: &Response) {
        let asked = Asked::of(&response.headers);
        let timer = asked.seconds.map(|seconds| SessionTimer {
            seconds: seconds.max(MIN_SE),
            is_ours: asked.by_sender.unwrap_or(true),
        });
        self.set_session(now, key, timer);
    }

    fn set_session(&mut self, now: Instant, key: DialogKey, timer: Option<SessionTimer>) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        dialog.session = timer;
        let owner = Owner::Dialog(key);
        self.timers.clear(owner, Timer::SessionRefresh);
        self.timers.clear(owner, Timer::SessionExpired);
        if let Some(SessionTimer { seconds, is_ours }) = timer {
            let length = Duration::from_secs(seconds.into());
            if is_ours {
                self.timers.set(now + length / 2, owner, Timer::SessionRefresh);
            }
            let early = if is_ours { Duration::ZERO } else { EARLY.min(length / 3) };
            self.timers.set(now + length - early, owner, Timer::SessionExpired);
        }
    }

    /// Sends a refused request again as its response wants it, with a login or for longer; gives the new transaction and its number.
    pub(super) fn repeat(&mut self, now: Instant, id: u64, response: &Response) -> Option<(u64, u32)> {
        self.retry(now, id, response)
            .or_else(|| self.ask_longer(now, id, response))
    }

    /// Asks for a longer interval, as a 422 wants.
    fn ask_longer(&mut self, now: Instant, id: u64, response: &Response) -> Option<(u64, u32)> {
        if response.status != 422 {
            return None;
        }
        let wanted = response.headers.get("Min-SE")?.split(';').next()?.trim().parse::<u32>();
        let wanted = wanted.ok().filter(|seconds| (MIN_SE + 1..=MAX_SE).contains(seconds))?;
        let transaction = self.client_transactions.get(id)?;
        let (mut request, purpose) = (transaction.request.clone(), transaction.purpose);
        let (credentials, tries) = (transaction.credentials.clone(), transaction.tries);
        // Once: who always wants more gets no call.
        let is_first = |(name, value): &(&str, String)| *name == "Min-SE" && *value == MIN_SE.to_string();
        if !request.extra.iter().any(is_first) {
            return None;
        }
        for (name, value) in &mut request.extra {
            match *name {
                "Min-SE" => *value = wanted.to_string(),
                "Session-Expires" => {
                    let (seconds, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
                    *value = format!("{}{rest}", seconds.parse().unwrap_or(wanted).max(wanted));
                }
                _ => {}
            }
        }
        request.cseq = self.next_number(purpose, request.cseq);
        let cseq = request.cseq;
        let again = self.start(now, request, purpose, credentials, tries).ok()?;
        Some((again, cseq))
    }

    /// It is time to say that the call goes on.
    pub(super) fn refresh_session(&mut self, now: Instant, key: DialogKey) {
        let Some(dialog) = self.dialogs.get(key) else { return };
        if !dialog.may_offer() {
            return self.refresh_later(now, key);
        }
        if !dialog.allows_update {
            self.events.push_back(SipEvent::Refresh { dialog: key });
            // Nothing may come of it.
            return self.refresh_again(now, key, REFUSED);
        }
        let mut extra = vec![("Contact", self.contact_in(key, dialog.peer))];
        extra.extend(asked_fields(dialog.session));
        let what = (Method::Update, Purpose::Refresh(key));
        if self.send_in_dialog(now, key, what, extra, None).is_err() {
            self.refresh_later(now, key);
        }
    }

    /// Tries again soon, if we are to refresh at all.
    pub(super) fn refresh_later(&mut self, now: Instant, key: DialogKey) {
        self.refresh_again(now, key, AGAIN);
    }

    fn refresh_again(&mut self, now: Instant, key: DialogKey, after: Duration) {
        let session = self.dialogs.get(key).and_then(|dialog| dialog.session);
        if session.is_some_and(|session| session.is_ours) {
            self.timers.set(now + after, Owner::Dialog(key), Timer::SessionRefresh);
        }
    }

    /// A response to an UPDATE that shows another identity: it refreshes the session as well.
    pub(super) fn on_show_response(&mut self, now: Instant, key: DialogKey, response: &Response) {
        let has_timer = self.dialogs.get(key).is_some_and(|dialog| dialog.session.is_some());
        if has_timer && (200..300).contains(&response.status) {
            self.on_session_answered(now, key, response);
        }
    }

    /// A response to our refresh by UPDATE.
    pub(super) fn on_refresh_response(&mut self, now: Instant, id: u64, key: DialogKey, response: &Response) {
        let stands = self
            .dialogs
            .get(key)
            .is_some_and(|dialog| dialog.state == State::Confirmed);
        match response.status {
            _ if !stands => {}
            100..=199 => {}
            200..=299 => self.on_session_answered(now, key, response),
            // The peer's own change is on its way.
            491 => self.refresh_later(now, key),
            408 | 481 => self.on_in_dialog_response(now, key, response.status),
            _ => {
                let again = self.repeat(now, id, response);
                if let (None, Some(dialog)) = (again, self.dialogs.get_mut(key)) {
                    // It allows UPDATE, and takes none: an offer may do.
                    dialog.allows_update = false;
                    self.refresh_again(now, key, REFUSED);
                }
            }
        }
    }

    /// The TU: another offer within the call.
    pub(super) fn reinvite(&mut self, now: Instant, key: DialogKey, body: Vec<u8>) -> Result<(), SipError> {
        let dialog = self.dialogs.get(key).ok_or(SipError::UnknownDialog)?;
        if !dialog.may_offer() {
            return Err(SipError::WrongState(dialog.state.name()));
        }
        let mut extra = vec![
            ("Contact", self.contact_in(key, dialog.peer)),
            ("Allow", super::ALLOW.to_owned()),
        ];
        extra.extend(asked_fields(dialog.session));
        let (what, body) = ((Method::Invite, Purpose::Reinvite(key)), Some((SDP.to_owned(), body)));
        let id = self.send_in_dialog(now, key, what, extra, body)?;
        self.await_reinvite(now, key, id);
        Ok(())
    }

    /// Waits for the final response; nobody need be asked for it, as for a call.
    fn await_reinvite(&mut self, now: Instant, key: DialogKey, id: u64) {
        self.timers
            .set(now + TRANSACTION_TIMEOUT, Owner::Client(id), Timer::Cancel);
        if let Some(dialog) = self.dialogs.get_mut(key) {
            dialog.reinvite = Some(id);
        }
    }

    /// A response to our re-INVITE. RFC 3261 §14.1.
    pub(super) fn on_reinvite_response(&mut self, now: Instant, id: u64, key: DialogKey, response: &Response) {
        if response.status < 200 {
            return;
        }
        if (200..300).contains(&response.status) {
            return self.on_reinvite_accepted(now, id, key, response);
        }
        let is_it = |dialog: &&mut Dialog| dialog.reinvite == Some(id) && dialog.state == State::Confirmed;
        let Some(dialog) = self.dialogs.get_mut(key).filter(is_it) else {
            return;
        };
        dialog.reinvite = None;
        match (self.repeat(now, id, response), response.status) {
            (Some((again, _)), _) => self.await_reinvite(now, key, again),
            (None, status) => {
                self.events.push_back(SipEvent::Unchanged { dialog: key });
                if status == 491 {
                    self.refresh_later(now, key);
                }
                self.on_in_dialog_response(now, key, status);
            }
        }
    }

    fn on_reinvite_accepted(&mut self, now: Instant, id: u64, key: DialogKey, response: &Response) {
        let Some(transaction) = self.client_transactions.get(id) else {
            return;
        };
        // Our ACK was lost.
        if let Some((_, wire, to)) = transaction.acks.first() {
            let (to, wire) = (*to, wire.clone());
            return self.transmit(to, wire);
        }
        let cseq = transaction.request.cseq;
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        dialog.on_reinvited(response);
        let is_awaited = dialog.reinvite == Some(id);
        dialog.reinvite = dialog.reinvite.filter(|_| !is_awaited);
        dialog.invite_cseq = cseq;
        let ack = dialog.request(Method::Ack, Vec::new());
        let (wire, to) = self.send_once(ack);
        if let Some(transaction) = self.client_transactions.get_mut(id) {
            transaction.acks.push((String::new(), wire, to));
        }
        if is_awaited {
            self.on_session_answered(now, key, response);
            let body = sdp_of(&response.headers, &response.body);
            self.events.push_back(SipEvent::Reaccepted { dialog: key, body });
        }
    }

    /// Nobody has said for too long that the call goes on.
    pub(super) fn session_expired(&mut self, now: Instant, key: DialogKey) {
        let reason = Reason {
            protocol: "SIP".into(),
            cause: 408,
            text: "Session expired".into(),
        };
        self.give_up(now, key, Some(&reason));
    }
}

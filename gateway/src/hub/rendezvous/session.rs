//! What outlives a connection: a session, with what waits for its client and what was answered to it.

use std::collections::VecDeque;
use std::time::Instant;

use quartet_proto::hub::{CallDiscard, CallLink, DiscardReason, Event, ServerFrame, SessionId, Token};
use quartet_proto::rate::RateLimiter;
use subtle::ConstantTimeEq;

use super::{CloseReason, ConnKey, Rendezvous, State};
use crate::hub::calls::Relays;
use crate::hub::{Account, AccountLimits};

/// Connections of one session: on a bad network what stands still on the one comes on the other.
pub(super) const MAX_LINES: usize = 2;

/// A user of the hub, on a connection or between two. Named by the connection that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::hub) struct SessionKey(pub(super) u64);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) account: Account,
    /// The gateway of this process: no limit of a source or an account is for it.
    pub(super) is_local: bool,
    pub(super) protocol: u32,
    /// Whether calls ring here.
    pub(super) receives: bool,
    /// The oldest first, at most [`MAX_LINES`]; none while it waits to be resumed.
    pub(super) conns: Vec<ConnKey>,
    pub(super) signals: RateLimiter,
    /// What it is resumed with; none in protocol 1, whose sessions end with their connections.
    pub(super) kept: Option<Kept>,
}

/// A session that can be resumed.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: SessionId,
    secret: [u8; 32],
    /// The secret before, good until something shows that the client has read the new one.
    previous: Option<[u8; 32]>,
    /// The connection whose welcome has the new one.
    told: Option<ConnKey>,
    seq: u64,
    /// The last events, up to the one of number `seq`.
    events: VecDeque<String>,
    bytes: usize,
    /// Those of them that came while it had no connection.
    waiting: usize,
    answers: VecDeque<Answered>,
    /// Events, and answers, that are kept.
    max: usize,
    max_bytes: usize,
    /// It has no connection.
    pub(super) lost: Option<Lost>,
}

/// An answer, and the connections that it went to.
#[derive(Debug)]
struct Answered {
    id: u64,
    text: String,
    conns: [Option<ConnKey>; MAX_LINES],
}

/// How long a session has had no connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) at: Instant,
    /// When the other sides are told, and then when it ends.
    pub(super) due: Instant,
    /// Whether they were told.
    pub(super) is_told: bool,
}

impl Kept {
    pub(super) fn new(id: SessionId, secret: &Token, limits: AccountLimits) -> Self {
        Self {
            id,
            secret: secret.hash(),
            previous: None,
            told: None,
            seq: 0,
            events: VecDeque::new(),
            bytes: 0,
            waiting: 0,
            answers: VecDeque::new(),
            max: limits.kept,
            max_bytes: limits.kept_bytes,
            lost: None,
        }
    }

    /// Whether this is the secret of the last hello, or of the one before while it is not known that the last was read.
    pub(super) fn fits(&self, secret: &Token) -> bool {
        let hash = secret.hash();
        let of = |known: &[u8; 32]| bool::from(known.ct_eq(&hash));
        // Both are compared, whatever comes of the first.
        of(&self.secret) | self.previous.as_ref().is_some_and(of)
    }

    /// This secret was given, and fits: if it is the new one, the client has read it.
    pub(super) fn note_given(&mut self, secret: &Token) {
        if bool::from(self.secret.ct_eq(&secret.hash())) {
            self.previous = None;
        }
    }

    /// The welcome on this connection has another secret.
    pub(super) fn rotate(&mut self, secret: &Token, conn: ConnKey) {
        // One that was never read is not the one before.
        self.previous = self.previous.or(Some(self.secret));
        self.secret = secret.hash();
        self.told = Some(conn);
    }

    /// The client has said something after its hello there: if that was answered with the secret, it has read it.
    pub(super) fn note_heard(&mut self, conn: ConnKey) {
        if self.told == Some(conn) {
            self.previous = None;
        }
    }

    /// The number of the next event.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Keeps an event; `false` if what has come since its connection was lost is more than can be kept. While there is one, which
    /// may be dead, as much is kept of what was sent.
    pub(super) fn keep(&mut self, text: String, is_connected: bool) -> bool {
        self.bytes += text.len();
        self.events.push_back(text);
        self.waiting = if is_connected { 0 } else { self.waiting + 1 };
        while self.events.len() > self.max || self.bytes > self.max_bytes {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
        // What was sent before it was lost makes room for what waits.
        self.waiting <= self.events.len()
    }

    /// How many events there are after this one; `None` if they are not all kept.
    pub(super) fn missing(&self, last_seq: u64) -> Option<usize> {
        let missing = self.seq.checked_sub(last_seq)?;
        usize::try_from(missing)
            .ok()
            .filter(|missing| *missing <= self.events.len())
    }

    /// The events after this one; `None` if they are not all kept.
    pub(super) fn since(&self, last_seq: u64) -> Option<Vec<String>> {
        let missing = self.missing(last_seq)?;
        let events = self.events.iter().skip(self.events.len() - missing);
        Some(events.cloned().collect())
    }

    /// The answer that this request has had, and whether this connection was told it as well when it was made.
    pub(super) fn answer(&self, id: u64, conn: ConnKey) -> Option<(&str, bool)> {
        let answer = self.answers.iter().rev().find(|answer| answer.id == id)?;
        Some((&answer.text, answer.conns.contains(&Some(conn))))
    }

    pub(super) fn keep_answer(&mut self, id: u64, text: String, told: &[ConnKey]) {
        if self.answers.len() == self.max {
            self.answers.pop_front();
        }
        let mut conns = [None; MAX_LINES];
        conns
            .iter_mut()
            .zip(told)
            .for_each(|(place, conn)| *place = Some(*conn));
        self.answers.push_back(Answered { id, text, conns });
    }
}

impl Rendezvous {
    /// A connection is gone. A session that can be resumed goes on for a while; the calls of others end with `disconnect`.
    pub fn disconnect(&mut self, now: Instant, conn: ConnKey) {
        if let Some(session) = self.forget_conn(now, conn)
            && let Some(entry) = self
                .sessions
                .get_mut(&session)
                .filter(|entry| entry.conns.contains(&conn))
        {
            entry.conns.retain(|of| *of != conn);
            if !entry.conns.is_empty() {
                return;
            }
            if let Some(kept) = &mut entry.kept {
                let due = now + self.config.limits.away;
                kept.lost = Some(Lost {
                    at: now,
                    due,
                    is_told: false,
                });
                self.lost.insert((due, session));
            } else {
                self.end_session(session);
            }
        }
    }

    /// Takes a connection out of the tables; the session that it was of, if its hello was accepted.
    pub(super) fn forget_conn(&mut self, now: Instant, conn: ConnKey) -> Option<SessionKey> {
        let entry = self.conns.remove(&conn)?;
        let session = match entry.state {
            State::Pending { deadline } => {
                self.hello_deadlines.remove(&(deadline, conn));
                None
            }
            State::Ready(session) => Some(session),
        };
        if let Some(source) = entry.source {
            self.sources.close(now, source, session.is_none(), &self.config.limits);
        }
        session
    }

    /// Closes the connections that a session has.
    pub(super) fn close_lines(&mut self, now: Instant, session: SessionKey, reason: CloseReason) {
        let conns = self
            .sessions
            .get_mut(&session)
            .map(|entry| std::mem::take(&mut entry.conns));
        for conn in conns.into_iter().flatten() {
            self.forget_conn(now, conn);
            self.close_conn(conn, reason);
        }
    }

    /// A session without connections is over, and its calls with it.
    pub(super) fn end_session(&mut self, session: SessionKey) {
        let Some(entry) = self.sessions.remove(&session) else {
            return;
        };
        if let Some(owner) = self.owners.get_mut(&entry.account.user) {
            owner.devices.remove(&session);
        }
        self.local -= usize::from(entry.is_local);
        if let Some(kept) = &entry.kept {
            self.resumable.remove(&kept.id);
            if let Some(lost) = kept.lost {
                self.lost.remove(&(lost.due, session));
            }
        }
        let relays = self.calls.disconnect(session);
        self.relay(relays);
    }

    /// Tells the other sides of a session's calls that its connection is lost, or is there again.
    pub(super) fn tell_link(&mut self, session: SessionKey, event: fn(CallLink) -> Event) {
        let others = self.calls.others(session);
        let relays = others
            .into_iter()
            .map(|(other, call)| (other, event(CallLink { call })));
        let relays = relays.collect();
        self.relay(relays);
    }

    /// Tells the other sides of sessions that are lost, and ends those that were lost for too long.
    pub(super) fn end_lost(&mut self, now: Instant) {
        while let Some(&(due, session)) = self.lost.first()
            && due <= now
        {
            self.lost.pop_first();
            let kept = self.sessions.get_mut(&session).and_then(|entry| entry.kept.as_mut());
            let Some(lost) = kept.and_then(|kept| kept.lost.as_mut()) else {
                continue;
            };
            let end = lost.at + self.config.limits.resume;
            if lost.is_told || end <= now {
                self.end_session(session);
            } else {
                (lost.is_told, lost.due) = (true, end);
                self.lost.insert((end, session));
                self.tell_link(session, Event::CallAway);
            }
        }
    }

    /// Sends events to their sessions, as each speaks, or keeps them.
    pub(super) fn relay(&mut self, relays: Relays) {
        let mut full = Vec::new();
        for (session, event) in relays {
            let Some(entry) = self.sessions.get_mut(&session) else {
                continue;
            };
            let Some(event) = as_spoken(entry.protocol, event) else {
                continue;
            };
            let seq = entry.kept.as_mut().map(Kept::next_seq);
            let text = ServerFrame::Event { event, seq }.to_text();
            if let Some(kept) = &mut entry.kept
                && !kept.keep(text.clone(), !entry.conns.is_empty())
            {
                full.push(session);
            }
            let conns = entry.conns.iter();
            self.transmits.extend(conns.map(|conn| (*conn, text.clone())));
        }
        for session in full {
            tracing::debug!(?session, "more waits for a lost session than is kept");
            self.end_session(session);
        }
    }
}

/// An event as a client of that protocol knows it; `None` if it does not.
fn as_spoken(protocol: u32, event: Event) -> Option<Event> {
    if protocol >= 2 {
        return Some(event);
    }
    match event {
        Event::CallAway(_) | Event::CallBack(_) => None,
        Event::CallDiscard(body) if body.reason == DiscardReason::Incompatible => {
            Some(Event::CallDiscard(CallDiscard {
                reason: DiscardReason::Disconnect,
                ..body
            }))
        }
        Event::CallRequest(_)
        | Event::CallReceived(_)
        | Event::CallAccept(_)
        | Event::CallConfirm(_)
        | Event::CallSignal(_)
        | Event::CallDiscard(_)
        | Event::CallTaken(_) => Some(event),
    }
}

//! Who may: challenges, failed logins, the slow answer and the lock.

use std::net::IpAddr;
use std::time::Instant;

use super::Endpoint;
use crate::sip::auth::Verdict;
use crate::sip::message::{Method, Request};
use crate::sip::reply::{Head, Reply};
use crate::sip::timers::{Owner, Timer};
use crate::sip::{LoginFailure, SipEvent};

/// Bytes of Via and Record-Route that a request may have: answers repeat them, so they are kept. A proxy adds some 200.
const MOST_REPEATED: usize = 4_096;

impl Endpoint {
    /// Lets an account in; else answers, and gives `None`.
    ///
    /// A challenge leaves no memory (RFC 3261 §26.3.2.4), a failed login does: it must count once.
    pub(super) fn admit(&mut self, now: Instant, request: &Request, head: &Head) -> Option<String> {
        if request.method == Method::Invite
            && let Some(user) = self.called_by_registrar(request, head.source)
        {
            return Some(user);
        }
        if head.size() > MOST_REPEATED {
            self.refuse(head, 513, None, Vec::new());
            return None;
        }
        let named = if request.method == Method::Register {
            &request.to
        } else {
            &request.from
        };
        let named = named.uri.user_unescaped();
        match self.guard.check(now, &self.accounts, request, head.source) {
            Verdict::Welcome(user) if user == named => Some(user),
            Verdict::Welcome(_) => {
                self.refuse(head, 403, Some("Not Your Address"), Vec::new());
                None
            }
            Verdict::Challenge { stale } => {
                let challenges = self.challenges(now, &named, stale, head.source.ip());
                self.refuse(head, 401, None, challenges);
                None
            }
            Verdict::Contradiction => {
                self.refuse(head, 400, Some("Digest URI Mismatch"), Vec::new());
                None
            }
            Verdict::Flood => {
                let seconds = self.config.limits.window.as_secs().max(1).to_string();
                self.refuse(head, 403, None, vec![("Retry-After", seconds)]);
                None
            }
            Verdict::Locked {
                user,
                failures,
                retry_after,
            } => {
                let seconds = retry_after.as_secs().max(1).to_string();
                self.refuse(head, 403, None, vec![("Retry-After", seconds)]);
                let why = LoginFailure::Locked;
                self.events.push_back(SipEvent::LoginFailed {
                    user,
                    source: head.source,
                    why,
                    failures,
                });
                None
            }
            Verdict::Failed { user, why, failures } => {
                self.on_failed_login(now, request, head, &user, failures);
                self.events.push_back(SipEvent::LoginFailed {
                    user,
                    source: head.source,
                    why,
                    failures,
                });
                None
            }
        }
    }

    /// Answers a failed login: a new challenge, later ones slowly, the last with a lock.
    fn on_failed_login(&mut self, now: Instant, request: &Request, head: &Head, user: &str, failures: u32) {
        let limits = &self.config.limits;
        let (slow, delay) = (failures >= limits.failures_slow, limits.slow_delay);
        let locked = failures >= limits.failures_lock;
        let retry_after = limits.window.as_secs().max(1).to_string();
        let (status, extra) = if locked {
            (403, vec![("Retry-After", retry_after)])
        } else {
            (401, self.challenges(now, user, false, head.source.ip()))
        };
        let tag = self.token();
        let reply = Reply {
            status,
            tag: &tag,
            extra,
            ..Reply::default()
        };
        let wire = head.write(&reply, &self.config.user_agent);
        let id = self.keep(request, head.clone(), None);
        if !slow || locked {
            self.answer_failed_login(now, id, status, wire);
        } else if let Some(transaction) = self.servers.get_mut(id) {
            transaction.slowed = Some((status, wire));
            self.timers.set(now + delay, Owner::Server(id), Timer::Slow);
        }
    }

    /// Answers once, and again only when asked again: whoever writes a stranger's address in a wrong login shall not have
    /// us send that stranger eleven answers, as RFC 3261 §17.2.1 has it for INVITE.
    pub(super) fn answer_failed_login(&mut self, now: Instant, id: u64, status: u16, wire: Vec<u8>) {
        self.answer_with(now, id, status, wire);
        self.timers.clear(Owner::Server(id), Timer::G);
    }

    fn challenges(&mut self, now: Instant, user: &str, stale: bool, source: IpAddr) -> Vec<(&'static str, String)> {
        let account = self.accounts.get(user);
        let values = self.guard.challenges(now, account, stale, source, &mut *self.rng);
        values.into_iter().map(|value| ("WWW-Authenticate", value)).collect()
    }

    /// Says 503 if there is no room for another request.
    pub(super) fn is_overloaded(&mut self, head: &Head) -> bool {
        let limits = &self.config.limits;
        let dialogs_full = head.method == Method::Invite && self.dialogs.len() >= limits.dialogs;
        let full = dialogs_full || self.servers.is_full(limits);
        if full {
            let seconds = limits.retry_after.to_string();
            self.refuse(head, 503, None, vec![("Retry-After", seconds)]);
        }
        full
    }
}

//! What an operator reads of things that no call is about: logins, registrations, refusals; repeated ones summed up.

use std::fmt;
use std::time::Instant;

use quartet_proto::rate::source_of;
use quartet_proto::sip::{ContactChange, DialogKey, SipEvent, blanked};

use super::{Change, Exchange};
use crate::cdr::{MANY, Record};
use crate::log::{Redacted, SUMMED};

impl Exchange {
    /// Logs what no call is concerned with.
    pub(super) fn log_event(&mut self, now: Instant, event: SipEvent) {
        match &event {
            SipEvent::ContactChanged {
                user, change, source, ..
            } => match change {
                ContactChange::Refreshed => {
                    tracing::debug!(user = %Redacted(user), source = %Redacted(source), "registration refreshed");
                }
                ContactChange::Added | ContactChange::Removed | ContactChange::Expired => {
                    let user = user.clone();
                    if let Some(event) = self.contact_changes.note(now, user, event) {
                        log_registration(&event, 1);
                    }
                }
            },
            SipEvent::LoginFailed { source, .. } => {
                let source = source_of(source.ip());
                if let Some(event) = self.failed_logins.note(now, source, event) {
                    log_failed_login(&event, 1);
                }
            }
            SipEvent::Incoming { .. }
            | SipEvent::Provisional { .. }
            | SipEvent::Accepted { .. }
            | SipEvent::Rejected { .. }
            | SipEvent::Confirmed { .. }
            | SipEvent::Cancelled { .. }
            | SipEvent::Bye { .. }
            | SipEvent::Lost { .. }
            | SipEvent::Ended { .. }
            | SipEvent::Dtmf { .. }
            | SipEvent::Reinvite { .. }
            | SipEvent::Refer { .. }
            | SipEvent::Refresh { .. }
            | SipEvent::Unchanged { .. }
            | SipEvent::Reaccepted { .. }
            | SipEvent::Moved { .. }
            | SipEvent::Registered { .. }
            | SipEvent::RegisterFailed { .. }
            | SipEvent::Subscribe { .. }
            | SipEvent::Unsubscribed { .. }
            | SipEvent::Probed { .. } => {}
        }
    }

    /// Logs which `Call-ID` a leg's dialog has.
    pub(super) fn log_dialog(&self, dialog: DialogKey) {
        let leg = self.by_dialog.get(&dialog);
        if let (Some(leg), Some(call_id)) = (leg, self.endpoint.call_id(dialog)) {
            let call = self.by_leg.get(leg).map(ToString::to_string);
            tracing::debug!(call, leg = leg.0, sip_call_id = call_id, "leg");
        }
    }

    /// Tells all that is being summed up: the process ends.
    pub fn tell_all_summaries(&mut self, now: Instant) {
        self.failed_logins.end_all(now);
        self.contact_changes.end_all(now);
        self.refused.end_all(now);
        self.failed_commands.end_all(now);
        self.tell_summaries(now);
    }

    /// Tells what was summed up, for windows that have ended.
    pub(super) fn tell_summaries(&mut self, now: Instant) {
        while let Some((_, event, count)) = self.failed_logins.poll(now) {
            log_failed_login(&event, count);
        }
        if let Some((_, attempts)) = self.failed_logins.poll_unlisted(now) {
            tracing::warn!(attempts, "logins failed from more sources than are counted one by one");
        }
        while let Some((_, event, count)) = self.contact_changes.poll(now) {
            log_registration(&event, count);
        }
        if let Some((_, changes)) = self.contact_changes.poll_unlisted(now) {
            tracing::info!(
                changes,
                "registrations of more accounts changed than are listed one by one"
            );
        }
        while let Some((_, mut record, count)) = self.refused.poll(now) {
            record.count = count;
            self.record_refused(record);
        }
        if let Some((mut record, count)) = self.refused.poll_unlisted(now) {
            // Of so many callers that they are not told apart.
            (record.from, record.to, record.count) = (MANY.to_owned(), MANY.to_owned(), count);
            self.record_refused(record);
        }
        while let Some((_, error, count)) = self.failed_commands.poll(now) {
            tracing::warn!(%error, count, "SIP commands failed");
        }
    }

    /// When the next of them are to be told.
    pub(super) fn summaries_end(&self) -> [Option<Instant>; 4] {
        [
            self.failed_logins.poll_timeout(),
            self.contact_changes.poll_timeout(),
            self.refused.poll_timeout(),
            self.failed_commands.poll_timeout(),
        ]
    }

    /// Keeps and logs a refused call, or as many as its record stands for.
    pub(super) fn record_refused(&mut self, record: Record<Instant>) {
        tracing::info!(
            call = record.call,
            from = %Redacted(&record.from),
            to = %Redacted(&record.to),
            route = record.route,
            cause = record.cause,
            count = record.count,
            "call refused"
        );
        self.changes.push_back(Change::Ended(Box::new(record)));
    }
}

/// A change of an account's registrations, the last of so many in a minute.
fn log_registration(event: &SipEvent, changes: u32) {
    if let SipEvent::ContactChanged {
        user, change, source, ..
    } = event
    {
        let (user, source) = (Redacted(user), Redacted(source));
        tracing::info!(%user, ?change, %source, changes, "registration changed");
    }
}

/// A SIP message as the log shows it; made only if it is shown.
pub(super) struct Blanked<'a>(pub(super) &'a [u8]);

impl fmt::Display for Blanked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blanked(self.0))
    }
}

/// One line, always the same shape: fail2ban reads it. What a stranger writes stands last.
fn log_failed_login(event: &SipEvent, attempts: u32) {
    if let SipEvent::LoginFailed {
        user,
        source,
        why,
        failures,
    } = event
    {
        let source = source.ip();
        tracing::warn!(
            target: SUMMED,
            "login failed: source={source} why={why:?} failures={failures} attempts={attempts} user={user:?}"
        );
    }
}

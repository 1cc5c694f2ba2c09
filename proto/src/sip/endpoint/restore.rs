//! Bindings given out to be stored, and taken back after a restart.

use std::time::Instant;

use super::Endpoint;
use super::registration::REFRESH_GRACE;
use crate::net::ConnectionId;
use crate::sip::registrar::SavedBinding;

impl Endpoint {
    /// All bindings of an account, to be stored; the one registered last at the end.
    ///
    /// They change with each [`SipEvent::ContactChanged`](crate::sip::SipEvent::ContactChanged) of the account.
    #[must_use]
    pub fn bindings(&self, user: &str) -> Vec<SavedBinding> {
        self.registrar.saved(user)
    }

    /// Takes back the bindings of an account that [`bindings`](Self::bindings) gave in an earlier life; no event tells of
    /// them. Call it after [`set_accounts`](Self::set_accounts).
    ///
    /// Left out is what has expired and what the account may not have any more. What was registered at an address of ours that is
    /// not bound now stays: it may come, and until then another stands in. Expiries come from the wall clock, which may have been
    /// set back since: none lies further ahead than the longest registration granted.
    pub fn restore_bindings(&mut self, now: Instant, user: &str, mut saved: Vec<SavedBinding>) {
        let Some(account) = self.accounts.get(user) else {
            return;
        };
        let latest = now + self.config.limits.max_expires;
        for saved in &mut saved {
            saved.contact.expires = saved.contact.expires.min(latest);
            for way in [&mut saved.contact.five_tuple, &mut saved.source] {
                way.connection = way.protocol.is_reliable().then_some(ConnectionId::GONE);
            }
            let until = saved.contact.expires + REFRESH_GRACE;
            self.guard.registered(now, user, saved.contact.origin.ip(), until);
        }
        self.registrar.restore(now, user, saved, account.max_contacts);
    }
}

//! Bindings on their way to a store and back: what outlives the process.

use std::time::Instant;

use super::{Binding, Contact, Registrar};
use crate::net::FiveTuple;
use crate::sip::message::{Scheme, Uri};

/// A binding with all that the registrar knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedBinding {
    /// The contact, with the end of the binding.
    pub contact: Contact,
    /// `+sip.instance` and `reg-id`, if the phone told: the same phone, whatever its address.
    pub sip_instance: Option<String>,
    /// The way its latest REGISTER came.
    pub source: FiveTuple,
    /// The `Call-ID` of that REGISTER.
    pub call_id: String,
    /// Its `CSeq`: an older one of the same `Call-ID` is refused after a restart as well (RFC 3261 §10.3).
    pub cseq: u32,
}

impl Registrar {
    /// All bindings of an account, the one registered last at the end.
    pub(in crate::sip) fn saved(&self, user: &str) -> Vec<SavedBinding> {
        let bindings = self.bindings.get(user).map(Vec::as_slice).unwrap_or_default();
        let saved = |b: &Binding| SavedBinding {
            contact: b.contact.clone(),
            sip_instance: b.sip_instance.clone(),
            source: b.source,
            call_id: b.call_id.clone(),
            cseq: b.cseq,
        };
        bindings.iter().map(saved).collect()
    }

    /// Takes back what [`saved`](Self::saved) gave, at most `max_contacts`, those registered last; what has expired or is
    /// no SIP URI is left out.
    ///
    /// An account that has bindings keeps those alone: they are newer.
    pub(in crate::sip) fn restore(&mut self, now: Instant, user: &str, saved: Vec<SavedBinding>, max_contacts: usize) {
        if self.bindings.contains_key(user) {
            return;
        }
        let mut bindings = Vec::new();
        for saved in saved.into_iter().filter(|saved| saved.contact.expires > now) {
            let Ok(uri) = saved.contact.uri.parse::<Uri>() else {
                continue;
            };
            if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
                continue;
            }
            self.next += 1;
            bindings.push(Binding {
                id: self.next,
                contact: saved.contact,
                uri,
                sip_instance: saved.sip_instance,
                source: saved.source,
                call_id: saved.call_id,
                cseq: saved.cseq,
            });
        }
        let surplus = bindings.len().saturating_sub(max_contacts);
        self.store(user, bindings.split_off(surplus));
    }
}

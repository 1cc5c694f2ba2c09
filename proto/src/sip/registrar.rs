//! The registrar: which phone of an account can be reached where, until when (RFC 3261 §10.3). No words, only bindings.

mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ContactChange;
use super::message::Uri;
use crate::net::{FiveTuple, Peer};

pub use saved::SavedBinding;

/// Where an account can be reached: one binding of the registrar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The phone's own URI: the request URI of calls to it.
    pub uri: String,
    /// The way to it: from our address that it registered at, behind a NAT to the address that the REGISTER came from.
    pub five_tuple: FiveTuple,
    /// Where the phone is: where it registered from, or, behind proxies that are trusted, below them (port 0: not known). Its
    /// media comes from that host.
    pub origin: SocketAddr,
    /// When the binding ends unless refreshed.
    pub expires: Instant,
    /// The phone's `User-Agent`, if it told.
    pub user_agent: Option<String>,
    /// The proxies on the way to it, nearest first: `Route` of calls to it (RFC 3327).
    pub path: Vec<String>,
}

/// One contact that a REGISTER asks for.
#[derive(Clone, Debug)]
pub(in crate::sip) struct RequestedBinding {
    /// The contact, without parameters of the header.
    pub(in crate::sip) uri: Uri,
    /// `+sip.instance`: the same phone, whatever its address.
    pub(in crate::sip) sip_instance: Option<String>,
    /// Zero takes it back.
    pub(in crate::sip) expires: Duration,
    /// The way to it.
    pub(in crate::sip) five_tuple: FiveTuple,
}

/// A REGISTER of an account that has logged in.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Update<'a> {
    pub(in crate::sip) user: &'a str,
    pub(in crate::sip) call_id: &'a str,
    pub(in crate::sip) cseq: u32,
    /// The way the REGISTER came.
    pub(in crate::sip) source: FiveTuple,
    /// Where it began.
    pub(in crate::sip) origin: SocketAddr,
    pub(in crate::sip) user_agent: Option<&'a str>,
    pub(in crate::sip) path: &'a [String],
    pub(in crate::sip) max_contacts: usize,
    pub(in crate::sip) replace_oldest: bool,
}

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) enum Refused {
    /// An older REGISTER of the same Call-ID, overtaken by a newer: 500.
    OutOfOrder,
    /// More contacts than the account may have: 403.
    TooMany,
}

/// A change, the account and the contact.
pub(in crate::sip) type Change = (ContactChange, String, Contact, SocketAddr);

#[derive(Clone, Debug)]
struct Binding {
    id: u64,
    contact: Contact,
    uri: Uri,
    sip_instance: Option<String>,
    source: FiveTuple,
    call_id: String,
    cseq: u32,
}

/// All bindings.
#[derive(Default)]
pub(in crate::sip) struct Registrar {
    bindings: BTreeMap<String, Vec<Binding>>,
    deadlines: BTreeSet<(Instant, u64, String)>,
    /// Peers that phones are reached as, or registered from: asked for each request of a stranger.
    peers: BTreeSet<(Peer, String, u64)>,
    /// The same with where the phones are, behind proxies.
    origins: BTreeSet<(Peer, SocketAddr, String, u64)>,
    next: u64,
}

impl Registrar {
    /// Adds, refreshes and removes contacts: all or none.
    pub(in crate::sip) fn update(
        &mut self,
        now: Instant,
        update: &Update<'_>,
        requested: &[RequestedBinding],
    ) -> Result<Vec<Change>, Refused> {
        let mut bindings = self.bindings.get(update.user).cloned().unwrap_or_default();
        let (mut changes, before) = (Vec::new(), self.next);
        for requested in requested {
            let same = |b: &Binding| {
                b.uri.same_as(&requested.uri)
                    || (requested.sip_instance.is_some() && b.sip_instance == requested.sip_instance)
            };
            let found = bindings.iter().position(same);
            // Not two contacts of this one request: those count as one, the later wins.
            let old = found.and_then(|at| bindings.get(at)).filter(|b| b.id <= before);
            if old.is_some_and(|b| b.call_id == update.call_id && update.cseq <= b.cseq) {
                return Err(Refused::OutOfOrder);
            }
            let change = match (found, requested.expires.is_zero()) {
                (Some(_), true) => ContactChange::Removed,
                (Some(_), false) => ContactChange::Refreshed,
                (None, true) => continue,
                (None, false) => ContactChange::Added,
            };
            let old = found.map(|at| bindings.remove(at));
            let binding = self.binding(now, update, requested, old);
            changes.push((
                change,
                update.user.to_owned(),
                binding.contact.clone(),
                update.source.remote,
            ));
            if change != ContactChange::Removed {
                bindings.push(binding);
            }
        }
        let mine: Vec<u64> = changes.iter().filter_map(|(_, _, c, _)| find(&bindings, c)).collect();
        let mut remove = |bindings: &mut Vec<Binding>, at: usize| {
            let gone = bindings.remove(at);
            let user = update.user.to_owned();
            changes.push((ContactChange::Removed, user, gone.contact, update.source.remote));
        };
        // A phone that came back with another contact makes room for itself: first at the same address and port, then, if it
        // may, at the same address with the same program. Those that registered first stand first.
        let others = |b: &Binding| !mine.contains(&b.id);
        let same_home = |b: &Binding| b.contact.origin.ip() == update.origin.ip();
        let same_peer = |b: &Binding| {
            let is_known = update.origin.port() != 0 && b.contact.origin == update.origin;
            is_known && b.source.peer() == update.source.peer()
        };
        let same_phone = |b: &Binding| same_home(b) && b.contact.user_agent.as_deref() == update.user_agent;
        let mut is_over = bindings.len() > update.max_contacts;
        while is_over && let Some(at) = bindings.iter().position(|b| others(b) && same_peer(b)) {
            remove(&mut bindings, at);
        }
        is_over = update.replace_oldest && mine.len() <= update.max_contacts;
        while is_over && bindings.len() > update.max_contacts {
            let same = bindings.iter().position(|b| others(b) && same_phone(b));
            let Some(at) = same.or_else(|| bindings.iter().position(others)) else {
                break;
            };
            remove(&mut bindings, at);
        }
        if bindings.len() > update.max_contacts && changes.iter().any(|(c, ..)| *c == ContactChange::Added) {
            return Err(Refused::TooMany);
        }
        self.store(update.user, bindings);
        Ok(changes)
    }

    /// Removes all contacts of an account (`Contact: *`).
    pub(in crate::sip) fn remove_all(&mut self, update: &Update<'_>) -> Result<Vec<Change>, Refused> {
        let bindings = self.bindings.get(update.user).map(Vec::as_slice).unwrap_or_default();
        if bindings
            .iter()
            .any(|b| b.call_id == update.call_id && update.cseq <= b.cseq)
        {
            return Err(Refused::OutOfOrder);
        }
        let removed = |b: &Binding| {
            (
                ContactChange::Removed,
                update.user.to_owned(),
                b.contact.clone(),
                update.source.remote,
            )
        };
        let changes = bindings.iter().map(removed).collect();
        self.store(update.user, Vec::new());
        Ok(changes)
    }

    /// Removes the bindings of accounts that are no more.
    pub(in crate::sip) fn keep_accounts(&mut self, exists: impl Fn(&str) -> bool) -> Vec<Change> {
        let gone: Vec<String> = self.bindings.keys().filter(|user| !exists(user)).cloned().collect();
        let mut changes = Vec::new();
        for user in gone {
            let bindings = self.bindings.get(&user).cloned().unwrap_or_default();
            self.store(&user, Vec::new());
            changes.extend(
                bindings
                    .into_iter()
                    .map(|b| (ContactChange::Removed, user.clone(), b.contact, b.source.remote)),
            );
        }
        changes
    }

    /// Removes what has expired.
    pub(in crate::sip) fn handle_timeout(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((_, id, user)) = self.deadlines.first().filter(|(at, ..)| *at <= now).cloned() {
            let mut bindings = self.bindings.get(&user).cloned().unwrap_or_default();
            if let Some(at) = bindings.iter().position(|b| b.id == id) {
                let gone = bindings.remove(at);
                changes.push((ContactChange::Expired, user.clone(), gone.contact, gone.source.remote));
            }
            self.store(&user, bindings);
        }
        changes
    }

    /// When the next binding expires.
    pub(in crate::sip) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, ..)| *at)
    }

    /// Contacts of an account, the one registered last first.
    pub(in crate::sip) fn contacts(&self, now: Instant, user: &str) -> Vec<Contact> {
        let bindings = self.bindings.get(user).map(Vec::as_slice).unwrap_or_default();
        bindings
            .iter()
            .rev()
            .filter(|b| b.contact.expires > now)
            .map(|b| b.contact.clone())
            .collect()
    }

    /// Where a call to an account goes: its contacts, and of several flows of one phone one alone (RFC 5626 §5.3), the latest that leads to it.
    pub(in crate::sip) fn targets(&self, now: Instant, user: &str, leads: impl Fn(FiveTuple) -> bool) -> Vec<Contact> {
        let bindings = self.bindings.get(user).map(Vec::as_slice).unwrap_or_default();
        let mut all: Vec<(&str, &Contact)> = Vec::new();
        for binding in bindings.iter().rev().filter(|b| b.contact.expires > now) {
            // As it was noted: the instance, and the number of the flow.
            let flow = binding
                .sip_instance
                .as_deref()
                .and_then(|instance| instance.rsplit_once(' '));
            let phone = flow.map_or("", |(phone, number)| if number.is_empty() { "" } else { phone });
            match all.iter_mut().find(|(of, _)| !phone.is_empty() && *of == phone) {
                Some((_, other)) if !leads(other.five_tuple) && leads(binding.contact.five_tuple) => {
                    *other = &binding.contact;
                }
                Some(_) => {}
                None => all.push((phone, &binding.contact)),
            }
        }
        all.into_iter().map(|(_, contact)| contact.clone()).collect()
    }

    /// The way to this contact of an account.
    pub(in crate::sip) fn way_of(&self, user: &str, uri: &str) -> Option<FiveTuple> {
        let mut bindings = self.bindings.get(user)?.iter();
        bindings.find(|b| b.contact.uri == uri).map(|b| b.contact.five_tuple)
    }

    /// All accounts with contacts.
    pub(in crate::sip) fn all(&self, now: Instant) -> Vec<(String, Vec<Contact>)> {
        let all = self
            .bindings
            .keys()
            .map(|user| (user.clone(), self.contacts(now, user)));
        all.filter(|(_, contacts)| !contacts.is_empty()).collect()
    }

    /// Whether some phone is reached as this peer, or registered as it (by this account, if one is named).
    pub(in crate::sip) fn reaches(&self, peer: Peer, user: Option<&str>) -> bool {
        let from = (peer, user.unwrap_or_default().to_owned(), 0);
        let found = self.peers.range(from..).next();
        found.is_some_and(|(at, of, _)| *at == peer && user.is_none_or(|user| of == user))
    }

    /// Whether a phone (of this account, if one is named) registered from here; behind a proxy, from there below it, at an address and
    /// port that are known.
    pub(in crate::sip) fn is_registered_at(
        &self,
        (peer, origin): (Peer, SocketAddr),
        is_proxy: bool,
        user: Option<&str>,
    ) -> bool {
        let found = self.account_from(peer, origin, user.unwrap_or_default());
        let is_known = !is_proxy || origin.port() != 0;
        is_known && found.is_some_and(|found| user.is_none_or(|user| user == found))
    }

    /// An account with a phone that registered from this peer, and that is there behind it: the one of that name, if it is one.
    pub(in crate::sip) fn account_from(&self, peer: Peer, origin: SocketAddr, named: &str) -> Option<&str> {
        let here = self.origins.range((peer, origin, String::new(), 0)..);
        let users = here
            .take_while(|(at, from, ..)| (*at, *from) == (peer, origin))
            .map(|(_, _, user, _)| user.as_str())
            .filter(|user| self.is_registered_from(peer, user));
        let mut first = None;
        for user in users {
            if user == named {
                return Some(user);
            }
            first.get_or_insert(user);
        }
        first
    }

    /// Whether a REGISTER of this account came from this peer: that is proven. A Contact may name any port of its host.
    pub(in crate::sip) fn is_registered_from(&self, peer: Peer, user: &str) -> bool {
        let bindings = self.bindings.get(user).map(Vec::as_slice).unwrap_or_default();
        bindings.iter().any(|binding| binding.source.peer() == peer)
    }

    fn binding(
        &mut self,
        now: Instant,
        update: &Update<'_>,
        requested: &RequestedBinding,
        old: Option<Binding>,
    ) -> Binding {
        self.next += 1;
        let was = |old: Option<Binding>| old.map_or(now, |b| b.contact.expires);
        let expires = if requested.expires.is_zero() {
            was(old)
        } else {
            now + requested.expires
        };
        Binding {
            id: self.next,
            contact: Contact {
                uri: requested.uri.to_string(),
                five_tuple: requested.five_tuple,
                origin: update.origin,
                expires,
                user_agent: update.user_agent.map(str::to_owned),
                path: update.path.to_vec(),
            },
            uri: requested.uri.clone(),
            sip_instance: requested.sip_instance.clone(),
            source: update.source,
            call_id: update.call_id.to_owned(),
            cseq: update.cseq,
        }
    }

    fn store(&mut self, user: &str, bindings: Vec<Binding>) {
        for b in self.bindings.remove(user).unwrap_or_default() {
            self.deadlines.remove(&(b.contact.expires, b.id, user.to_owned()));
            for peer in [b.contact.five_tuple.peer(), b.source.peer()] {
                self.peers.remove(&(peer, user.to_owned(), b.id));
                self.origins.remove(&(peer, b.contact.origin, user.to_owned(), b.id));
            }
        }
        for b in &bindings {
            self.deadlines.insert((b.contact.expires, b.id, user.to_owned()));
            for peer in [b.contact.five_tuple.peer(), b.source.peer()] {
                self.peers.insert((peer, user.to_owned(), b.id));
                self.origins.insert((peer, b.contact.origin, user.to_owned(), b.id));
            }
        }
        if !bindings.is_empty() {
            self.bindings.insert(user.to_owned(), bindings);
        }
    }
}

fn find(bindings: &[Binding], contact: &Contact) -> Option<u64> {
    bindings.iter().find(|b| b.contact == *contact).map(|b| b.id)
}

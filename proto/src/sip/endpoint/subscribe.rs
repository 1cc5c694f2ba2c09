//! SUBSCRIBE, as notifier: a phone is told what other phones do and what it has missed, until it no longer asks. RFC 6665.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::callee::takes;
use super::registration::{Refusal, seconds};
use crate::net::FiveTuple;
use crate::sip::dialog::{Dialog, contact_of};
use crate::sip::message::{Method, Request, Uri};
use crate::sip::package::{ALLOW_EVENTS, Package, PackageState};
use crate::sip::response::Head;
use crate::sip::timers::{Owner, Timer};
use crate::sip::transaction::Purpose;
use crate::sip::{DialogKey, SipError, SipEvent};

/// Subscriptions of one account: consoles have some 200 keys.
const MAX_OF_ACCOUNT: usize = 256;

/// Longest Event that is repeated in each NOTIFY.
const MAX_EVENT: usize = 64;

/// Somebody who wants to be told.
pub(super) struct Subscription {
    dialog: Dialog,
    package: Package,
    /// The Event field as it came: its `id` names it.
    event: String,
    /// What it asks about: as it was dialled, and as our bodies name it.
    target: String,
    entity: String,
    expires: Instant,
    /// The SUBSCRIBE that the TU has not answered.
    transaction: Option<u64>,
    /// How many bodies there have been.
    version: u32,
}

/// All subscriptions.
#[derive(Default)]
pub(super) struct Subscriptions {
    all: BTreeMap<DialogKey, Subscription>,
    /// By our tag.
    by_tag: BTreeMap<String, DialogKey>,
}

impl Subscriptions {
    fn of(&self, request: &Request) -> Option<DialogKey> {
        let key = *self.by_tag.get(request.to.tag()?)?;
        self.all.get(&key).filter(|it| it.dialog.owns(request)).map(|_| key)
    }

    fn of_account(&self, account: &str) -> usize {
        let is_of = |it: &&Subscription| it.dialog.account.as_deref() == Some(account);
        self.all.values().filter(is_of).count()
    }

    fn insert(&mut self, subscription: Subscription) {
        let (key, tag) = (subscription.dialog.key, subscription.dialog.local_tag.clone());
        self.by_tag.insert(tag, key);
        self.all.insert(key, subscription);
    }

    fn remove(&mut self, key: DialogKey) -> bool {
        let removed = self.all.remove(&key);
        if let Some(subscription) = &removed {
            self.by_tag.remove(&subscription.dialog.local_tag);
        }
        removed.is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The dialog of a subscription.
    pub(super) fn dialog(&self, key: DialogKey) -> Option<&Dialog> {
        self.all.get(&key).map(|it| &it.dialog)
    }
}

impl Endpoint {
    /// A phone wants to be told of something, still, or no more. Each one logs in: what it is told is not for everybody.
    pub(super) fn on_subscribe(&mut self, now: Instant, request: &Request, head: Head) {
        let Some((user, holder)) = self.account_of(now, request, &head) else {
            return;
        };
        let way = (head.five_tuple, head.origin);
        let id = self.create_server_transaction(request, head, holder, None);
        let taken = self.take_subscribe(now, request, way, &user);
        let (key, target) = match taken {
            Ok(taken) => taken,
            Err((status, reason, extra)) => {
                let tag = self.token();
                return self.respond_extra(now, id, (status, reason), &tag, extra);
            }
        };
        let Some(subscription) = self.subscriptions.all.get_mut(&key) else {
            return;
        };
        subscription.transaction = Some(id);
        self.events.push_back(SipEvent::Subscribe {
            subscription: key,
            account: user,
            package: subscription.package,
            target,
        });
    }

    /// The subscription that a SUBSCRIBE begins or goes on with, and what it asks about.
    fn take_subscribe(
        &mut self,
        now: Instant,
        request: &Request,
        (way, origin): (FiveTuple, SocketAddr),
        user: &str,
    ) -> Result<(DialogKey, String), Refusal> {
        let known = self.subscriptions.of(request);
        if known.is_none() && request.to.tag().is_some() {
            return Err((481, None, Vec::new()));
        }
        let (package, event, expires) = self.wanted(request)?;
        let contact = contact_of(&request.headers);
        let Some(key) = known else {
            if self.subscriptions.len() >= self.config.limits.dialogs
                || self.subscriptions.of_account(user) >= MAX_OF_ACCOUNT
            {
                let after = self.config.limits.retry_after.to_string();
                return Err((503, None, vec![("Retry-After", after)]));
            }
            let contact = contact.ok_or((400, Some("Missing Or Bad Contact"), Vec::new()))?;
            let (key, tag) = (self.new_dialog_key(), self.token());
            let dialog = Dialog {
                is_registered: self.registrar.reaches(way.peer(), Some(user)),
                ..Dialog::incoming((key, tag), request, contact, (way, origin), Some(user.to_owned()))
            };
            let target = request.uri.dialled();
            self.subscriptions.insert(Subscription {
                dialog,
                package,
                event,
                entity: Uri::sip(&target, self.shown(way, Some(user))).to_string(),
                target: target.clone(),
                expires: now + expires,
                transaction: None,
                version: 0,
            });
            return Ok((key, target));
        };
        let subscription = self.subscriptions.all.get_mut(&key);
        let is_own = |it: &&mut Subscription| it.dialog.account.as_deref() == Some(user) && it.package == package;
        let subscription = subscription.filter(is_own).ok_or((481, None, Vec::new()))?;
        if subscription.transaction.is_some() || !subscription.dialog.on_request(request, way) {
            return Err((500, None, Vec::new()));
        }
        subscription.dialog.target = contact.unwrap_or_else(|| subscription.dialog.target.clone());
        subscription.dialog.origin = origin;
        subscription.expires = now + expires;
        // Its request goes to our Contact now, which names nobody.
        Ok((key, subscription.target.clone()))
    }

    /// What a SUBSCRIBE wants to be told of, and for how long.
    fn wanted(&self, request: &Request) -> Result<(Package, String, Duration), Refusal> {
        let event = request.headers.get("Event").map(str::trim).unwrap_or_default();
        let name = event.split(';').next().unwrap_or_default().trim();
        let package = Package::of(name).filter(|_| event.len() <= MAX_EVENT);
        let package = package.ok_or_else(|| (489, None, vec![("Allow-Events", ALLOW_EVENTS.to_owned())]))?;
        if !takes(&request.headers, package.content_type()) {
            return Err((406, None, vec![("Accept", package.content_type().to_owned())]));
        }
        let expires = self.granted(request.headers.get("Expires").and_then(seconds))?;
        Ok((package, event.to_owned(), expires))
    }

    /// The TU: it is not told that. RFC 6665 §4.1.2.1.
    pub(super) fn refuse_subscription(&mut self, now: Instant, key: DialogKey, status: u16) -> Result<(), SipError> {
        if !(300..700).contains(&status) {
            return Err(SipError::BadStatus(status));
        }
        let subscription = self.subscriptions.all.get_mut(&key).ok_or(SipError::UnknownDialog)?;
        let id = subscription
            .transaction
            .take()
            .ok_or(SipError::WrongState("answered"))?;
        let tag = subscription.dialog.local_tag.clone();
        self.respond_extra(now, id, (status, None), &tag, Vec::new());
        self.drop_subscription(key);
        Ok(())
    }

    /// The TU: what there is to be told now. The first time it grants what was asked for.
    pub(super) fn notify(&mut self, now: Instant, key: DialogKey, state: PackageState) -> Result<(), SipError> {
        let subscription = self.subscriptions.all.get_mut(&key).ok_or(SipError::UnknownDialog)?;
        let tag = subscription.dialog.local_tag.clone();
        let left = subscription.expires.saturating_duration_since(now);
        if let Some(id) = subscription.transaction.take() {
            let contact = self.contact_of_subscription(key)?;
            let extra = vec![("Expires", left.as_secs().to_string()), ("Contact", contact)];
            self.respond_extra(now, id, (200, None), &tag, extra);
            self.timers.set(now + left, Owner::Subscription(key), Timer::Expired);
        }
        let sent = self.send_notify(now, key, Some(state));
        if left.is_zero() {
            self.drop_subscription(key);
        }
        sent
    }

    fn send_notify(&mut self, now: Instant, key: DialogKey, state: Option<PackageState>) -> Result<(), SipError> {
        let contact = self.contact_of_subscription(key)?;
        let subscription = self.subscriptions.all.get_mut(&key).ok_or(SipError::UnknownDialog)?;
        let standing = match subscription.expires.saturating_duration_since(now).as_secs() {
            0 => "terminated;reason=timeout".to_owned(),
            left => format!("active;expires={left}"),
        };
        let extra = vec![
            ("Contact", contact),
            ("Event", subscription.event.clone()),
            ("Subscription-State", standing),
        ];
        let mut request = subscription.dialog.request(Method::Notify, extra);
        request.body = state.map(|state| {
            let body = state.body(&subscription.entity, subscription.version);
            subscription.version += 1;
            (subscription.package.content_type().to_owned(), body.into_bytes())
        });
        self.start(now, request, Purpose::Subscription(key), None, 0).map(drop)
    }

    fn contact_of_subscription(&self, key: DialogKey) -> Result<String, SipError> {
        let dialog = self.subscriptions.dialog(key).ok_or(SipError::UnknownDialog)?;
        Ok(self.contact(key, dialog.peer, dialog.account.as_deref()))
    }

    /// Nobody has asked again in time.
    pub(super) fn subscription_expired(&mut self, now: Instant, key: DialogKey) {
        // There may be no room for it: then it is not told that it is told no more.
        let _ = self.send_notify(now, key, None);
        self.drop_subscription(key);
    }

    /// A response to our NOTIFY: whoever does not know of it any more, or is not there, is told no more. RFC 6665 §4.2.2.
    pub(super) fn on_notify_response(&mut self, key: DialogKey, status: u16) {
        if matches!(status, 404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604) {
            self.drop_subscription(key);
        }
    }

    pub(super) fn drop_subscription(&mut self, key: DialogKey) {
        self.timers.clear_all(Owner::Subscription(key));
        if self.subscriptions.remove(key) {
            self.events.push_back(SipEvent::Unsubscribed { subscription: key });
        }
    }

    /// Subscriptions of accounts that are gone, or have another password, are over.
    pub(super) fn keep_subscriptions(&mut self, stays: impl Fn(&str) -> bool) {
        let is_gone = |it: &&Subscription| !it.dialog.account.as_deref().is_some_and(&stays);
        let gone: Vec<_> = self
            .subscriptions
            .all
            .values()
            .filter(is_gone)
            .map(|it| it.dialog.key)
            .collect();
        for key in gone {
            self.drop_subscription(key);
        }
    }
}

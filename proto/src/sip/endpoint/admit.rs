//! Who may: challenges, logins, failed ones, and who is trusted within a dialog.

use std::net::SocketAddr;
use std::time::Instant;

use super::Endpoint;
use crate::net::FiveTuple;
use crate::sip::auth::Verdict;
use crate::sip::dialog::Dialog;
use crate::sip::message::{Method, Request, host_of};
use crate::sip::response::Head;
use crate::sip::transaction::Holder;
use crate::sip::{Caller, DialogKey, SipEvent};

/// Connections of one account beside those that its contacts may have.
const SPARE_CONNECTIONS: usize = 4;

impl Endpoint {
    /// Who a request is from; else a response is sent, and it is `None`.
    pub(super) fn admit(&mut self, now: Instant, request: &Request, head: &Head) -> Option<Caller> {
        if request.method == Method::Invite
            && let Some((registration, user)) = self.called_by_registrar(request, head.five_tuple)
        {
            return Some(Caller::Registration { registration, user });
        }
        // Whoever is registered there is a phone behind the same address, and logs in.
        if request.method == Method::Invite
            && let Some(trunk) = self.trunk_at(head.five_tuple.protocol, head.origin.ip())
            && (self.registrar)
                .account_from(head.five_tuple.peer(), head.origin, &request.from.uri.user_unescaped())
                .is_none()
        {
            return Some(Caller::Trunk(trunk.to_owned()));
        }
        let is_register = request.method == Method::Register;
        let named = if is_register { &request.to } else { &request.from };
        let named = named.uri.user_unescaped();
        // A phone that hides its name, or shows another, is challenged as the account that is registered there, whether somebody has
        // the name or not: whoever tries names would be told which there are. For that nobody registers so.
        // Where a proxy does not tell the port, all who are behind one NAT are there, and a name would tell whether it is one of them.
        let is_known = head.origin.port() != 0 && !head.origin.ip().is_unspecified();
        let at_home = self.registrar.account_from(head.five_tuple.peer(), head.origin, &named);
        let at_home = at_home.filter(|_| !is_register && is_known).map(str::to_owned);
        let user = self.authenticate(now, request, head, at_home.as_ref().unwrap_or(&named))?;
        // Credentials say who calls, whatever From shows; but nobody registers for another.
        if is_register && user != named {
            self.respond_stateless(now, head, 403, Some("Not Your Address"), Vec::new());
            return None;
        }
        Some(Caller::Account(user))
    }

    /// The account that a request is from, if there is room for one more of its; else a response is sent, and it is `None`.
    pub(super) fn account_of(&mut self, now: Instant, request: &Request, head: &Head) -> Option<(String, Holder)> {
        if self.is_overloaded(now, head) {
            return None;
        }
        let Caller::Account(user) = self.admit(now, request, head)? else {
            return None;
        };
        let holder = Holder::Caller(Caller::Account(user.clone()));
        (!self.has_its_share(now, head, &holder)).then_some((user, holder))
    }

    /// Whether a request within a dialog comes from its peer; else a response is sent, and it must change nothing.
    ///
    /// Tags and numbers can be seen on the way, so they prove nothing. Trusted is where the dialog's last trusted request
    /// came from, a proxy of its route, and where its account is registered. From elsewhere the peer must log in as that
    /// account: a phone that moved to another network can.
    pub(super) fn is_from_peer(&mut self, now: Instant, key: DialogKey, request: &Request, head: &Head) -> bool {
        let Some(dialog) = self.dialogs.get(key) else {
            return false;
        };
        if self.is_trusted(dialog, head.five_tuple, head.origin) {
            return true;
        }
        let Some(account) = dialog.account.clone() else {
            self.respond_stateless(now, head, 481, None, Vec::new());
            return false;
        };
        match self.authenticate(now, request, head, &account) {
            Some(user) if user == account => true,
            // Another account's is none of this dialog, however right.
            Some(_) => {
                self.challenge(now, &account, head, false);
                false
            }
            None => false,
        }
    }

    /// Whether this address is the peer's, without a login.
    pub(super) fn is_trusted(&self, dialog: &Dialog, source: FiveTuple, origin: SocketAddr) -> bool {
        let proxy = source.remote.ip();
        let is_proxy = self.is_proxy(proxy);
        let is_registered =
            |account: &String| (self.registrar).is_registered_at((source.peer(), origin), is_proxy, Some(account));
        // Who speaks through the same proxy as the peer, but from elsewhere, is not the peer by that. What the proxy itself began is the
        // peer's if that is the proxy too.
        let is_there = match origin.ip() == proxy {
            true => dialog.origin.ip() == proxy,
            false => dialog.origin == origin && origin.port() != 0,
        };
        if is_proxy && !is_there {
            return dialog.account.as_ref().is_some_and(is_registered);
        }
        dialog.peer.peer() == source.peer()
            || (dialog.trunk.is_some() && dialog.trunk.as_deref() == self.trunk_at(source.protocol, origin.ip()))
            // Over a WebSocket a proxy says whose it is, which proves nothing.
            || (!source.protocol.is_websocket()
                && (dialog.routes.iter()).any(|route| route.uri.socket_addr() == Some(source.remote)))
            || dialog.account.as_ref().is_some_and(is_registered)
    }

    /// Reads whose request it is; else challenges for this account, and gives `None`.
    ///
    /// Neither a challenge nor a failed login leaves a transaction (RFC 3261 §26.3.2.4).
    fn authenticate(&mut self, now: Instant, request: &Request, head: &Head, account: &str) -> Option<String> {
        let FiveTuple { remote, .. } = head.five_tuple;
        let is_proxy = self.is_proxy(remote.ip());
        let (registrar, source) = (&self.registrar, (head.five_tuple.peer(), head.origin));
        let is_bound = |user: &str| registrar.is_registered_at(source, is_proxy, Some(user));
        let shown = host_of(self.shown(head.five_tuple, Some(account)).ip());
        let is_ours = |host: &str| {
            host.eq_ignore_ascii_case(&self.config.realm)
                || self.local.iter().any(|(_, address)| host == host_of(address.ip()))
                || host == shown
        };
        let verdict = self
            .guard
            .check(now, &self.accounts, request, head.origin, is_bound, is_ours);
        let stale = match verdict {
            Verdict::Authenticated(user) => {
                self.note_login(head.five_tuple, &user);
                return Some(user);
            }
            // In a dialog only its own account's login is looked at any further.
            Verdict::UriMismatch(user) if head.is_in_dialog() && user != account => false,
            Verdict::UriMismatch(_) => {
                self.respond_stateless(now, head, 400, Some("Digest URI Mismatch"), Vec::new());
                return None;
            }
            Verdict::Challenge { stale } => stale,
            Verdict::Failed { user, why, failures } => {
                self.events.push_back(SipEvent::LoginFailed {
                    user,
                    source: head.origin,
                    why,
                    failures,
                });
                false
            }
        };
        self.challenge(now, account, head, stale);
        None
    }

    /// An account has logged in over this way. Of its connections over which nothing is registered and no call goes on only the latest stay:
    /// whoever has a password must not have all the places there are.
    fn note_login(&mut self, way: FiveTuple, user: &str) {
        let Some(id) = way.connection else { return };
        self.connections.logged_in(id, user);
        let of_user = self.connections.of(user);
        let most = SPARE_CONNECTIONS + self.accounts.get(user).map_or(0, |account| account.max_contacts);
        if of_user.len() > most {
            let mut others = of_user.into_iter().filter(|other| other.connection != Some(id));
            let idle = others.find(|other| !self.is_connection_used(*other));
            if let Some(idle) = idle.and_then(|idle| idle.connection) {
                self.connections.release(idle);
            }
        }
    }

    /// Asks for a login as this account.
    fn challenge(&mut self, now: Instant, account: &str, head: &Head, stale: bool) {
        let known = self.accounts.get(account);
        let values = self
            .guard
            .challenges(now, account, known, stale, head.origin, &mut *self.rng);
        let extra = values.into_iter().map(|value| ("WWW-Authenticate", value)).collect();
        self.respond_stateless(now, head, 401, None, extra);
    }

    /// Says 503 if there is no room for another request.
    pub(super) fn is_overloaded(&mut self, now: Instant, head: &Head) -> bool {
        let limits = &self.config.limits;
        let dialogs_full = head.is_initial_invite() && self.dialogs.len() >= limits.dialogs;
        let full = dialogs_full || self.server_transactions.is_full(limits, head.is_in_dialog());
        if full {
            self.respond_overloaded(now, head);
        }
        full
    }

    /// Says 503 if this holder has all the transactions that it may have.
    pub(super) fn has_its_share(&mut self, now: Instant, head: &Head, holder: &Holder) -> bool {
        let full = self.server_transactions.has_its_share(&self.config.limits, holder);
        if full {
            self.respond_overloaded(now, head);
        }
        full
    }

    fn respond_overloaded(&mut self, now: Instant, head: &Head) {
        let seconds = self.config.limits.retry_after.to_string();
        self.respond_stateless(now, head, 503, None, vec![("Retry-After", seconds)]);
    }
}

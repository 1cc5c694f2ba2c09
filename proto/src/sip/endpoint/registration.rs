//! REGISTER, both sides: phones at our registrar, and ourselves at another (our test phone, later trunks).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Endpoint, SUPPORTED};
use crate::net::{FiveTuple, Peer};
use crate::sip::auth::Credentials;
use crate::sip::dialog::MAX_CONTACT;
use crate::sip::message::{Method, NameAddr, Request, Response, Scheme, Uri, host_of};
use crate::sip::outgoing::Outgoing;
use crate::sip::registrar::{Contact, Refused, RequestedBinding, Update};
use crate::sip::response::Head;
use crate::sip::transaction::Purpose;
use crate::sip::{SipError, SipEvent};

/// Contacts of one REGISTER: all that an account may have, and all that they replace.
const MAX_CONTACTS: usize = 32;

/// How long after its binding has expired a phone still logs in apart from strangers.
pub(super) const REFRESH_GRACE: Duration = Duration::from_secs(60);

/// Bytes of `Path` that are kept of a REGISTER: proxies add some 60.
const MAX_PATH: usize = 2 * 1024;

/// What is kept of a phone's `User-Agent`, in characters.
const MAX_USER_AGENT: usize = 128;

/// Seconds after which a phone may send a keep-alive at the latest (RFC 5626 §4.4): below what NATs forget a connection in.
const FLOW_TIMER: u32 = 120;

/// Registrations of ours at once.
const MAX_REGISTRATIONS: usize = 10_000;

/// A registration of ours: all its REGISTERs share these.
pub(super) struct Registration {
    aor: String,
    /// As it was asked for.
    wanted_way: FiveTuple,
    /// The way that the last REGISTER went.
    five_tuple: FiveTuple,
    /// User part of our Contact: nobody else knows it, so a call to it comes from the registrar.
    contact_user: String,
    call_id: String,
    tag: String,
    cseq: u32,
    wanted: Duration,
}

impl Registration {
    /// Whether its calls may come from here.
    pub(super) fn is_over(&self, peer: Peer) -> bool {
        self.five_tuple.peer() == peer
    }
}

/// A status, a reason and fields: why a request is refused.
pub(super) type Refusal = (u16, Option<&'static str>, Vec<(&'static str, String)>);

impl Endpoint {
    /// A phone registers.
    pub(super) fn on_register(&mut self, now: Instant, request: &Request, head: Head) {
        let Some((user, holder)) = self.account_of(now, request, &head) else {
            return;
        };
        let (source, origin) = (head.five_tuple, head.origin);
        let told = told(request);
        let id = self.create_server_transaction(request, head, holder, None);
        let tag = self.token();
        let bound = self.bind(now, request, &user, (source, origin)).map(|contacts| {
            let contact = |c: &Contact| {
                let left = c.expires.saturating_duration_since(now).as_secs();
                ("Contact", format!("<{}>;expires={left}", c.uri))
            };
            contacts.iter().map(contact).chain(told).collect()
        });
        let (status, reason, extra) = bound.map_or_else(|refusal| refusal, |extra| (200, None, extra));
        self.respond_extra(now, id, (status, reason), &tag, extra);
    }

    /// Does what a REGISTER wants; gives all contacts there are then.
    fn bind(
        &mut self,
        now: Instant,
        request: &Request,
        user: &str,
        (source, origin): (FiveTuple, SocketAddr),
    ) -> Result<Vec<Contact>, Refusal> {
        let path: Vec<String> = request.headers.list("Path").map(str::to_owned).collect();
        if path.iter().map(String::len).sum::<usize>() > MAX_PATH
            || path.iter().any(|hop| hop.parse::<NameAddr>().is_err())
        {
            return Err((400, Some("Bad Path"), Vec::new()));
        }
        let update = Update {
            user,
            call_id: &request.call_id,
            cseq: request.cseq,
            source,
            origin,
            user_agent: request.headers.get("User-Agent").map(shortened),
            path: &path,
            replace_oldest: self.config.limits.replace_oldest,
            max_contacts: self.accounts.get(user).map_or(0, |a| a.max_contacts),
        };
        let contacts: Vec<&str> = request.headers.list("Contact").take(MAX_CONTACTS + 1).collect();
        if contacts.len() > MAX_CONTACTS {
            return Err((403, Some("Too Many Contacts"), Vec::new()));
        }
        let changes = if contacts.contains(&"*") {
            if contacts.len() != 1 || request.headers.get("Expires").map(seconds) != Some(Some(0)) {
                return Err((400, Some("Contact * Needs Expires 0"), Vec::new()));
            }
            self.registrar.remove_all(&update)
        } else {
            let requested = self.requested(request, &contacts, source)?;
            self.registrar.update(now, &update, &requested)
        };
        match changes {
            Ok(changes) => {
                let until = changes.iter().map(|(_, _, contact, _)| contact.expires).max();
                if let Some(until) = until.filter(|until| *until > now) {
                    self.guard.registered(now, user, origin.ip(), until + REFRESH_GRACE);
                }
                self.emit_contact_changes(changes);
            }
            Err(Refused::OutOfOrder) => return Err((500, Some("CSeq Out Of Order"), Vec::new())),
            Err(Refused::TooMany) => return Err((403, Some("Too Many Contacts"), Vec::new())),
        }
        Ok(self.registrar.contacts(now, user))
    }

    fn requested(
        &self,
        request: &Request,
        contacts: &[&str],
        source: FiveTuple,
    ) -> Result<Vec<RequestedBinding>, Refusal> {
        let common = request.headers.get("Expires").and_then(seconds);
        let mut requested = Vec::new();
        for text in contacts {
            if text.len() > MAX_CONTACT {
                return Err((400, Some("Contact Too Long"), Vec::new()));
            }
            let contact: NameAddr = text.parse().map_err(|_| (400, Some("Bad Contact"), Vec::new()))?;
            if !matches!(contact.uri.scheme, Scheme::Sip | Scheme::Sips) {
                return Err((400, Some("Bad Contact"), Vec::new()));
            }
            let own = contact.param("expires").and_then(seconds);
            let expires = self.granted(own.or(common))?;
            requested.push(RequestedBinding {
                sip_instance: contact
                    .param("+sip.instance")
                    .map(|i| format!("{i} {}", contact.param("reg-id").unwrap_or_default())),
                expires,
                five_tuple: way_to(request, &contact.uri, source),
                uri: contact.uri,
            });
        }
        Ok(requested)
    }

    /// For how long something stands that was asked for for so many seconds, or without a length. RFC 3261 §10.3, RFC 6665 §4.2.1.1.
    pub(super) fn granted(&self, asked: Option<u64>) -> Result<Duration, Refusal> {
        let limits = &self.config.limits;
        let wanted = asked.map_or(limits.default_expires, Duration::from_secs);
        if !wanted.is_zero() && wanted < limits.min_expires {
            let least = limits.min_expires.as_secs().to_string();
            return Err((423, None, vec![("Min-Expires", least)]));
        }
        Ok(wanted.min(limits.max_expires))
    }

    /// Whether a call comes from a registrar of ours, to the Contact that only it knows; gives the registration and the account there.
    pub(super) fn called_by_registrar(&self, request: &Request, source: FiveTuple) -> Option<(u64, String)> {
        let called = request.uri.user_unescaped();
        let mut all = self.outbound_registrations.iter();
        all.find(|(_, r)| r.is_over(source.peer()) && r.contact_user == called)
            .map(|(registration, r)| (*registration, r.aor.clone()))
    }

    /// The TU: registers elsewhere.
    #[allow(clippy::too_many_arguments)] // the fields of one command
    pub(super) fn register(
        &mut self,
        now: Instant,
        registration: u64,
        (aor, domain): (&str, Option<String>),
        five_tuple: FiveTuple,
        credentials: Option<Credentials>,
        expires: Duration,
    ) -> Result<(), SipError> {
        let same = self
            .outbound_registrations
            .get(&registration)
            .is_some_and(|r| r.aor == aor && r.wanted_way == five_tuple);
        if !same {
            if self.outbound_registrations.len() >= MAX_REGISTRATIONS {
                return Err(SipError::TooMany("registrations"));
            }
            let (contact_user, call_id, tag) = (self.token(), self.token(), self.token());
            let (aor, wanted) = (aor.to_owned(), expires);
            let new = Registration {
                aor,
                wanted_way: five_tuple,
                five_tuple,
                contact_user,
                call_id,
                tag,
                cseq: 0,
                wanted,
            };
            self.outbound_registrations.insert(registration, new);
        }
        let Some(known) = self.outbound_registrations.get_mut(&registration) else {
            return Ok(());
        };
        known.cseq += 1;
        known.wanted = expires;
        let FiveTuple {
            local,
            remote: registrar,
            ..
        } = five_tuple;
        let address = NameAddr::new(
            None,
            Uri::sip_host(aor, domain.as_deref().unwrap_or(&host_of(registrar.ip()))),
        );
        let contact = NameAddr::new(None, Uri::sip(&known.contact_user, local).over(five_tuple.protocol));
        let request = Outgoing {
            method: Method::Register,
            uri: Uri::sip("", registrar).over(five_tuple.protocol).to_string(),
            from: address.clone().with_tag(Some(&known.tag)).to_string(),
            to: address.to_string(),
            call_id: known.call_id.clone(),
            cseq: known.cseq,
            routes: Vec::new(),
            extra: vec![
                ("Contact", contact.to_string()),
                ("Expires", expires.as_secs().to_string()),
            ],
            body: None,
            five_tuple,
            listens_at: Some(registrar),
            account: None,
            sent_by: five_tuple.local,
        };
        let id = self.start(now, request, Purpose::Register(registration), credentials, 0)?;
        let sent = self.client_transactions.get(id).map(|sent| sent.request.five_tuple);
        if let Some((known, sent)) = self.outbound_registrations.get_mut(&registration).zip(sent) {
            known.five_tuple = sent;
        }
        Ok(())
    }

    /// A response to our REGISTER.
    pub(super) fn on_register_response(&mut self, now: Instant, id: u64, registration: u64, response: &Response) {
        if response.status < 200 {
            return;
        }
        if let Some((_, cseq)) = self.retry(now, id, response) {
            if let Some(known) = self.outbound_registrations.get_mut(&registration) {
                known.cseq = cseq;
            }
            return;
        }
        let Some(known) = self.outbound_registrations.get(&registration) else {
            return;
        };
        let status = response.status;
        if status >= 300 {
            return self.events.push_back(SipEvent::RegisterFailed { registration, status });
        }
        let mine = response
            .headers
            .list("Contact")
            .filter_map(|c| c.parse::<NameAddr>().ok());
        let granted = mine
            .filter(|c| c.uri.user_unescaped() == known.contact_user)
            .find_map(|c| c.param("expires").and_then(seconds));
        let granted = granted
            .or_else(|| response.headers.get("Expires").and_then(seconds))
            .map(Duration::from_secs);
        let expires = if known.wanted.is_zero() {
            Duration::ZERO
        } else {
            granted.unwrap_or(known.wanted)
        };
        if known.wanted.is_zero() && known.cseq == response.cseq {
            self.outbound_registrations.remove(&registration);
        }
        self.events.push_back(SipEvent::Registered { registration, expires });
    }
}

/// What a registrar says of itself beside the contacts: the way back that it has noted (RFC 3327 §5.3), and that it keeps several flows of one
/// phone apart (RFC 5626 §6).
fn told(request: &Request) -> Vec<(&'static str, String)> {
    let has = |option: &str| {
        request
            .headers
            .list("Supported")
            .any(|it| it.eq_ignore_ascii_case(option))
    };
    let mut told: Vec<_> = request
        .headers
        .all("Path")
        .map(|path| ("Path", path.to_owned()))
        .collect();
    let is_flow = |contact: &str| {
        let contact = contact.parse::<NameAddr>();
        contact.is_ok_and(|contact| contact.param("reg-id").is_some() && contact.param("+sip.instance").is_some())
    };
    if has("outbound") && request.headers.list("Contact").any(is_flow) {
        told.push(("Require", "outbound".to_owned()));
        told.push(("Flow-Timer", FLOW_TIMER.to_string()));
    }
    told.push(("Supported", SUPPORTED.to_owned()));
    told
}

/// The way to a contact: at its own address if the sender plainly is where it says it is, else where the REGISTER
/// came from, since the Contact then is an address behind a NAT.
fn way_to(request: &Request, contact: &Uri, source: FiveTuple) -> FiveTuple {
    let is_where_it_says = |address: &SocketAddr| {
        request.via.names(source.remote) && address.ip() == source.remote.ip() && address.port() != 0
    };
    // A phone on a stream is at the other end of it: nobody can connect to the port that it comes from.
    let own = contact.socket_addr().filter(|_| !source.protocol.is_reliable());
    own.filter(is_where_it_says)
        .map_or(source, |address| source.with_remote(address))
}

/// Seconds of `Expires`; too many digits mean very long, RFC 4475 §3.1.2.4.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let text = text.trim_matches(crate::sip::message::LWS);
    let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse::<u32>().unwrap_or(u32::MAX).into())
}

/// As much of a `User-Agent` as is kept.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(MAX_USER_AGENT).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

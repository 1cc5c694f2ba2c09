//! Which message belongs where: broken ones, retransmissions, ACK and CANCEL, within a dialog, or new.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tracing::trace;

use super::strangers::is_in_proportion;
use super::{ALLOW, Endpoint, NO_REFER_SUB, SUPPORTED, TIMER};
use crate::net::{FiveTuple, Protocol, Receive};
use crate::sip::keep_alive;
use crate::sip::message::{Headers, Malformed, Message, Method, Request, Response, Scheme, Via};
use crate::sip::package::ALLOW_EVENTS;
use crate::sip::response::Head;
use crate::sip::timers::{Owner, TimerHandle};
use crate::sip::transaction::{ClientMachine, Purpose, ResponseAction, ServerKey, ServerMachine};

/// Longest message that is looked at; a whole INVITE through ten proxies takes a quarter of it.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// Bytes that may be kept of a request: all that responses copy. A proxy adds some 200.
const MAX_KEPT: usize = 8 * 1024;

impl Endpoint {
    pub(super) fn receive(&mut self, now: Instant, input: Receive<'_>) {
        if input.payload.len() > MAX_MESSAGE {
            return trace!(source = %input.five_tuple.remote, "a message that is too large");
        }
        if input.five_tuple.protocol == Protocol::Udp && keep_alive::is_stun(input.payload) {
            return self.keep_alive(now, input);
        }
        self.connections.opened(input.five_tuple);
        match Message::parse(input.payload) {
            Ok(Message::Request(request)) if has_no_end(&request, input) => {
                let head = Head::of(&request, input);
                self.respond_stateless(now, &head, 400, Some("Missing Content-Length"), Vec::new());
            }
            Ok(Message::Request(request)) => self.on_request(now, &request, input),
            Ok(Message::Response(response)) => self.on_response(now, &response, input.five_tuple),
            Err(Malformed::Silence) => trace!(source = %input.five_tuple.remote, "not a SIP message"),
            Err(Malformed::Refuse {
                status,
                reason,
                headers,
            }) => {
                if let Some(head) = Head::of_broken(&headers, input) {
                    self.respond_stateless(now, &head, status, reason, Vec::new());
                }
            }
        }
    }

    /// A phone wants to know whether its NAT still sends us to it.
    fn keep_alive(&mut self, now: Instant, input: Receive<'_>) {
        let source = input.five_tuple.remote;
        let is_stranger = !self
            .registrar
            .is_registered_at((input.five_tuple.peer(), source), false, None);
        if is_stranger && !self.strangers.may_respond(now, source.ip()) {
            return trace!(%source, "too many responses to this source");
        }
        let answer = keep_alive::answer(input.payload, source);
        if let Some(answer) = answer.filter(|answer| is_in_proportion(input.payload.len(), answer.len(), 1)) {
            self.transmit(input.five_tuple, answer);
        }
    }

    fn on_request(&mut self, now: Instant, request: &Request, input: Receive<'_>) {
        if let Some(id) = self.server_transactions.find(&ServerKey::of(request))
            && !self.on_retransmission(now, id, request.method, input.five_tuple)
        {
            return;
        }
        if request.method == Method::Ack {
            return self.on_ack(now, request, input.five_tuple);
        }
        let mut head = Head::of(request, input);
        head.origin = self.origin_of(&request.headers, input.five_tuple);
        if head.size() > MAX_KEPT {
            return self.respond_stateless(now, &head, 513, None, Vec::new());
        }
        let is_in_dialog = request.to.tag().is_some();
        match request.method {
            Method::Cancel => self.on_cancel(now, request, &head),
            _ if is_in_dialog && !matches!(request.method, Method::Register | Method::Subscribe) => {
                self.on_in_dialog(now, request, head);
            }
            _ if self
                .retired
                .contains(&(input.five_tuple.protocol, input.five_tuple.local)) =>
            {
                trace!(local = %input.five_tuple.local, "nothing new is taken here");
            }
            _ if self.is_refused(now, request, &head) => {}
            Method::Register => self.on_register(now, request, head),
            Method::Invite => self.on_invite(now, request, head),
            Method::Subscribe => self.on_subscribe(now, request, head),
            // A sign of life for everybody.
            Method::Options => self.respond_stateless(now, &head, 200, None, abilities()),
            Method::Bye | Method::Info | Method::Update => self.respond_stateless(now, &head, 481, None, Vec::new()),
            Method::Refer => self.respond_stateless(now, &head, 403, Some("Only Within A Call"), Vec::new()),
            Method::Ack | Method::Notify | Method::NotAllowed | Method::Unknown => {}
        }
    }

    /// Where a request began that came from this address.
    pub(super) fn origin_of(&self, headers: &Headers, source: FiveTuple) -> SocketAddr {
        // A proxy of SIP does not come over a WebSocket.
        Via::origin(headers, source.remote, |ip| {
            !source.protocol.is_websocket() && self.is_proxy(ip)
        })
    }

    /// Whether this is a proxy whose Via is believed.
    pub(super) fn is_proxy(&self, ip: IpAddr) -> bool {
        self.config.trusted_proxies.iter().any(|network| network.contains(&ip))
    }

    /// Takes a request of a transaction that exists; `true`: it is an ACK that belongs to a dialog.
    ///
    /// A branch can be seen on the way: from elsewhere nothing is sent again, or a stranger would have us flood the first.
    fn on_retransmission(&mut self, now: Instant, id: u64, method: Method, source: FiveTuple) -> bool {
        let Some(transaction) = self.server_transactions.get_mut(id) else {
            return false;
        };
        if transaction.head.five_tuple.peer() != source.peer() {
            return method == Method::Ack;
        }
        let mut timers = TimerHandle {
            timers: &mut self.timers,
            owner: Owner::Server(id),
            now,
        };
        let retransmit = match &mut transaction.machine {
            ServerMachine::Invite(machine) if method == Method::Ack => return !machine.on_ack(&mut timers),
            ServerMachine::Invite(machine) => machine.on_retransmission(),
            ServerMachine::Other(machine) => machine.on_retransmission(),
        };
        let response_to = transaction.head.response_to;
        if let Some(wire) = transaction.last.clone().filter(|_| retransmit) {
            self.transmit(response_to, wire);
        }
        false
    }

    /// Refuses what no endpoint of our kind could take. RFC 3261 §8.2.
    pub(super) fn is_refused(&mut self, now: Instant, request: &Request, head: &Head) -> bool {
        let hops_left = request.headers.get("Max-Forwards") != Some("0");
        let known = match request.method {
            Method::Register => SUPPORTED,
            Method::Invite | Method::Update => TIMER,
            Method::Refer => NO_REFER_SUB,
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Info
            | Method::Subscribe
            | Method::Notify
            | Method::NotAllowed
            | Method::Unknown => "",
        };
        let understood = |wanted: &str| known.split(", ").any(|ours| ours.eq_ignore_ascii_case(wanted));
        let required = |name| {
            request
                .headers
                .list(name)
                .filter(|wanted| !understood(wanted))
                .map(str::to_owned)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let wanted = if request.method == Method::Cancel {
            String::new()
        } else {
            required("Require")
        };
        let scheme_known = matches!(request.uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel);
        let (status, extra) = match request.method {
            Method::Notify | Method::NotAllowed => (405, vec![("Allow", ALLOW.to_owned())]),
            Method::Unknown => (501, vec![("Allow", ALLOW.to_owned())]),
            _ if !scheme_known => (416, Vec::new()),
            Method::Invite
            | Method::Bye
            | Method::Register
            | Method::Info
            | Method::Update
            | Method::Refer
            | Method::Subscribe
                if !hops_left =>
            {
                (483, Vec::new())
            }
            _ if !wanted.is_empty() => (420, vec![("Unsupported", wanted)]),
            Method::Invite
            | Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Register
            | Method::Info
            | Method::Refer
            | Method::Subscribe
            | Method::Update => return false,
        };
        self.respond_stateless(now, head, status, None, extra);
        true
    }

    fn on_response(&mut self, now: Instant, response: &Response, five_tuple: FiveTuple) {
        let Some(id) = response
            .via
            .branch()
            .and_then(|b| self.client_transactions.find(b, response.method))
        else {
            return trace!(status = response.status, "response to nothing of ours");
        };
        let Some(transaction) = self.client_transactions.get_mut(id) else {
            return;
        };
        if transaction.request.cseq != response.cseq {
            return;
        }
        // It comes from where the request went (RFC 3581 §4): a branch can be seen on the way, and proves nothing.
        let dialog = match transaction.purpose {
            Purpose::Invite(key)
            | Purpose::Bye(key)
            | Purpose::InDialog(key)
            | Purpose::Probe(key)
            | Purpose::Show(key)
            | Purpose::Notify(key)
            | Purpose::Refresh(key)
            | Purpose::Reinvite(key) => self.dialogs.get(key),
            Purpose::Subscription(key) => self.subscriptions.dialog(key),
            Purpose::Abandoned | Purpose::Cancel | Purpose::StrayBye | Purpose::Register(_) | Purpose::Options(_) => {
                None
            }
        };
        let asked = dialog.and_then(|dialog| dialog.account.as_deref());
        let request = transaction.request.five_tuple;
        let is_to_phone = transaction.is_to_phone || self.registrar.reaches(request.peer(), None);
        let may_be_elsewhere =
            !is_to_phone || asked.is_some_and(|user| self.registrar.is_registered_from(five_tuple.peer(), user));
        if !is_from(request, five_tuple, may_be_elsewhere) {
            return trace!(source = %five_tuple.remote, status = response.status, "a stranger's response");
        }
        let mut timers = TimerHandle {
            timers: &mut self.timers,
            owner: Owner::Client(id),
            now,
        };
        let ResponseAction { report, acknowledge } = match &mut transaction.machine {
            ClientMachine::Invite(machine) => machine.on_response(response.status, &mut timers),
            ClientMachine::Other(machine) => machine.on_response(response.status, &mut timers),
        };
        let purpose = transaction.purpose;
        if acknowledge {
            let to = response.headers.get("To").unwrap_or_default();
            let ack = transaction.request.sibling(Method::Ack, to, Vec::new());
            let wire = ack.write(&transaction.branch, &self.config.user_agent);
            self.transmit(ack.five_tuple, wire);
        }
        if !report {
            return;
        }
        match purpose {
            Purpose::Invite(key) => self.on_invite_response(now, id, key, response),
            Purpose::Bye(key) => self.on_bye_response(now, id, key, response),
            Purpose::InDialog(key) | Purpose::Probe(key) => self.on_in_dialog_response(now, key, response.status),
            Purpose::Show(key) => self.on_show_response(now, key, response),
            Purpose::Refresh(key) => self.on_refresh_response(now, id, key, response),
            Purpose::Reinvite(key) => self.on_reinvite_response(now, id, key, response),
            Purpose::Register(registration) => self.on_register_response(now, id, registration, response),
            Purpose::Options(probe) => self.on_options_response(probe, response),
            Purpose::Abandoned => self.on_abandoned_response(now, id, response),
            Purpose::Subscription(key) => self.on_notify_response(key, response.status),
            Purpose::Notify(_) => _ = self.retry(now, id, response),
            Purpose::Cancel | Purpose::StrayBye => {}
        }
    }
}

/// Whether nobody knows where a request over a stream ends, RFC 3261 §20.14.
fn has_no_end(request: &Request, input: Receive<'_>) -> bool {
    input.five_tuple.protocol.is_stream() && request.headers.get("Content-Length").is_none()
}

/// Whether a response came from where its request went: over the same connection, and from just there, or, where it `may_be_elsewhere`,
/// from the same host, for not everybody sends from where it listens. A phone does, or has registered from there.
fn is_from(request: FiveTuple, response: FiveTuple, may_be_elsewhere: bool) -> bool {
    let [wanted, source] = [request, response].map(|way| way.remote.ip().to_canonical());
    wanted == source
        && request.protocol == response.protocol
        && request.connection == response.connection
        && (may_be_elsewhere || request.remote == response.remote)
}

/// What a response to OPTIONS tells.
pub(super) fn abilities() -> Vec<(&'static str, String)> {
    vec![
        ("Allow", ALLOW.to_owned()),
        ("Accept", "application/sdp".to_owned()),
        ("Supported", TIMER.to_owned()),
        ("Allow-Events", ALLOW_EVENTS.to_owned()),
    ]
}

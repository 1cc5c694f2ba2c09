//! Sending: tags, branches, Contacts, responses through a transaction or stateless, requests of ours.

use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tracing::trace;

use super::Endpoint;
use super::strangers::is_in_proportion;
use crate::net::{FiveTuple, Transmit};
use crate::sip::auth::Credentials;
use crate::sip::message::{MAGIC_COOKIE, Method, NameAddr, Request, Uri};
use crate::sip::outgoing::Outgoing;
use crate::sip::response::{Head, OutgoingResponse};
use crate::sip::timers::{Owner, PROBE_TIMEOUT, Timer, TimerHandle};
use crate::sip::transaction::{
    Client, ClientMachine, ClientTransaction, Holder, InviteClient, InviteServer, Purpose, Server, ServerKey,
    ServerMachine, ServerTransaction,
};
use crate::sip::{DialogKey, SipError};

impl Endpoint {
    /// Random text for a tag, a Call-ID or a branch; begins with the instance.
    pub(super) fn token(&mut self) -> String {
        let mut bytes = [0; 12];
        self.rng.fill_bytes(&mut bytes);
        format!("{}-{}", self.config.instance, hex(&bytes))
    }

    fn branch(&mut self) -> String {
        format!("{MAGIC_COOKIE}{}", self.token())
    }

    /// Our Contact in a dialog. Without a display name: SIPp takes the whole field for the request URI then.
    pub(super) fn contact_in(&self, key: DialogKey, way: FiveTuple) -> String {
        let account = self.dialogs.get(key).and_then(|dialog| dialog.account.as_deref());
        self.contact(key, way, account)
    }

    /// The same for a dialog that is only beginning, with this account.
    pub(super) fn contact(&self, key: DialogKey, way: FiveTuple, account: Option<&str>) -> String {
        let user = format!("{}-{}", self.config.instance, key.0);
        let uri = Uri::sip(&user, self.shown(way, account)).over(way.protocol);
        NameAddr::new(None, uri).to_string()
    }

    pub(super) fn transmit(&mut self, five_tuple: FiveTuple, payload: Vec<u8>) {
        self.transmits.push_back(Transmit { five_tuple, payload });
    }

    /// A stateless response: a retransmission of the request gets the same one. RFC 3261 §8.2.7.
    ///
    /// Sources that are not registered get so many a second, and none that is out of proportion to the request.
    pub(super) fn respond_stateless(
        &mut self,
        now: Instant,
        head: &Head,
        status: u16,
        reason: Option<&str>,
        extra: Vec<(&'static str, String)>,
    ) {
        // Behind a proxy that is trusted each source counts for itself, and so does a phone that is registered there.
        let is_proxy = self.is_proxy(head.five_tuple.remote.ip());
        let source = (head.five_tuple.peer(), head.origin);
        // Where a REGISTER has come from: a Contact may name any port of its host.
        let is_stranger = !self.registrar.is_registered_at(source, is_proxy, None);
        // Who has a connection has read what we sent: nobody else can be flooded by it, and it waits for its answer.
        let may_be_forged = is_stranger && !head.five_tuple.protocol.is_reliable();
        if may_be_forged && !self.strangers.may_respond(now, head.origin.ip()) {
            return trace!(source = %head.origin, status, "too many responses to this source");
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.tag_key).expect("HMAC takes keys of any length");
        mac.update(head.fingerprint().as_bytes());
        let tag = format!("{}-{}", self.config.instance, hex(&mac.finalize().into_bytes()[..4]));
        let challenges = extra.iter().filter(|(name, _)| *name == "WWW-Authenticate").count();
        let response = OutgoingResponse {
            status,
            reason,
            tag: &tag,
            extra,
            body: None,
        };
        let server = (!is_stranger).then_some(self.config.user_agent.as_str());
        let wire = head.write(&response, server);
        if may_be_forged && !is_in_proportion(head.length, wire.len(), challenges) {
            return trace!(source = %head.five_tuple.remote, status, "a response out of proportion to its request");
        }
        self.transmit(head.response_to, wire);
    }

    /// Makes the server transaction of a request, which absorbs its retransmissions.
    pub(super) fn create_server_transaction(
        &mut self,
        request: &Request,
        head: Head,
        holder: Holder,
        dialog: Option<DialogKey>,
    ) -> u64 {
        self.last_transaction += 1;
        let is_reliable = head.five_tuple.protocol.is_reliable();
        let machine = match request.method {
            Method::Invite => ServerMachine::Invite(InviteServer::new(is_reliable)),
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Register
            | Method::Info
            | Method::Update
            | Method::Refer
            | Method::Subscribe
            | Method::Notify
            | Method::NotAllowed
            | Method::Unknown => ServerMachine::Other(Server::new(is_reliable)),
        };
        let key = ServerKey::of(request);
        let transaction = ServerTransaction {
            machine,
            key,
            head,
            holder,
            dialog,
            last: None,
        };
        self.server_transactions.insert(self.last_transaction, transaction);
        self.last_transaction
    }

    /// Sends a response through its transaction; gives the bytes, or `None` after a final response.
    pub(super) fn respond_with(&mut self, now: Instant, id: u64, response: &OutgoingResponse<'_>) -> Option<Vec<u8>> {
        let transaction = self.server_transactions.get_mut(id)?;
        let wire = transaction.head.write(response, Some(&self.config.user_agent));
        let mut timers = TimerHandle {
            timers: &mut self.timers,
            owner: Owner::Server(id),
            now,
        };
        let sends = match &mut transaction.machine {
            ServerMachine::Invite(machine) => machine.on_response(response.status, &mut timers),
            ServerMachine::Other(machine) => machine.on_response(&mut timers),
        };
        if !sends {
            return None;
        }
        let response_to = transaction.head.response_to;
        let listens_at = transaction.head.listens_at;
        let response_to = self.way_in_dialog(response_to);
        // RFC 3261 §18.2.2: if the connection is gone, to where the sender listens.
        let response_to = self.connections.way(response_to, listens_at);
        self.server_transactions.keep_response(id, wire.clone());
        self.transmit(response_to, wire.clone());
        Some(wire)
    }

    /// Sends a response that is its status alone.
    pub(super) fn respond(&mut self, now: Instant, id: u64, status: u16, tag: &str) {
        self.respond_extra(now, id, (status, None), tag, Vec::new());
    }

    /// Sends a response without a body.
    pub(super) fn respond_extra(
        &mut self,
        now: Instant,
        id: u64,
        (status, reason): (u16, Option<&str>),
        tag: &str,
        extra: Vec<(&'static str, String)>,
    ) {
        let response = OutgoingResponse {
            status,
            reason,
            tag,
            extra,
            body: None,
        };
        self.respond_with(now, id, &response);
    }

    /// Writes on a request where it leaves from and where we say that we are.
    fn address(&mut self, request: &mut Outgoing) {
        let way = self.way_in_dialog(request.five_tuple);
        // A phone whose connection is gone may have come back, and registered over another.
        let back = request.account.as_deref().filter(|_| !self.connections.leads(way));
        let back = back.and_then(|user| self.registrar.way_of(user, &request.uri));
        let way = back.filter(|back| self.connections.leads(*back)).unwrap_or(way);
        request.five_tuple = self.connections.way(way, request.listens_at);
        request.sent_by = self.shown(request.five_tuple, request.account.as_deref());
    }

    /// Sends a request of ours and sees it through.
    pub(super) fn start(
        &mut self,
        now: Instant,
        mut request: Outgoing,
        purpose: Purpose,
        credentials: Option<Credentials>,
        tries: u8,
    ) -> Result<u64, SipError> {
        if self.client_transactions.is_full(&self.config.limits) {
            return Err(SipError::TooMany("requests"));
        }
        self.address(&mut request);
        let branch = self.branch();
        let id = self.start_on(now, request, branch, purpose);
        if let Some(transaction) = self.client_transactions.get_mut(id) {
            (transaction.credentials, transaction.tries) = (credentials, tries);
        }
        Ok(id)
    }

    /// As [`Self::start`] on a branch that exists, and always: a CANCEL has that of its INVITE.
    pub(super) fn start_on(&mut self, now: Instant, request: Outgoing, branch: String, purpose: Purpose) -> u64 {
        self.last_transaction += 1;
        let id = self.last_transaction;
        let mut timers = TimerHandle {
            timers: &mut self.timers,
            owner: Owner::Client(id),
            now,
        };
        let is_reliable = request.five_tuple.protocol.is_reliable();
        let machine = if request.method == Method::Invite {
            ClientMachine::Invite(InviteClient::new(is_reliable, &mut timers))
        } else {
            ClientMachine::Other(Client::new(is_reliable, &mut timers))
        };
        if let Purpose::Probe(_) | Purpose::Options(_) = purpose {
            timers.set(Timer::F, PROBE_TIMEOUT);
        }
        if !self.connections.leads(request.five_tuple) {
            timers.set(Timer::Unreachable, Duration::ZERO);
        }
        let is_to_phone = self.registrar.reaches(request.five_tuple.peer(), None);
        let wire = request.write(&branch, &self.config.user_agent);
        self.transmit(request.five_tuple, wire.clone());
        self.client_transactions.insert(
            id,
            ClientTransaction {
                machine,
                branch,
                request,
                wire,
                purpose,
                credentials: None,
                tries: 0,
                is_to_phone,
                acks: Vec::new(),
                cancel: None,
                cancel_sent: false,
            },
        );
        id
    }

    /// Sends a request that has no transaction: an ACK to a 2xx. Gives what was sent, for retransmission.
    pub(super) fn send_once(&mut self, mut request: Outgoing) -> (Vec<u8>, FiveTuple) {
        self.address(&mut request);
        let branch = self.branch();
        let wire = request.write(&branch, &self.config.user_agent);
        self.transmit(request.five_tuple, wire.clone());
        (wire, request.five_tuple)
    }

    /// There is no way for this request, or for its response.
    pub(super) fn unreachable(&mut self, now: Instant, id: u64) {
        self.timers.set(now, Owner::Client(id), Timer::Unreachable);
    }

    /// Forgets a request of ours.
    pub(super) fn drop_client(&mut self, id: u64) -> Option<ClientTransaction> {
        self.timers.clear_all(Owner::Client(id));
        self.client_transactions.remove(id)
    }

    /// Forgets a dialog.
    pub(super) fn drop_dialog(&mut self, key: DialogKey) {
        self.timers.clear_all(Owner::Dialog(key));
        self.dialogs.remove(key);
    }
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

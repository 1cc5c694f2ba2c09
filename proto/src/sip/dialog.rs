//! Dialogs, RFC 3261 §12: what both ends of a call agree on. States, sequence numbers, routes; sends nothing itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::DialogKey;
use super::auth::Credentials;
use super::command::Reason;
use super::endpoint::{Asked, Refer, SessionTimer};
use super::message::{Headers, Method, NameAddr, Request, Response, Uri};
use super::outgoing::Outgoing;
use crate::net::{FiveTuple, is_destination};

/// Where a dialog stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) enum State {
    /// As callee: no final response given.
    Proceeding,
    /// As callee: 2xx sent, no ACK yet.
    Accepted,
    /// As caller: no final response received.
    Calling,
    /// As caller: the TU hung up, no final response received.
    Cancelling,
    /// As caller: 2xx received, our ACK waits for the SDP answer.
    AwaitingAnswer,
    /// Both ends know.
    Confirmed,
    /// Our BYE is on its way.
    Ending,
}

impl State {
    /// For errors.
    pub(in crate::sip) fn name(self) -> &'static str {
        match self {
            Self::Proceeding => "Proceeding",
            Self::Accepted => "Accepted",
            Self::Calling => "Calling",
            Self::Cancelling => "Cancelling",
            Self::AwaitingAnswer => "AwaitingAnswer",
            Self::Confirmed => "Confirmed",
            Self::Ending => "Ending",
        }
    }
}

/// A 2xx of ours that is retransmitted until its ACK comes.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Unacknowledged {
    pub(in crate::sip) wire: Vec<u8>,
    pub(in crate::sip) to: FiveTuple,
    pub(in crate::sip) interval: Duration,
    /// CSeq number of the INVITE: the ACK has the same.
    pub(in crate::sip) cseq: u32,
    /// It holds our offer: the ACK brings the answer.
    pub(in crate::sip) is_offer: bool,
}

/// One dialog.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Dialog {
    pub(in crate::sip) key: DialogKey,
    pub(in crate::sip) state: State,
    pub(in crate::sip) call_id: String,
    pub(in crate::sip) local_tag: String,
    pub(in crate::sip) remote_tag: Option<String>,
    /// Our address, without tag.
    pub(in crate::sip) local: NameAddr,
    /// The peer's address, without tag.
    pub(in crate::sip) remote: NameAddr,
    pub(in crate::sip) local_cseq: u32,
    pub(in crate::sip) remote_cseq: Option<u32>,
    /// The peer's Contact.
    pub(in crate::sip) target: Uri,
    /// Proxies between, nearest first.
    pub(in crate::sip) routes: Vec<NameAddr>,
    /// The way the peer's last trusted request came, or our INVITE went.
    pub(in crate::sip) peer: FiveTuple,
    /// Where it is, below proxies that are trusted.
    pub(in crate::sip) origin: SocketAddr,
    /// The account of ours that the peer is; from elsewhere it must log in as this.
    pub(in crate::sip) account: Option<String>,
    /// The trunk that the peer is; from its addresses it is heard.
    pub(in crate::sip) trunk: Option<String>,
    /// As caller: where the INVITE goes next, if this peer is silent.
    pub(in crate::sip) alternates: Vec<(String, FiveTuple)>,
    /// The peer is a registered phone: it is reached where it was last heard from, whatever its Contact says.
    pub(in crate::sip) is_registered: bool,
    /// The INVITE without a final response: our transaction (caller) or the peer's (callee, re-INVITE).
    pub(in crate::sip) invite: Option<u64>,
    /// As caller: CSeq number of the INVITE, for the ACK.
    pub(in crate::sip) invite_cseq: u32,
    /// As caller: the INVITE held the offer.
    pub(in crate::sip) offered: bool,
    /// The peer takes UPDATE.
    pub(in crate::sip) allows_update: bool,
    /// Our re-INVITE without a final response.
    pub(in crate::sip) reinvite: Option<u64>,
    /// As callee: what the INVITE that is open asks of the session's timer.
    pub(in crate::sip) asked: Option<Asked>,
    /// What was agreed.
    pub(in crate::sip) session: Option<SessionTimer>,
    pub(in crate::sip) unacknowledged: Option<Unacknowledged>,
    /// A transfer that the peer has asked for and that is not decided.
    pub(in crate::sip) refer: Option<Refer>,
    /// It has asked for one before.
    pub(in crate::sip) was_referred: bool,
    /// The TU hung up before the ACK came: BYE follows it.
    pub(in crate::sip) hangup: Option<Option<Reason>>,
    pub(in crate::sip) credentials: Option<Credentials>,
}

impl Dialog {
    /// A dialog of which no more is known than who talks with whom.
    pub(in crate::sip) fn new(
        key: DialogKey,
        state: State,
        (call_id, local_tag): (String, String),
        (local, remote): (NameAddr, NameAddr),
        target: Uri,
        (peer, origin): (FiveTuple, SocketAddr),
    ) -> Self {
        Self {
            key,
            state,
            call_id,
            local_tag,
            remote_tag: None,
            local,
            remote,
            local_cseq: 0,
            remote_cseq: None,
            target,
            routes: Vec::new(),
            peer,
            origin,
            account: None,
            trunk: None,
            alternates: Vec::new(),
            is_registered: false,
            invite: None,
            invite_cseq: 0,
            offered: false,
            allows_update: false,
            reinvite: None,
            asked: None,
            session: None,
            unacknowledged: None,
            refer: None,
            was_referred: false,
            hangup: None,
            credentials: None,
        }
    }

    /// A dialog that a request of a peer begins. RFC 3261 §12.1.1.
    pub(in crate::sip) fn incoming(
        (key, local_tag): (DialogKey, String),
        request: &Request,
        target: Uri,
        (peer, origin): (FiveTuple, SocketAddr),
        account: Option<String>,
    ) -> Self {
        let names = (request.call_id.clone(), local_tag);
        let ends = (request.to.clone(), request.from.clone());
        Self {
            remote_tag: request.from.tag().map(str::to_owned),
            remote_cseq: Some(request.cseq),
            routes: routes_of(&request.headers, peer),
            account,
            ..Self::new(key, State::Proceeding, names, ends, target, (peer, origin))
        }
    }

    /// Whether a request within a dialog is this dialog's.
    pub(in crate::sip) fn owns(&self, request: &Request) -> bool {
        self.call_id == request.call_id
            && match (&self.remote_tag, request.from.tag()) {
                (Some(ours), Some(theirs)) => ours == theirs,
                (None, _) => true,
                (Some(_), None) => false,
            }
    }

    /// Whether it is over with a BYE of the peer; else it waits for a response.
    pub(in crate::sip) fn ends_with_bye(&self) -> bool {
        match self.state {
            State::Calling | State::Cancelling | State::Ending => false,
            State::Proceeding | State::Accepted | State::AwaitingAnswer | State::Confirmed => true,
        }
    }

    /// Whether an offer of ours may go: none is open, of either side.
    pub(in crate::sip) fn may_offer(&self) -> bool {
        let is_open = self.invite.is_some() || self.reinvite.is_some() || self.unacknowledged.is_some();
        self.state == State::Confirmed && !is_open
    }

    /// Takes a trusted request of the peer into account: its number, its Contact, its address. `false`: it comes too late.
    ///
    /// RFC 3261 §12.2.2.
    pub(in crate::sip) fn on_request(&mut self, request: &Request, source: FiveTuple) -> bool {
        if self.remote_cseq.is_some_and(|last| request.cseq <= last) {
            return false;
        }
        self.remote_cseq = Some(request.cseq);
        self.peer = source;
        let refreshes = matches!(request.method, Method::Invite | Method::Update);
        if let Some(contact) = contact_of(&request.headers).filter(|_| refreshes) {
            self.target = contact;
        }
        true
    }

    /// Takes a response to our INVITE into account: tag, Contact, routes. RFC 3261 §12.1.2.
    pub(in crate::sip) fn on_response(&mut self, response: &Response) {
        self.remote_tag = response.to.tag().map(str::to_owned).or_else(|| self.remote_tag.take());
        if let Some(contact) = contact_of(&response.headers) {
            self.target = contact;
        }
        self.routes = routes_of(&response.headers, self.peer);
        self.routes.reverse();
    }

    /// Takes a 2xx to our re-INVITE into account: its Contact. RFC 3261 §12.2.1.2.
    pub(in crate::sip) fn on_reinvited(&mut self, response: &Response) {
        if let Some(contact) = contact_of(&response.headers) {
            self.target = contact;
        }
    }

    /// A request of ours within the dialog. RFC 3261 §12.2.1.1.
    pub(in crate::sip) fn request(&mut self, method: Method, extra: Vec<(&'static str, String)>) -> Outgoing {
        let cseq = if method == Method::Ack {
            self.invite_cseq
        } else {
            self.local_cseq += 1;
            self.local_cseq
        };
        let hop = self.hop();
        Outgoing {
            method,
            uri: self.target.to_string(),
            from: self.local.clone().with_tag(Some(&self.local_tag)).to_string(),
            to: self.remote.clone().with_tag(self.remote_tag.as_deref()).to_string(),
            call_id: self.call_id.clone(),
            cseq,
            routes: self.routes.iter().map(NameAddr::to_string).collect(),
            extra,
            body: None,
            five_tuple: self.peer.with_remote(self.next_hop(hop)),
            // Whoever calls us names the hop: we connect to nobody else for it. A trunk's places are the operator's.
            listens_at: hop.filter(|hop| self.trunk.is_some() || hop.ip() == self.peer.remote.ip()),
            account: self.account.clone(),
            sent_by: self.peer.local,
        }
    }

    /// Where requests go: the phone's last address, else the first proxy or the Contact, else where the peer was heard from.
    fn next_hop(&self, hop: Option<SocketAddr>) -> SocketAddr {
        // A connection leads to whoever is at its other end.
        let is_at_hop = self.peer.connection.is_none() && !self.is_registered;
        hop.filter(|_| is_at_hop).unwrap_or(self.peer.remote)
    }

    /// The first proxy or the Contact, where that is an address that can be meant.
    fn hop(&self) -> Option<SocketAddr> {
        let hop = self.routes.first().map_or(&self.target, |route| &route.uri);
        let hop = hop.socket_addr().filter(|_| is_hop(hop, self.peer))?;
        let behind_nat = hop.ip() != self.peer.remote.ip() && is_private(hop.ip());
        let fits = hop.is_ipv4() == self.peer.local.is_ipv4() && !(behind_nat && self.routes.is_empty());
        fits.then_some(hop)
    }
}

/// Longest Contact that is kept; phones' are below 200 bytes.
pub(in crate::sip) const MAX_CONTACT: usize = 1024;
/// Bytes of Record-Route that are kept.
const MAX_ROUTES: usize = 4 * 1024;

/// The URI of the first Contact; `None` also if it is too long to be kept.
pub(in crate::sip) fn contact_of(headers: &Headers) -> Option<Uri> {
    let contact = headers.list("Contact").next().filter(|c| c.len() <= MAX_CONTACT)?;
    contact.parse::<NameAddr>().ok().map(|c| c.uri)
}

/// Whether a peer may have us send to this URI: no group, and loopback only if it is there itself.
fn is_hop(uri: &Uri, peer: FiveTuple) -> bool {
    let loopback = peer.remote.ip().to_canonical().is_loopback();
    uri.socket_addr().is_none_or(|hop| is_destination(hop.ip(), loopback))
}

/// The proxies of Record-Route, in the order of the message; unreadable ones are left out, those that are too many, and those at
/// addresses that `peer` may not have us send to.
pub(in crate::sip) fn routes_of(headers: &Headers, peer: FiveTuple) -> Vec<NameAddr> {
    let mut room = MAX_ROUTES;
    headers
        .list("Record-Route")
        .take(32)
        .take_while(|route| {
            let fits = route.len() <= room;
            room = room.saturating_sub(route.len());
            fits
        })
        .filter_map(|r| r.parse().ok())
        .filter(|route: &NameAddr| is_hop(&route.uri, peer))
        .collect()
}

/// Addresses that mean something else on either side of a NAT.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// All dialogs, by key and by our tag.
#[derive(Default)]
pub(in crate::sip) struct Dialogs {
    all: BTreeMap<DialogKey, Dialog>,
    by_tag: BTreeMap<String, DialogKey>,
}

impl Dialogs {
    pub(in crate::sip) fn insert(&mut self, dialog: Dialog) {
        self.by_tag.insert(dialog.local_tag.clone(), dialog.key);
        self.all.insert(dialog.key, dialog);
    }

    pub(in crate::sip) fn remove(&mut self, key: DialogKey) -> Option<Dialog> {
        let dialog = self.all.remove(&key)?;
        self.by_tag.remove(&dialog.local_tag);
        Some(dialog)
    }

    pub(in crate::sip) fn get_mut(&mut self, key: DialogKey) -> Option<&mut Dialog> {
        self.all.get_mut(&key)
    }

    pub(in crate::sip) fn get(&self, key: DialogKey) -> Option<&Dialog> {
        self.all.get(&key)
    }

    /// The dialog a request with a To tag belongs to.
    pub(in crate::sip) fn of(&self, request: &Request) -> Option<DialogKey> {
        let key = self.by_tag.get(request.to.tag()?)?;
        self.all.get(key).filter(|d| d.owns(request)).map(|d| d.key)
    }

    /// The dialog of this Call-ID, with our tag and the peer's.
    pub(in crate::sip) fn named(&self, (call_id, ours, theirs): (&str, &str, &str)) -> Option<&Dialog> {
        let dialog = self.all.get(self.by_tag.get(ours)?)?;
        let is_it = dialog.call_id == call_id && dialog.remote_tag.as_deref() == Some(theirs);
        is_it.then_some(dialog)
    }

    pub(in crate::sip) fn contains(&self, key: DialogKey) -> bool {
        self.all.contains_key(&key)
    }

    pub(in crate::sip) fn len(&self) -> usize {
        self.all.len()
    }

    pub(in crate::sip) fn iter(&self) -> impl Iterator<Item = &Dialog> {
        self.all.values()
    }
}

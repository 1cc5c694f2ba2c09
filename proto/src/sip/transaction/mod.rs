//! Transactions, RFC 3261 §17: four machines that decide, and the tables that know which message belongs to which.

mod client;
mod invite_client;
mod invite_server;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::auth::Credentials;
use super::command::Reason;
use super::message::{MAGIC_COOKIE, Method, Request};
use super::outgoing::Outgoing;
use super::response::Head;
use super::{Caller, DialogKey, Limits};
use crate::net::{ConnectionId, FiveTuple};

pub(in crate::sip) use client::Client;
pub(in crate::sip) use invite_client::InviteClient;
pub(in crate::sip) use invite_server::InviteServer;
pub(in crate::sip) use server::Server;

/// What to do with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) struct ResponseAction {
    /// It is not a retransmission: the transaction user (TU) gets it.
    pub(in crate::sip) report: bool,
    /// It wants an ACK from the transaction.
    pub(in crate::sip) acknowledge: bool,
}

/// What to do when a timer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) enum TimerAction {
    /// It was overtaken.
    Nothing,
    /// Retransmit the last message.
    Retransmit,
    /// No final response came: the TU is told, the transaction is forgotten.
    TimedOut,
    /// Forget the transaction.
    Over,
}

/// What makes two requests the same: RFC 3261 §17.2.3. An ACK belongs to its INVITE.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sip) struct ServerKey {
    /// Of branch and sent-by: whatever a request brings, its key takes as many bytes as any other's.
    hash: [u8; 16],
    method: Method,
}

impl ServerKey {
    /// The transaction a request belongs to; `None` for methods that have none.
    pub(in crate::sip) fn of(request: &Request) -> Self {
        let method = if request.method == Method::Ack {
            Method::Invite
        } else {
            request.method
        };
        Self::with_method(request, method)
    }

    /// The INVITE that a CANCEL means.
    pub(in crate::sip) fn cancelled(request: &Request) -> Self {
        Self::with_method(request, Method::Invite)
    }

    fn with_method(request: &Request, method: Method) -> Self {
        let via = &request.via;
        let branch = match via
            .branch()
            .filter(|b| b.starts_with(MAGIC_COOKIE) && b.len() > MAGIC_COOKIE.len())
        {
            Some(branch) => branch.to_owned(),
            // Before RFC 3261: all that an INVITE, its CANCEL and its ACK have in common.
            None => format!(
                "{} {:?} {} {}",
                request.uri,
                request.from.tag(),
                request.call_id,
                request.cseq
            ),
        };
        let mut digest = Sha256::new_with_prefix(branch.as_bytes());
        digest.update(format!("\n{}:{}", via.host, via.port.unwrap_or(5060)));
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest.finalize()[..16]);
        Self { hash, method }
    }
}

/// A server machine of either kind.
#[derive(Clone, Debug)]
pub(in crate::sip) enum ServerMachine {
    Invite(InviteServer),
    Other(Server),
}

/// A request that came, and our response to it.
#[derive(Clone, Debug)]
pub(in crate::sip) struct ServerTransaction {
    pub(in crate::sip) machine: ServerMachine,
    pub(in crate::sip) key: ServerKey,
    /// What every response copies.
    pub(in crate::sip) head: Head,
    /// Whose share of the table it takes.
    pub(in crate::sip) holder: Holder,
    /// The dialog an INVITE made, or changes.
    pub(in crate::sip) dialog: Option<DialogKey>,
    /// The last response.
    pub(in crate::sip) last: Option<Vec<u8>>,
}

impl Usage {
    fn most(limits: &Limits) -> Self {
        Self {
            transactions: limits.server_transactions,
            bytes: limits.server_bytes,
        }
    }

    fn reaches(self, most: Self, part: impl Fn(usize) -> usize) -> bool {
        self.transactions >= part(most.transactions) || self.bytes >= part(most.bytes)
    }
}

/// Who holds transactions: none may fill the table for the others. Nobody else has any, for a request of a stranger leaves none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sip) enum Holder {
    /// Who calls or has logged in, wherever he comes from: an account, a trunk and a registration of one name are three.
    Caller(Caller),
    /// The peer of a dialog, by requests within it.
    Dialog(DialogKey),
}

impl ServerTransaction {
    /// About how many bytes it holds: the head, what it is found by, its timers, the last response.
    fn size(&self) -> usize {
        size_of::<Self>() + OVERHEAD + 2 * self.head.size() + self.last.as_ref().map_or(0, Vec::len)
    }
}

/// The server side's table.
#[derive(Default)]
pub(in crate::sip) struct Servers {
    all: BTreeMap<u64, ServerTransaction>,
    by_key: BTreeMap<ServerKey, u64>,
    /// INVITEs outside dialogs by From tag, Call-ID and CSeq, to see merged ones (RFC 3261 §8.2.2.2).
    by_origin: BTreeMap<(String, String, u32), u64>,
    total: Usage,
    by_holder: BTreeMap<Holder, Usage>,
}

/// What is held: of all, or of one holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    transactions: usize,
    bytes: usize,
}

/// Nodes of the maps, timers and heap of a transaction, beside what it says itself: measured with 50,000 short requests, and
/// rounded up.
const OVERHEAD: usize = 1_024;

/// The part of the table that one caller may have.
const CALLER_PART: usize = 8;
/// What one dialog may have: four requests a second by UDP, where each takes its place for 32 s.
const DIALOG_SHARE: Usage = Usage {
    transactions: 128,
    bytes: 512 * 1024,
};
/// The part that is kept for requests within dialogs, beyond the limit.
const RESERVE_PART: usize = 4;

impl Servers {
    fn count(&mut self, holder: &Holder, count: impl Fn(&mut Usage)) {
        count(&mut self.total);
        let held = self.by_holder.entry(holder.clone()).or_default();
        count(held);
        if *held == Usage::default() {
            self.by_holder.remove(holder);
        }
    }

    pub(in crate::sip) fn insert(&mut self, id: u64, transaction: ServerTransaction) {
        let size = transaction.size();
        self.count(&transaction.holder, |usage| {
            usage.transactions += 1;
            usage.bytes += size;
        });
        self.by_key.insert(transaction.key.clone(), id);
        if transaction.head.is_initial_invite() {
            self.by_origin.insert(transaction.head.origin(), id);
        }
        self.all.insert(id, transaction);
    }

    pub(in crate::sip) fn remove(&mut self, id: u64) {
        if let Some(transaction) = self.all.remove(&id) {
            let size = transaction.size();
            self.count(&transaction.holder, |usage| {
                usage.transactions -= 1;
                usage.bytes -= size;
            });
            self.by_key.remove(&transaction.key);
            let origin = transaction.head.origin();
            if self.by_origin.get(&origin) == Some(&id) {
                self.by_origin.remove(&origin);
            }
        }
    }

    pub(in crate::sip) fn find(&self, key: &ServerKey) -> Option<u64> {
        self.by_key.get(key).copied()
    }

    /// Whose INVITE with the same tags there is already.
    pub(in crate::sip) fn holder_of_same(&self, request: &Request) -> Option<&Holder> {
        let tag = request.from.tag().unwrap_or_default().to_owned();
        let id = self.by_origin.get(&(tag, request.call_id.clone(), request.cseq))?;
        self.all.get(id).map(|transaction| &transaction.holder)
    }

    pub(in crate::sip) fn get_mut(&mut self, id: u64) -> Option<&mut ServerTransaction> {
        self.all.get_mut(&id)
    }

    pub(in crate::sip) fn get(&self, id: u64) -> Option<&ServerTransaction> {
        self.all.get(&id)
    }

    /// Keeps the response that retransmissions of the request get.
    pub(in crate::sip) fn keep_response(&mut self, id: u64, wire: Vec<u8>) {
        if let Some(transaction) = self.all.get_mut(&id) {
            let before = transaction.size();
            transaction.last = Some(wire);
            let (after, holder) = (transaction.size(), transaction.holder.clone());
            self.count(&holder, |usage| usage.bytes = usage.bytes - before + after);
        }
    }

    /// Whether there is no room for another request, whoever sends it.
    pub(in crate::sip) fn is_full(&self, limits: &Limits, is_in_dialog: bool) -> bool {
        let reserve = |limit: usize| if is_in_dialog { limit / RESERVE_PART } else { 0 };
        self.total.reaches(Usage::most(limits), |limit| limit + reserve(limit))
    }

    /// Whether this holder has what it may have.
    pub(in crate::sip) fn has_its_share(&self, limits: &Limits, holder: &Holder) -> bool {
        let held = self.by_holder.get(holder).copied().unwrap_or_default();
        match holder {
            Holder::Caller(_) => held.reaches(Usage::most(limits), |limit| limit.div_ceil(CALLER_PART)),
            Holder::Dialog(_) => held.reaches(DIALOG_SHARE, |limit| limit),
        }
    }

    /// About how many bytes they hold.
    #[cfg(test)]
    pub(in crate::sip) fn bytes(&self) -> usize {
        self.total.bytes
    }

    pub(in crate::sip) fn len(&self) -> usize {
        self.all.len().max(self.by_key.len()).max(self.by_origin.len())
    }
}

/// A client machine of either kind.
#[derive(Clone, Debug)]
pub(in crate::sip) enum ClientMachine {
    Invite(InviteClient),
    Other(Client),
}

/// What a request of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) enum Purpose {
    /// A call.
    Invite(DialogKey),
    /// A call that goes elsewhere now.
    Abandoned,
    /// To take a call back.
    Cancel,
    /// To end a dialog that the TU still waits for.
    Bye(DialogKey),
    /// To end a dialog nobody waits for.
    StrayBye,
    /// Something within a dialog.
    InDialog(DialogKey),
    /// To learn whether the peer of a dialog is still there.
    Probe(DialogKey),
    /// UPDATE within a dialog: what a phone that takes none of it says changes nothing.
    Show(DialogKey),
    /// To say what has become of a transfer: whoever does not want to hear of it may say so, and talk on.
    Notify(DialogKey),
    /// To tell a subscriber.
    Subscription(DialogKey),
    /// To say that a call goes on, by UPDATE.
    Refresh(DialogKey),
    /// An offer of ours within a dialog.
    Reinvite(DialogKey),
    /// A registration.
    Register(u64),
    /// To learn whether a server is there.
    Options(u64),
}

/// A request of ours, and what became of it.
#[derive(Clone, Debug)]
pub(in crate::sip) struct ClientTransaction {
    pub(in crate::sip) machine: ClientMachine,
    pub(in crate::sip) branch: String,
    pub(in crate::sip) request: Outgoing,
    pub(in crate::sip) wire: Vec<u8>,
    pub(in crate::sip) purpose: Purpose,
    pub(in crate::sip) credentials: Option<Credentials>,
    /// Times it was sent with credentials so far.
    pub(in crate::sip) tries: u8,
    /// A phone was reached there when it was sent: its registration may end before the response.
    pub(in crate::sip) is_to_phone: bool,
    /// ACKs sent to 2xx, by the peer's tag.
    pub(in crate::sip) acks: Vec<(String, Vec<u8>, FiveTuple)>,
    /// A CANCEL was sent, or shall be as soon as something provisional comes.
    pub(in crate::sip) cancel: Option<Option<Reason>>,
    pub(in crate::sip) cancel_sent: bool,
}

/// The client side's table.
#[derive(Default)]
pub(in crate::sip) struct Clients {
    all: BTreeMap<u64, ClientTransaction>,
    by_branch: BTreeMap<(String, Method), u64>,
    /// Those over a connection.
    by_connection: BTreeSet<(ConnectionId, u64)>,
}

impl Clients {
    pub(in crate::sip) fn insert(&mut self, id: u64, transaction: ClientTransaction) {
        self.by_branch
            .insert((transaction.branch.clone(), transaction.request.method), id);
        self.by_connection.extend(
            transaction
                .request
                .five_tuple
                .connection
                .map(|connection| (connection, id)),
        );
        self.all.insert(id, transaction);
    }

    pub(in crate::sip) fn remove(&mut self, id: u64) -> Option<ClientTransaction> {
        let transaction = self.all.remove(&id)?;
        self.by_branch
            .remove(&(transaction.branch.clone(), transaction.request.method));
        if let Some(connection) = transaction.request.five_tuple.connection {
            self.by_connection.remove(&(connection, id));
        }
        Some(transaction)
    }

    /// Those that were sent over this connection.
    pub(in crate::sip) fn over(&self, connection: ConnectionId) -> Vec<u64> {
        let all = self.by_connection.range((connection, 0)..=(connection, u64::MAX));
        all.map(|(_, id)| *id).collect()
    }

    pub(in crate::sip) fn find(&self, branch: &str, method: Method) -> Option<u64> {
        self.by_branch.get(&(branch.to_owned(), method)).copied()
    }

    pub(in crate::sip) fn get_mut(&mut self, id: u64) -> Option<&mut ClientTransaction> {
        self.all.get_mut(&id)
    }

    pub(in crate::sip) fn get(&self, id: u64) -> Option<&ClientTransaction> {
        self.all.get(&id)
    }

    pub(in crate::sip) fn is_full(&self, limits: &Limits) -> bool {
        self.all.len() >= limits.client_transactions
    }

    pub(in crate::sip) fn len(&self) -> usize {
        self.all.len().max(self.by_branch.len()).max(self.by_connection.len())
    }
}

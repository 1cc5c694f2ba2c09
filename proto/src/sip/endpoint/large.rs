//! Requests that do not fit a datagram go over a stream. RFC 3261 §18.1.1.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::net::{FiveTuple, Protocol};
use crate::sip::DialogKey;
use crate::sip::message::MAGIC_COOKIE;
use crate::sip::outgoing::Outgoing;

/// Longest request for a datagram where nobody knows what fits the way.
const MAX_DATAGRAM: usize = 1_300;
/// What the answer to a challenge adds.
const CREDENTIALS: usize = 350;
/// How long a place is known to take datagrams only.
const MEMORY: Duration = Duration::from_secs(3_600);
/// Places remembered at once.
const MAX_PLACES: usize = 1_024;

/// Places that take no connections, each until when that is believed.
#[derive(Default)]
pub(super) struct DatagramsOnly(BTreeMap<SocketAddr, Instant>);

impl DatagramsOnly {
    /// A request that got no answer this way goes on that one: whether a place takes datagrams alone is known by that.
    pub(super) fn note(&mut self, now: Instant, from: FiveTuple, to: FiveTuple) {
        if from.protocol != Protocol::Tcp || to.protocol != Protocol::Udp || from.remote != to.remote {
            return;
        }
        self.0.retain(|_, until| *until > now);
        if self.0.len() < MAX_PLACES {
            self.0.insert(from.remote, now + MEMORY);
        }
    }

    fn has(&self, now: Instant, place: SocketAddr) -> bool {
        self.0.get(&place).is_some_and(|until| *until > now)
    }
}

impl Endpoint {
    /// Whether a request would be cut into fragments on its way, which many a NAT and firewall drops.
    pub(super) fn is_too_long(&self, request: &Outgoing, has_credentials: bool) -> bool {
        if request.five_tuple.protocol.is_reliable() {
            return false;
        }
        let room = if has_credentials { CREDENTIALS } else { 0 };
        request.write(MAGIC_COOKIE, &self.config.user_agent).len() + room > MAX_DATAGRAM
    }

    /// Who has answered over TCP that it is overloaded says the same by UDP: it is not asked once more.
    pub(super) fn forget_same_place(&mut self, invite: u64, key: DialogKey) {
        let Some(answered) = self.client_transactions.get(invite) else {
            return;
        };
        let (uri, way) = (&answered.request.uri, answered.request.five_tuple);
        if let Some(dialog) = self.dialogs.get_mut(key)
            && let Some((next, same)) = dialog.alternates.first()
            && (next, same.remote) == (uri, way.remote)
        {
            dialog.alternates.remove(0);
        }
    }

    /// The same places in the same order, each over TCP before it is tried by UDP: who does not listen there refuses at once.
    pub(super) fn over_streams_first(
        &self,
        now: Instant,
        places: impl Iterator<Item = (String, FiveTuple)>,
    ) -> Vec<(String, FiveTuple)> {
        let both = |(uri, way): (String, FiveTuple)| {
            let stream = self.way_to(Protocol::Tcp, way.remote).filter(|stream| {
                // What is said of where our media is must hold from there too.
                way.protocol == Protocol::Udp
                    && stream.local.ip() == way.local.ip()
                    && !self.datagrams_only.has(now, way.remote)
            });
            let stream = stream.map(|stream| (uri.clone(), stream));
            stream.into_iter().chain([(uri, way)])
        };
        places.flat_map(both).collect()
    }
}

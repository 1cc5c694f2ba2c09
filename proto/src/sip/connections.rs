//! Which connections are open: those that peers have opened to us, and those that we ask for.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::net::{ConnectionId, FiveTuple, Protocol};

/// The connections of an endpoint, as its shell tells of them.
#[derive(Default)]
pub(super) struct Connections {
    open: BTreeMap<ConnectionId, FiveTuple>,
    /// Those that lead to where somebody listens: opened by us.
    to: BTreeMap<(Protocol, SocketAddr), ConnectionId>,
    wanted: VecDeque<FiveTuple>,
    /// How many we have asked for.
    opened: u64,
}

impl Connections {
    /// A peer has opened this one, or it was heard on it.
    pub(super) fn opened(&mut self, way: FiveTuple) {
        if let Some(id) = way.connection {
            self.open.entry(id).or_insert(way);
        }
    }

    /// It is gone.
    pub(super) fn closed(&mut self, id: ConnectionId) {
        if let Some(way) = self.open.remove(&id)
            && self.to.get(&(way.protocol, way.remote)) == Some(&id)
        {
            self.to.remove(&(way.protocol, way.remote));
        }
    }

    /// Whether something that is sent this way can arrive: always, but over a connection that is not open.
    pub(super) fn leads(&self, way: FiveTuple) -> bool {
        !way.protocol.is_reliable() || way.connection.is_some_and(|id| self.open.contains_key(&id))
    }

    /// The way that really leads there: over a stream the connection itself if it is open, else another one to where the peer listens,
    /// which is opened if there is none. A way that leads nowhere if nobody knows where that is, or we cannot connect.
    pub(super) fn way(&mut self, way: FiveTuple, listens_at: Option<SocketAddr>) -> FiveTuple {
        if self.leads(way) {
            return way;
        }
        let remote = match (listens_at, way.connection) {
            (Some(there), _) => there,
            (None, None) => way.remote,
            (None, Some(_)) => return way,
        };
        if !way.protocol.can_connect() || remote.is_ipv4() != way.local.is_ipv4() || remote.port() == 0 {
            return way;
        }
        let key = (way.protocol, remote);
        let connection = match self.to.get(&key) {
            Some(id) => *id,
            None => {
                let id = ConnectionId::opened(self.opened);
                self.opened += 1;
                let new = FiveTuple {
                    remote,
                    connection: Some(id),
                    ..way
                };
                self.open.insert(id, new);
                self.to.insert(key, id);
                self.wanted.push_back(new);
                id
            }
        };
        FiveTuple {
            remote,
            connection: Some(connection),
            ..way
        }
    }

    /// The next one to open.
    pub(super) fn poll_wanted(&mut self) -> Option<FiveTuple> {
        self.wanted.pop_front()
    }

    /// How many are open, or being opened.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len().max(self.to.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(remote: &str, connection: Option<ConnectionId>) -> FiveTuple {
        let way = FiveTuple::new(
            Protocol::Tcp,
            "192.0.2.1:5060".parse().unwrap(),
            remote.parse().unwrap(),
        );
        FiveTuple { connection, ..way }
    }

    #[test]
    fn an_open_one_is_used_then_one_to_where_the_peer_listens_then_none() {
        let mut all = Connections::default();
        let id = ConnectionId::accepted(1);
        let flow = tcp("192.0.2.9:40000", Some(id));
        let listens: SocketAddr = "192.0.2.9:5060".parse().unwrap();
        all.opened(flow);
        assert_eq!(all.way(flow, Some(listens)), flow);
        all.closed(id);
        assert!(!all.leads(all.open.get(&id).copied().unwrap_or(flow)));
        // Behind a NAT nobody can be called back.
        assert_eq!((all.way(flow, None), all.poll_wanted()), (flow, None));
        let back = all.way(flow, Some(listens));
        assert_eq!(back, tcp("192.0.2.9:5060", Some(ConnectionId::opened(0))));
        assert_eq!(all.poll_wanted(), Some(back));
        // And once: the next message takes the same one.
        assert_eq!(all.way(flow, Some(listens)), back);
        assert_eq!(
            (all.way(tcp("192.0.2.9:5060", None), None), all.poll_wanted()),
            (back, None)
        );
        all.closed(ConnectionId::opened(0));
        assert_eq!(all.len(), 0);
        let again = all.way(flow, Some(listens));
        assert_eq!(again.connection, Some(ConnectionId::opened(1)));
    }

    #[test]
    fn no_datagram_needs_one_and_nobody_connects_to_a_browser() {
        let mut all = Connections::default();
        let way = |protocol| FiveTuple {
            protocol,
            ..tcp("192.0.2.9:5060", None)
        };
        assert_eq!(all.way(way(Protocol::Udp), None), way(Protocol::Udp));
        assert_eq!(all.way(way(Protocol::Wss), None), way(Protocol::Wss));
        let other_family = Some("[2001:db8::9]:5060".parse().unwrap());
        assert!(all.way(way(Protocol::Tcp), other_family).connection.is_none());
        assert_eq!((all.poll_wanted(), all.len()), (None, 0));
        assert!(all.way(way(Protocol::Tls), None).connection.is_some());
    }
}

//! Which connections are open: those that peers have opened to us, and those that we ask for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::net::{ConnectionId, FiveTuple, Protocol, ServerId};

/// The connections of an endpoint, as its shell tells of them.
#[derive(Default)]
pub(super) struct Connections {
    open: BTreeMap<ConnectionId, FiveTuple>,
    /// Those that lead to where somebody listens: opened by us.
    to: BTreeMap<(Protocol, SocketAddr, Option<ServerId>), ConnectionId>,
    wanted: VecDeque<FiveTuple>,
    /// How many we have asked for.
    opened: u64,
    /// Over which connections each account has logged in, the latest last, and as whom over each.
    logins: BTreeMap<String, VecDeque<ConnectionId>>,
    users: BTreeMap<ConnectionId, BTreeSet<String>>,
    /// Those that are to be closed.
    released: VecDeque<ConnectionId>,
    /// Those over which we ask now and then whether somebody is there.
    asked: BTreeSet<ConnectionId>,
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
            && self.to.get(&(way.protocol, way.remote, way.server)) == Some(&id)
        {
            self.to.remove(&(way.protocol, way.remote, way.server));
        }
        self.asked.remove(&id);
        for user in self.users.remove(&id).unwrap_or_default() {
            if let Some(logins) = self.logins.get_mut(&user) {
                logins.retain(|other| *other != id);
                if logins.is_empty() {
                    self.logins.remove(&user);
                }
            }
        }
    }

    /// An account has logged in over this one.
    pub(super) fn logged_in(&mut self, id: ConnectionId, user: &str) {
        let logins = self.logins.entry(user.to_owned()).or_default();
        logins.retain(|other| *other != id);
        logins.push_back(id);
        self.users.entry(id).or_default().insert(user.to_owned());
    }

    /// Those over which an account has logged in, the latest last.
    pub(super) fn of(&self, user: &str) -> Vec<FiveTuple> {
        let logins = self.logins.get(user).into_iter().flatten();
        logins.filter_map(|id| self.open.get(id).copied()).collect()
    }

    /// This one is of no more use: it is to be closed.
    pub(super) fn release(&mut self, id: ConnectionId) {
        self.closed(id);
        self.released.push_back(id);
    }

    /// It is asked over this one whether somebody is there: it is to stay.
    pub(super) fn asked(&mut self, way: FiveTuple) {
        self.asked
            .extend(way.connection.filter(|id| self.open.contains_key(id)));
    }

    pub(super) fn is_asked(&self, way: FiveTuple) -> bool {
        way.connection.is_some_and(|id| self.asked.contains(&id))
    }

    /// The next one to close.
    pub(super) fn poll_released(&mut self) -> Option<ConnectionId> {
        self.released.pop_front()
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
        let key = (way.protocol, remote, way.server);
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
    fn two_servers_at_one_address_have_a_connection_each() {
        let mut all = Connections::default();
        let to = |server| FiveTuple {
            protocol: Protocol::Tls,
            server: Some(ServerId(server)),
            ..tcp("192.0.2.9:5061", None)
        };
        let (first, second) = (all.way(to(1), None), all.way(to(2), None));
        assert_ne!(first.connection, second.connection);
        assert_eq!((all.poll_wanted(), all.poll_wanted()), (Some(first), Some(second)));
        assert_eq!(all.way(to(1), None), first);
        all.closed(first.connection.unwrap());
        assert_eq!(all.way(to(2), None), second);
        // What is sent later to where the first one listens goes to that server again.
        let again = all.way(first, Some(first.remote));
        assert_eq!((again.server, again == first), (first.server, false));
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

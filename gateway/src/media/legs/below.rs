//! What legs hear of what is under them: sockets, connections, relays.

use std::net::SocketAddr;

use tracing::{debug, warn};

use super::Legs;
use crate::{
    media::{
        command::Role,
        leg::{MediaIo, Slot},
        lower::{Below, NewRelay},
        paths::{BoundSocket, SocketKey, StreamKey},
        relay::Way,
    },
    plugins::Packet,
};

impl Legs {
    /// A server is looked for, for a leg.
    pub(crate) fn note_asked(&mut self, slot: Slot, way: Way) {
        self.leg(slot).into_iter().for_each(|leg| leg.note_asked(way));
    }

    /// Whether a leg has such a relay.
    pub(crate) fn has_relay(&mut self, slot: Slot, (way, server): (Way, SocketAddr)) -> bool {
        self.leg(slot).is_some_and(|leg| leg.has_relay(way, server))
    }

    /// Gives a leg sockets, and takes others.
    pub(crate) fn rebind(
        &mut self,
        now_ns: u64,
        slot: Slot,
        (added, gone): (&[BoundSocket], &[SocketKey]),
        io: &mut impl MediaIo,
    ) {
        self.serve_leg(now_ns, slot, io, |leg, io| leg.rebind(now_ns, added, gone, io));
    }

    /// Lets a leg use a server, over a socket or a connection that is there.
    pub(crate) fn add_relay(
        &mut self,
        now_ns: u64,
        slot: Slot,
        (name, options, way): (&str, &str, Way),
        (below, local, server): (Below, SocketAddr, SocketAddr),
        io: &mut impl MediaIo,
    ) {
        let Some(table) = self.registry.path(name) else {
            debug!(name, "no plugin has this path");
            return;
        };
        match table.create(Role::Offer, now_ns, options) {
            Ok(machine) => {
                let relay = NewRelay {
                    machine,
                    way,
                    below,
                    local,
                    server,
                };
                self.serve_leg(now_ns, slot, io, |leg, io| leg.add_relay(now_ns, relay, io));
            }
            Err(error) => warn!(name, %error, "no relay for a leg"),
        }
    }

    /// Takes a piece of one of a leg's connections.
    pub(crate) fn receive_stream(
        &mut self,
        now_ns: u64,
        (slot, stream): (Slot, StreamKey),
        piece: &mut Packet,
        io: &mut impl MediaIo,
    ) {
        self.serve_leg(now_ns, slot, io, |leg, io| {
            leg.receive_stream(now_ns, stream, piece, io)
        });
    }

    /// One of a leg's connections has ended.
    pub(crate) fn stream_gone(&mut self, now_ns: u64, (slot, stream): (Slot, StreamKey), io: &mut impl MediaIo) {
        self.serve_leg(now_ns, slot, io, |leg, io| leg.stream_gone(now_ns, stream, io));
    }
}

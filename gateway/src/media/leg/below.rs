//! What is under a leg's session: sockets, connections, relays; and that the way to the peer is looked for anew.

use std::net::SocketAddr;

use super::{MediaIo, MediaLeg, session_fault};
use crate::media::{
    command::MediaFault,
    lower::NewRelay,
    paths::{BoundSocket, SocketKey, StreamKey},
    relay::Way,
};
use crate::plugins::{About, Packet};

impl MediaLeg {
    /// Takes in the sockets that the worker has bound and tells the session of them.
    pub(crate) fn add_sockets(&mut self, now_ns: u64, sockets: &[BoundSocket]) -> Result<(), MediaFault> {
        let lines = self.lower.add_sockets(sockets);
        self.tell_session(now_ns, About::Paths, &lines)
    }

    /// Takes sockets in and forgets others, and tells the session of both.
    pub(crate) fn rebind(
        &mut self,
        now_ns: u64,
        added: &[BoundSocket],
        gone: &[SocketKey],
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let mut lines = self.lower.add_sockets(added);
        lines.push_str(&self.lower.remove_sockets(now_ns, gone, io));
        self.tell_session(now_ns, About::Paths, &lines)?;
        self.drain(now_ns, io)
    }

    /// Whether there is such a relay.
    pub(crate) fn has_relay(&self, way: Way, server: SocketAddr) -> bool {
        self.lower.has_relay(way, server)
    }

    /// A server is looked for.
    pub(crate) fn note_asked(&mut self, way: Way) {
        self.lower.note_asked(way);
    }

    /// Takes in a relay that the session may use.
    pub(crate) fn add_relay(&mut self, now_ns: u64, relay: NewRelay, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        self.lower.add_relay(now_ns, relay);
        self.drain(now_ns, io)
    }

    /// Takes a piece of one of the leg's connections.
    pub(crate) fn receive_stream(
        &mut self,
        now_ns: u64,
        stream: StreamKey,
        piece: &mut Packet,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        self.lower.receive_stream(now_ns, stream, piece);
        self.drain(now_ns, io)
    }

    /// One of the leg's connections has ended.
    pub(crate) fn stream_gone(
        &mut self,
        now_ns: u64,
        stream: StreamKey,
        io: &mut impl MediaIo,
    ) -> Result<(), MediaFault> {
        let lines = self.lower.stream_gone(now_ns, stream, io);
        self.tell_session(now_ns, About::Paths, &lines)?;
        self.drain(now_ns, io)
    }

    /// Has the session look for the way to its peer anew, if it can.
    pub(crate) fn restart(&mut self, now_ns: u64, io: &mut impl MediaIo) -> Result<(), MediaFault> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        match session.tell(now_ns, About::Control, "ice-restart\n") {
            Err(error) if error.is_final() => Err(session_fault(error)),
            // Not every transport knows ICE.
            Ok(()) | Err(_) => self.drain(now_ns, io),
        }
    }
}

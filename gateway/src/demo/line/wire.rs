//! From a line's stream to its sockets.

use quartet_proto::rtp::packet::HEADER;
use quartet_proto::rtp::sender::Sender;

use super::{Session, ns_since};
use crate::plugins::{Outcome, PacketKind};

/// Sends an RTP packet whose header that writes.
pub(super) fn send(session: &mut Session, payload: &[u8], header: impl FnOnce(&mut Sender, &mut [u8]) -> bool) {
    let Some(stream) = &mut session.stream else { return };
    let mut bytes = vec![0; HEADER + payload.len()];
    bytes[HEADER..].copy_from_slice(payload);
    if !header(&mut stream.sender, &mut bytes) || !session.packet.fill(&bytes) {
        return;
    }
    session.packet.kind = Some(PacketKind::Rtp);
    if let Ok(Outcome::Transmit) = session.transport.send(ns_since(session.origin), &mut session.packet) {
        transmit(session);
    }
}

/// Sends the datagram that the session has made.
pub(super) fn transmit(session: &Session) {
    let path = (session.packet.path as usize).checked_sub(1);
    if let Some(socket) = path.and_then(|path| session.sockets.get(path)) {
        socket.send_to(session.packet.bytes(), session.packet.dst).ok();
    }
}

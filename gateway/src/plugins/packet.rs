//! A packet that a transport changes in place: one fixed buffer, made once and used again.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use quartet_plugin::Kind;

/// How wide the guard of a checked packet is, and what is in it.
const RIM: usize = 256;
const RIM_PATTERN: u8 = 0xa5;

const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// A buffer with a packet in it; headroom before and tailroom behind let a transport add to it without a copy.
#[derive(Debug)]
pub struct Packet {
    buffer: Box<[u8]>,
    /// Bytes at both ends of the buffer that belong to no packet: 0, or a guard of the checks.
    rim: usize,
    /// Where packets begin after `clear`.
    origin: usize,
    start: usize,
    len: usize,
    /// Which path the datagram came by or leaves by; for data messages the channel, see [`Packet::channel`].
    pub path: u32,
    /// Where it came from; `0.0.0.0:0` if nobody said.
    pub src: SocketAddr,
    /// Where it goes; `0.0.0.0:0` if nobody said.
    pub dst: SocketAddr,
    /// What it carries; `None` for a datagram from below.
    pub kind: Option<Kind>,
    /// The two ECN bits of the IP header.
    pub ecn: u8,
}

impl Packet {
    /// Makes a buffer of `capacity` bytes; packets begin `headroom` bytes into it.
    #[must_use]
    pub fn new(capacity: usize, headroom: usize) -> Self {
        Self {
            buffer: vec![0; capacity].into_boxed_slice(),
            rim: 0,
            origin: headroom.min(capacity),
            start: headroom.min(capacity),
            len: 0,
            path: 0,
            src: NOWHERE,
            dst: NOWHERE,
            kind: None,
            ecn: 0,
        }
    }

    /// The same with a guard on both sides, for checks of plugins; see [`Packet::rim_untouched`].
    pub(super) fn rimmed(capacity: usize, headroom: usize) -> Self {
        let mut packet = Self::new(capacity + 2 * RIM, headroom.min(capacity));
        packet.buffer.fill(RIM_PATTERN);
        packet.rim = RIM;
        packet
    }

    /// Says whether nobody has written beside the packet's room.
    pub(super) fn rim_untouched(&self) -> bool {
        let behind = self.buffer.len() - self.rim;
        self.buffer[..self.rim]
            .iter()
            .chain(&self.buffer[behind..])
            .all(|byte| *byte == RIM_PATTERN)
    }

    fn room(&self) -> &[u8] {
        &self.buffer[self.rim..self.buffer.len() - self.rim]
    }

    fn room_mut(&mut self) -> &mut [u8] {
        let behind = self.buffer.len() - self.rim;
        &mut self.buffer[self.rim..behind]
    }

    /// Empties the packet: begins at the headroom again, addresses and kind forgotten.
    pub fn clear(&mut self) {
        (self.start, self.len) = (self.origin, 0);
        (self.path, self.src, self.dst, self.kind, self.ecn) = (0, NOWHERE, NOWHERE, None, 0);
    }

    /// Takes these bytes in place of what it held; returns `false` and holds nothing if they do not fit.
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        self.clear();
        let start = self.start;
        let Some(room) = self.room_mut().get_mut(start..start + bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len = bytes.len();
        true
    }

    /// Empties the packet and returns all room behind the headroom, for a socket to receive into; then [`set_len`].
    ///
    /// [`set_len`]: Self::set_len
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        self.clear();
        let start = self.start;
        &mut self.room_mut()[start..]
    }

    /// Says how many bytes are the packet, at most as many as there is room.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.room().len() - self.start);
    }

    /// Returns the packet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.room()[self.start..self.start + self.len]
    }

    /// Returns the packet.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, len) = (self.start, self.len);
        &mut self.room_mut()[start..start + len]
    }

    /// Returns how many bytes the packet has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether the packet has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how many bytes are free before the packet.
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.start
    }

    /// Returns how many bytes are free behind the packet.
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.room().len() - self.start - self.len
    }

    /// Returns the number of the data channel and whether the message is text.
    #[must_use]
    pub fn channel(&self) -> (u16, bool) {
        (
            (self.path & 0xffff) as u16,
            self.path & quartet_plugin::abi::DATA_TEXT != 0,
        )
    }

    /// Makes it a data message of this channel.
    pub fn set_channel(&mut self, channel: u16, text: bool) {
        self.kind = Some(Kind::Data);
        self.path = u32::from(channel) | if text { quartet_plugin::abi::DATA_TEXT } else { 0 };
    }

    /// Moves the packet inside its buffer; `false`, and empty, if the new place is not inside.
    pub(super) fn place(&mut self, start: usize, len: usize) -> bool {
        let inside = start <= self.room().len() && len <= self.room().len() - start;
        (self.start, self.len) = if inside { (start, len) } else { (self.origin, 0) };
        inside
    }

    /// Returns the whole buffer and where the packet begins, for the border.
    pub(super) fn whole_mut(&mut self) -> (&mut [u8], usize) {
        let start = self.start;
        (self.room_mut(), start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_fits() {
        let mut packet = Packet::new(64, 16);
        assert!(packet.fill(&[7; 48]));
        assert_eq!((packet.len(), packet.headroom(), packet.tailroom()), (48, 16, 0));
        assert!(!packet.fill(&[7; 49]));
        assert!(packet.is_empty());
        packet.buffer_mut()[..3].copy_from_slice(b"abc");
        packet.set_len(3);
        assert_eq!(packet.bytes(), b"abc");
        packet.set_len(1000);
        assert_eq!(packet.len(), 48);
        packet.bytes_mut()[0] = 0;
    }

    #[test]
    fn moves_only_inside_its_buffer() {
        let mut packet = Packet::new(64, 16);
        packet.fill(b"abcd");
        assert!(packet.place(0, 64));
        assert!(packet.place(64, 0));
        for (start, len) in [(0, 65), (1, 64), (65, 0), (usize::MAX, 1), (1, usize::MAX)] {
            assert!(!packet.place(start, len), "{start} {len}");
            assert!(packet.is_empty());
        }
        let mut tiny = Packet::new(4, 100);
        assert_eq!(tiny.headroom(), 4);
        assert!(tiny.fill(&[]) && !tiny.fill(&[1]));
    }

    #[test]
    fn rim_is_no_room() {
        let mut packet = Packet::rimmed(32, 8);
        assert!(packet.fill(&[1; 24]) && !packet.fill(&[1; 25]) && packet.rim_untouched());
        assert!(packet.place(0, 32) && !packet.place(0, 33));
        packet.fill(&[1; 24]);
        packet.bytes_mut().fill(2);
        assert!(packet.rim_untouched());
        packet.buffer[RIM - 1] = 0;
        assert!(!packet.rim_untouched());
    }

    #[test]
    fn channel_word() {
        let mut packet = Packet::new(8, 0);
        packet.set_channel(9, true);
        assert_eq!((packet.channel(), packet.kind), ((9, true), Some(Kind::Data)));
    }
}

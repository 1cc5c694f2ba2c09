//! A packet that a transport changes in place.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::{Error, abi};

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An RTP packet.
    Rtp,
    /// An RTCP packet.
    Rtcp,
    /// A message of a data channel: [`Packet::path`] has its number, see [`Packet::channel`].
    Data,
    /// A datagram of the layer above (path transports).
    Datagram,
}

impl Kind {
    /// Reads the word of the contract.
    #[must_use]
    pub const fn from_word(word: u32) -> Option<Self> {
        match word.cast_signed() {
            abi::RTP => Some(Self::Rtp),
            abi::RTCP => Some(Self::Rtcp),
            abi::DATA => Some(Self::Data),
            abi::DATAGRAM => Some(Self::Datagram),
            _ => None,
        }
    }

    /// Returns the word of the contract.
    #[must_use]
    pub const fn word(self) -> u32 {
        match self {
            Self::Rtp => abi::RTP.cast_unsigned(),
            Self::Rtcp => abi::RTCP.cast_unsigned(),
            Self::Data => abi::DATA.cast_unsigned(),
            Self::Datagram => abi::DATAGRAM.cast_unsigned(),
        }
    }
}

/// A packet inside the host's buffer, valid for the length of one call.
///
/// Grow it into the free room on both sides, or shrink it; nothing is copied.
pub struct Packet<'a> {
    raw: &'a mut abi::Packet,
}

impl<'a> Packet<'a> {
    /// Wraps the host's packet.
    ///
    /// # Safety
    /// `raw.data - headroom .. raw.data + len + tailroom` is one buffer, initialised, and nobody else's for `'a`; or all
    /// three counts are 0.
    pub(crate) unsafe fn new(raw: &'a mut abi::Packet) -> Self {
        Self { raw }
    }

    /// Returns the length of the packet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len as usize
    }

    /// Says whether the packet has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.len == 0
    }

    /// Returns how many bytes are free before the packet.
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.raw.headroom as usize
    }

    /// Returns how many bytes are free after the packet.
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.raw.tailroom as usize
    }

    /// Returns the bytes of the packet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.raw.data.is_null() {
            return &[];
        }
        // SAFETY: by `new`, `data .. data + len` is initialised and ours.
        unsafe { core::slice::from_raw_parts(self.raw.data, self.len()) }
    }

    /// Returns the bytes of the packet.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if self.raw.data.is_null() {
            return &mut [];
        }
        // SAFETY: by `new`, `data .. data + len` is initialised and ours alone.
        unsafe { core::slice::from_raw_parts_mut(self.raw.data, self.len()) }
    }

    /// Returns the packet together with its tailroom, and its length: for a cipher that appends a tag. Then [`set_len`].
    ///
    /// [`set_len`]: Self::set_len
    #[must_use]
    pub fn room_mut(&mut self) -> (&mut [u8], usize) {
        let len = self.len();
        if self.raw.data.is_null() {
            return (&mut [], 0);
        }
        // SAFETY: by `new`, `data .. data + len + tailroom` is initialised and ours alone.
        (
            unsafe { core::slice::from_raw_parts_mut(self.raw.data, len + self.tailroom()) },
            len,
        )
    }

    /// Moves the end of the packet, into the tailroom or back.
    ///
    /// # Errors
    /// [`Error::TooSmall`] if the buffer ends before; the packet is unchanged.
    pub fn set_len(&mut self, len: usize) -> Result<(), Error> {
        let room = self.len() + self.tailroom();
        if len > room {
            return Err(Error::TooSmall);
        }
        self.raw.tailroom = (room - len) as u32;
        self.raw.len = len as u32;
        Ok(())
    }

    /// Moves the beginning of the packet back by `count` bytes, for a header to be written.
    ///
    /// # Errors
    /// [`Error::TooSmall`] if the headroom is less; the packet is unchanged.
    pub fn grow_front(&mut self, count: usize) -> Result<(), Error> {
        if count > self.headroom() {
            return Err(Error::TooSmall);
        }
        // SAFETY: the headroom belongs to the same buffer, by `new`.
        self.raw.data = unsafe { self.raw.data.sub(count) };
        self.raw.headroom -= count as u32;
        self.raw.len += count as u32;
        Ok(())
    }

    /// Moves the beginning of the packet forward by `count` bytes, over a header that has been read.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the packet is shorter; it is unchanged.
    pub fn shrink_front(&mut self, count: usize) -> Result<(), Error> {
        if count > self.len() {
            return Err(Error::Malformed);
        }
        // SAFETY: `count` does not pass the end of the packet.
        self.raw.data = unsafe { self.raw.data.add(count) };
        self.raw.headroom += count as u32;
        self.raw.len -= count as u32;
        Ok(())
    }

    /// Returns which path the datagram came by or leaves by; for DATA, the channel word.
    #[must_use]
    pub fn path(&self) -> u32 {
        self.raw.path
    }

    /// Sets the path that the datagram leaves by.
    pub fn set_path(&mut self, path: u32) {
        self.raw.path = path;
    }

    /// Returns the number of the data channel and whether the message is text.
    #[must_use]
    pub fn channel(&self) -> (u16, bool) {
        (self.raw.path as u16, self.raw.path & abi::DATA_TEXT != 0)
    }

    /// Sets the number of the data channel and whether the message is text.
    pub fn set_channel(&mut self, channel: u16, text: bool) {
        self.raw.path = u32::from(channel) | if text { abi::DATA_TEXT } else { 0 };
    }

    /// Returns where the datagram came from, `None` if the host did not say.
    #[must_use]
    pub fn src(&self) -> Option<SocketAddr> {
        self.raw.src.to_socket()
    }

    /// Sets where the datagram came from: of one that a path has unwrapped, the peer.
    pub fn set_src(&mut self, src: SocketAddr) {
        self.raw.src = abi::Addr::from_socket(src);
    }

    /// Returns where the datagram goes, `None` if nobody said yet.
    #[must_use]
    pub fn dst(&self) -> Option<SocketAddr> {
        self.raw.dst.to_socket()
    }

    /// Sets where the datagram goes.
    pub fn set_dst(&mut self, dst: SocketAddr) {
        self.raw.dst = abi::Addr::from_socket(dst);
    }

    /// Returns what the layer above says the packet is; `None` for an unknown word or a datagram from below.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_word(self.raw.kind)
    }
}

impl abi::Addr {
    /// Writes an address in the words of the contract.
    #[must_use]
    pub fn from_socket(socket: SocketAddr) -> Self {
        let mut addr = Self {
            port: socket.port(),
            ..Self::default()
        };
        match socket {
            SocketAddr::V4(v4) => {
                addr.family = 4;
                addr.ip[..4].copy_from_slice(&v4.ip().octets());
            }
            SocketAddr::V6(v6) => {
                addr.family = 6;
                addr.ip = v6.ip().octets();
                addr.scope = v6.scope_id();
            }
        }
        addr
    }

    /// Reads an address; `None` for the empty one and for an unknown family.
    #[must_use]
    pub fn to_socket(&self) -> Option<SocketAddr> {
        match self.family {
            4 => {
                let ip = Ipv4Addr::new(self.ip[0], self.ip[1], self.ip[2], self.ip[3]);
                Some(SocketAddr::new(IpAddr::V4(ip), self.port))
            }
            6 => Some(SocketAddrV6::new(Ipv6Addr::from(self.ip), self.port, 0, self.scope).into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(buffer: &mut [u8], head: usize, len: usize) -> abi::Packet {
        abi::Packet {
            // SAFETY: `head` is inside the buffer.
            data: unsafe { buffer.as_mut_ptr().add(head) },
            len: len as u32,
            headroom: head as u32,
            tailroom: (buffer.len() - head - len) as u32,
            ..abi::zeroed()
        }
    }

    #[test]
    fn grows_and_shrinks_inside_its_buffer() {
        let mut buffer = [7_u8; 32];
        let mut raw = raw(&mut buffer, 8, 16);
        // SAFETY: `raw` describes `buffer`, which is not used until `packet` ends.
        let mut packet = unsafe { Packet::new(&mut raw) };
        packet.grow_front(8).unwrap();
        assert_eq!(packet.grow_front(1), Err(Error::TooSmall));
        assert_eq!((packet.len(), packet.headroom(), packet.tailroom()), (24, 0, 8));
        packet.bytes_mut()[0] = 1;
        packet.set_len(32).unwrap();
        assert_eq!(packet.set_len(33), Err(Error::TooSmall));
        packet.shrink_front(32).unwrap();
        assert_eq!(packet.shrink_front(1), Err(Error::Malformed));
        assert!(packet.is_empty());
        packet.grow_front(32).unwrap();
        assert_eq!(packet.room_mut().0.len(), 32);
        assert_eq!(packet.bytes()[0], 1);
    }

    #[test]
    fn addresses_survive_the_border() {
        for text in ["192.0.2.7:40000", "[2001:db8::1]:5", "[fe80::1%3]:9"] {
            let socket: SocketAddr = text.parse().unwrap();
            assert_eq!(abi::Addr::from_socket(socket).to_socket(), Some(socket));
        }
        assert_eq!(abi::Addr::default().to_socket(), None);
        assert_eq!(
            abi::Addr {
                family: 5,
                ..abi::Addr::default()
            }
            .to_socket(),
            None
        );
    }

    #[test]
    fn channel_word_holds_number_and_text() {
        let mut raw = abi::zeroed::<abi::Packet>();
        // SAFETY: all counts are 0.
        let mut packet = unsafe { Packet::new(&mut raw) };
        packet.set_channel(65535, true);
        assert_eq!(packet.channel(), (65535, true));
        assert!(packet.bytes().is_empty() && packet.bytes_mut().is_empty() && packet.room_mut().0.is_empty());
    }
}

//! One RTP packet as a view over its bytes (over rtp-rs). RFC 3550 §5.1, RFC 8285 for the extension elements.

use std::ops::Range;

use rtp_rs::RtpReader;

/// Length of the fixed header: what [`super::sender::Sender`] writes, as it uses neither CSRCs nor extensions.
pub const HEADER: usize = 12;

/// Why bytes are not an RTP packet. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The peer broke RFC 3550: wrong version, or lengths that do not fit.
    #[error("not an RTP packet")]
    Malformed,
}

/// The header fields of a packet and its payload, borrowed from the datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// 0..=127.
    pub payload_type: u8,
    /// Marker: for audio, the first packet after silence.
    pub marker: bool,
    /// Sequence number as on the wire.
    pub sequence: u16,
    /// Timestamp as on the wire, in ticks of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Profile word and bytes of the header extension.
    pub extension: Option<(u16, &'a [u8])>,
    /// The payload without padding.
    pub payload: &'a [u8],
    /// Where the payload begins in the datagram.
    pub payload_offset: usize,
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`PacketError::Malformed`] if it is no RTP packet of version 2.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let reader = RtpReader::new(bytes).map_err(|_| PacketError::Malformed)?;
        Ok(Packet {
            payload_type: reader.payload_type(),
            marker: reader.mark(),
            sequence: reader.sequence_number().into(),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
            extension: reader.extension(),
            payload: reader.payload(),
            payload_offset: reader.payload_offset(),
        })
    }

    /// Where the payload lies in the datagram.
    #[must_use]
    pub fn payload_range(&self) -> Range<usize> {
        self.payload_offset..self.payload_offset + self.payload.len()
    }

    /// The elements of the header extension: `(id, bytes)`, in order; none if it is of no RFC 8285 form.
    #[must_use]
    pub fn elements(&self) -> Elements<'a> {
        let (form, rest) = match self.extension {
            Some((0xBEDE, bytes)) => (Form::OneByte, bytes),
            Some((profile, bytes)) if profile & 0xFFF0 == 0x1000 => (Form::TwoByte, bytes),
            _ => (Form::OneByte, &[][..]),
        };
        Elements { form, rest }
    }
}

/// True for RTCP on a port shared with RTP: packet types 192..=223 in the second byte. RFC 5761 §4.
#[must_use]
pub fn is_rtcp(bytes: &[u8]) -> bool {
    bytes.len() >= 2 && bytes[0] >> 6 == 2 && (192..=223).contains(&bytes[1])
}

/// Iterates over the elements of a header extension; stops at the first broken one. RFC 8285 §4.2, §4.3.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    form: Form,
    rest: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Form {
    OneByte,
    TwoByte,
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // A zero byte is padding in both forms.
        while let [0, rest @ ..] = self.rest {
            self.rest = rest;
        }
        let (id, length, head) = match (self.form, self.rest) {
            // Id 15 is reserved and ends the list.
            (Form::OneByte, [first, ..]) if first >> 4 != 15 => (first >> 4, usize::from(first & 15) + 1, 1),
            (Form::TwoByte, [id, length, ..]) => (*id, usize::from(*length), 2),
            _ => return None,
        };
        let element = self.rest.get(head..head + length);
        self.rest = self.rest.get(head + length..).unwrap_or_default();
        element.map(|bytes| (id, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    const SIMPLE: &[u8] = &[0x80, 0x80 | 111, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4, 0xAA, 0xBB];

    #[test]
    fn reads_a_plain_packet() {
        let packet = Packet::parse(SIMPLE).unwrap();
        assert_eq!((packet.payload_type, packet.marker), (111, true));
        assert_eq!((packet.sequence, packet.timestamp, packet.ssrc), (7, 9, 0x01020304));
        assert_eq!(packet.payload, [0xAA, 0xBB]);
        assert_eq!(packet.payload_range(), 12..14);
    }

    #[test]
    fn reads_csrc_padding_and_extension_elements() {
        let mut bytes = vec![0xB1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9, 0xBE, 0xDE, 0, 2];
        bytes.extend_from_slice(&[0x22, 1, 2, 3, 0x30, 7, 0, 0]);
        bytes.extend_from_slice(&[0xAA, 0, 0, 3]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload, [0xAA]);
        let elements: Vec<_> = packet.elements().collect();
        assert_eq!(elements, [(2, &[1u8, 2, 3][..]), (3, &[7][..])]);
    }

    #[test]
    fn refuses_broken_packets() {
        for bytes in [&SIMPLE[..11], &[0u8; 12], &[], &[0xA0; 12], &[0x9F; 40]] {
            assert_eq!(Packet::parse(bytes), Err(PacketError::Malformed), "{bytes:02x?}");
        }
    }

    #[test]
    fn tells_rtcp_from_rtp() {
        assert!(is_rtcp(&[0x80, 200]));
        assert!(!is_rtcp(SIMPLE));
        assert!(!is_rtcp(&[0x80]));
        assert!(!is_rtcp(&[0x00, 200]));
    }

    #[test]
    fn mutated_packets_never_panic() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..100_000 {
            let mut bytes = [0u8; 64];
            rng.fill_bytes(&mut bytes);
            let length = rng.next_u32() as usize % 65;
            bytes[0] = bytes[0] & 0x3F | 0x80;
            if let Ok(packet) = Packet::parse(&bytes[..length]) {
                assert!(packet.elements().count() <= 64);
                assert!(packet.payload_range().end <= length);
            }
        }
    }
}

//! The sending side of one RTP stream: sole owner of its SSRC, sequence number, timestamp and marker. RFC 3550 §5.1, §6.4.1.

use rand_core::CryptoRng;

use super::packet::HEADER;

/// Why a header was not written. Always a bug of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SenderError {
    /// Less than 12 bytes for the header.
    #[error("no room for the RTP header")]
    NoRoom,
    /// The payload type does not fit 7 bits.
    #[error("payload type over 127")]
    PayloadType,
}

/// Numbers the packets of one stream.
///
/// The stream begins at a random sequence number and timestamp (RFC 3550 §5.1), and a new `Sender` is a new stream: keep
/// one for the life of its SSRC, else SRTP would use a key stream twice.
#[derive(Clone, Debug)]
pub struct Sender {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    mark: bool,
    packets: u32,
    octets: u32,
}

impl Sender {
    /// Starts a stream.
    pub fn new<R: CryptoRng + ?Sized>(ssrc: u32, rng: &mut R) -> Self {
        let start = rng.next_u64();
        // The first sequence number has its top bit clear, so that no wrap falls into the first minutes: SRTP receivers
        // that miss the first packets guess the roll-over counter from what they see first (RFC 3711 §3.3.1).
        Sender {
            ssrc,
            sequence: (start >> 32) as u16 & 0x7FFF,
            timestamp: start as u32,
            mark: true,
            packets: 0,
            octets: 0,
        }
    }

    /// Writes the header of the next packet into the first 12 bytes of `packet`, whose rest is the payload.
    ///
    /// The packet carries the present timestamp, which then moves on by `ticks` (the packet's duration in the payload's
    /// RTP clock). It is marked if `marker` says so, or if it is the first one or the first after [`Sender::skip`].
    ///
    /// # Errors
    /// [`SenderError`]; the stream is unchanged.
    pub fn next(&mut self, ticks: u32, payload_type: u8, marker: bool, packet: &mut [u8]) -> Result<(), SenderError> {
        let marker = marker || self.mark;
        self.write(payload_type, marker, self.timestamp, packet)?;
        self.mark = false;
        self.timestamp = self.timestamp.wrapping_add(ticks);
        Ok(())
    }

    /// Writes the header of a packet with a timestamp of its own, as those of one telephone event share (RFC 4733 §2.5.1).
    ///
    /// The sequence number moves on, the timestamp does not: use [`Sender::skip`] for the time that the event took.
    ///
    /// # Errors
    /// [`SenderError`]; the stream is unchanged.
    pub fn event(
        &mut self,
        timestamp: u32,
        payload_type: u8,
        marker: bool,
        packet: &mut [u8],
    ) -> Result<(), SenderError> {
        self.write(payload_type, marker, timestamp, packet)
    }

    /// Lets time pass without a packet (silence, a telephone event, hold); the next packet will be marked.
    pub fn skip(&mut self, ticks: u32) {
        self.timestamp = self.timestamp.wrapping_add(ticks);
        self.mark = true;
    }

    /// The stream's SSRC.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The timestamp that the next packet will carry.
    #[must_use]
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// The sequence number that the next packet will carry.
    #[must_use]
    pub fn sequence(&self) -> u16 {
        self.sequence
    }

    /// Packets written so far, modulo 2^32, for the sender report.
    #[must_use]
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Payload octets written so far, modulo 2^32, for the sender report.
    #[must_use]
    pub fn octets(&self) -> u32 {
        self.octets
    }

    fn write(&mut self, payload_type: u8, marker: bool, timestamp: u32, packet: &mut [u8]) -> Result<(), SenderError> {
        if payload_type > 127 {
            return Err(SenderError::PayloadType);
        }
        let payload = packet.len().checked_sub(HEADER).ok_or(SenderError::NoRoom)?;
        packet[0] = 0x80;
        packet[1] = u8::from(marker) << 7 | payload_type;
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::Packet;
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    #[test]
    fn numbers_wrap_around_without_a_step() {
        let mut sender = Sender::new(7, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(sender.sequence() < 0x8000);
        sender.sequence = 0xFFFE;
        sender.timestamp = u32::MAX - 159;
        let mut seen = Vec::new();
        for _ in 0..4 {
            let mut bytes = [0u8; 14];
            sender.next(160, 0, false, &mut bytes).unwrap();
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(packet.ssrc, 7);
            seen.push((packet.sequence, packet.timestamp, packet.marker));
        }
        assert_eq!(
            seen,
            [
                (0xFFFE, u32::MAX - 159, true),
                (0xFFFF, 0, false),
                (0, 160, false),
                (1, 320, false)
            ]
        );
        assert_eq!((sender.packets(), sender.octets()), (4, 8));
    }

    #[test]
    fn marks_the_first_packet_after_silence() {
        let mut sender = Sender::new(7, &mut ChaCha8Rng::seed_from_u64(2));
        let mut bytes = [0u8; 12];
        sender.next(160, 0, false, &mut bytes).unwrap();
        let before = sender.timestamp();
        sender.skip(800);
        sender.next(160, 0, false, &mut bytes).unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        assert!(packet.marker);
        assert_eq!(packet.timestamp, before.wrapping_add(800));
    }

    #[test]
    fn an_event_keeps_the_clock() {
        let mut sender = Sender::new(7, &mut ChaCha8Rng::seed_from_u64(3));
        let (sequence, timestamp) = (sender.sequence(), sender.timestamp());
        let mut bytes = [0u8; 16];
        sender.event(5, 101, true, &mut bytes).unwrap();
        assert_eq!(Packet::parse(&bytes).unwrap().timestamp, 5);
        assert_eq!((sender.sequence(), sender.timestamp()), (sequence + 1, timestamp));
    }

    #[test]
    fn refuses_what_does_not_fit_and_stays_as_it_was() {
        let mut sender = Sender::new(7, &mut ChaCha8Rng::seed_from_u64(4));
        let before = format!("{sender:?}");
        assert_eq!(sender.next(1, 0, false, &mut [0; 11]), Err(SenderError::NoRoom));
        assert_eq!(sender.next(1, 128, false, &mut [0; 20]), Err(SenderError::PayloadType));
        assert_eq!(format!("{sender:?}"), before);
    }
}

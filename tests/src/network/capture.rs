//! What a capture must not hold: the address of a side that hides behind a relay, and sound that everybody can hear.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket, UdpPacket};

use super::Captured;

/// The key by which STUN hides addresses from careless routers (RFC 8489 §14.2): anybody can undo it.
const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Packets of a stream before it is judged.
const MIN_PACKETS: usize = 10;

/// A stream: from which place, where in the datagram its header stands, its SSRC.
type Stream = (usize, usize, [u8; 4]);

#[derive(Default)]
struct Packets {
    numbers: HashSet<u16>,
    /// How often each byte is the first of the payload: of a plain stream mostly one, of a cipher's each as often.
    firsts: HashMap<u8, usize>,
}

impl Packets {
    fn is_plain(&self) -> bool {
        let total: usize = self.firsts.values().sum();
        self.firsts.values().any(|count| 2 * count > total)
    }
}

/// Looks at all that the place `far` has sent and received while `hidden` was not to be known there.
///
/// # Errors
/// What it must not hold; or that no stream of media is in it, so that it proves nothing.
pub fn check(packets: &[Captured], far: usize, hidden: Ipv4Addr) -> Result<(), String> {
    let text = hidden.to_string();
    let masked = (hidden.to_bits() ^ MAGIC_COOKIE).to_be_bytes();
    let mut streams: HashMap<Stream, Packets> = HashMap::new();
    for packet in packets.iter().filter(|packet| packet.from == far || packet.to == far) {
        let holds = |wanted: &[u8]| packet.bytes.windows(wanted.len()).any(|bytes| bytes == wanted);
        if holds(&hidden.octets()) || holds(&masked) || holds(text.as_bytes()) {
            return Err(format!(
                "the hidden address {hidden} is in a packet: {:02x?}",
                packet.bytes
            ));
        }
        let payload = payload(&packet.bytes).unwrap_or_default();
        for (at, found) in (0..payload.len().min(48)).filter_map(|at| Some((at, rtp(payload, at)?))) {
            let stream = streams.entry((packet.from, at, found.ssrc)).or_default();
            stream.numbers.insert(found.number);
            *stream.firsts.entry(found.first).or_default() += 1;
        }
    }
    // What only looks like a header, in front of the true one, has the same number each time.
    streams.retain(|_, stream| stream.numbers.len() >= MIN_PACKETS);
    if streams.is_empty() {
        return Err("it holds no stream of media".into());
    }
    match streams.iter().find(|(_, stream)| stream.is_plain()) {
        Some(((from, ..), _)) => Err(format!("the place {from} sends plain RTP")),
        None => Ok(()),
    }
}

fn payload(packet: &[u8]) -> Option<&[u8]> {
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    let inner = packet.get(usize::from(ip.header_len())..usize::from(ip.total_len()))?;
    let header = if ip.next_header() == IpProtocol::Udp {
        UdpPacket::new_checked(inner).ok().map(|_| 8)?
    } else if ip.next_header() == IpProtocol::Tcp {
        TcpPacket::new_checked(inner).ok()?.header_len().into()
    } else {
        return None;
    };
    inner.get(header..)
}

struct Rtp {
    number: u16,
    ssrc: [u8; 4],
    /// The first byte of its payload.
    first: u8,
}

/// The packet of RTP with a dynamic payload type that may begin there.
fn rtp(bytes: &[u8], at: usize) -> Option<Rtp> {
    let packet = bytes.get(at..)?;
    let word = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let (first, kind) = (packet.first()?, packet.get(1)? & 0x7f);
    if !matches!(first, 0x80 | 0x90) || kind < 96 {
        return None;
    }
    let extension = if *first == 0x90 {
        4 + 4 * usize::from(word(14)?)
    } else {
        0
    };
    Some(Rtp {
        number: word(2)?,
        ssrc: packet.get(8..12)?.try_into().ok()?,
        first: *packet.get(12 + extension)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::nat::tests::datagram;
    use std::time::Duration;

    use super::*;

    const HIDDEN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
    const RELAY: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 20), 3478);
    const FAR: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 2), 4000);

    fn captured(payload: &[u8]) -> Captured {
        Captured {
            from: 2,
            to: 1,
            at: Duration::ZERO,
            bytes: datagram(RELAY, FAR, payload),
        }
    }

    /// A stream behind `before`, whose payload begins with what `first` says of the nth packet.
    fn stream(before: &[u8], first: impl Fn(u8) -> u8) -> Vec<Captured> {
        let packet = |count| {
            let header = [0x80, 111, 0, count, 0, 0, 0, 0, 1, 2, 3, 4, first(count), 9, 9];
            captured(&[before, &header].concat())
        };
        (0..20).map(packet).collect()
    }

    #[test]
    fn a_cipher_passes_and_plain_sound_does_not() {
        let cipher = |count: u8| count.wrapping_mul(37);
        assert_eq!(check(&stream(&[], cipher), 1, HIDDEN), Ok(()));
        assert_eq!(check(&stream(&[7; 16], cipher), 1, HIDDEN), Ok(()));
        // A tag may look like a header, and is the same each time.
        let tag = [0x80, 111, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(check(&stream(&tag, cipher), 1, HIDDEN), Ok(()));
        for before in [&[][..], &[7; 16], &tag] {
            let error = check(&stream(before, |_| 0x78), 1, HIDDEN).expect_err("plain");
            assert_eq!(error, "the place 2 sends plain RTP");
        }
        assert_eq!(check(&[], 1, HIDDEN).expect_err("empty"), "it holds no stream of media");
    }

    #[test]
    fn the_hidden_address_is_found_in_each_form() {
        let masked = (HIDDEN.to_bits() ^ MAGIC_COOKIE).to_be_bytes();
        for form in [&HIDDEN.octets()[..], &masked, b"198.51.100.2"] {
            let mut packets = stream(&[], |count| count.wrapping_mul(37));
            packets.push(captured(&[b"before ", form, b" after"].concat()));
            let error = check(&packets, 1, HIDDEN).expect_err("it is told");
            assert!(error.contains("198.51.100.2"), "{error}");
            // What others than the far place see is not asked.
            assert_eq!(
                check(&packets, 0, HIDDEN).expect_err("nothing"),
                "it holds no stream of media"
            );
        }
    }
}

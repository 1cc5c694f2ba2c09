//! SRTP and SRTCP of one session, over the contexts of webrtc-srtp, in place on the caller's buffer. RFC 3711, RFC 7714.
//!
//! This file is also the guard before that crate, which must never see what an attacker can send without a key:
//! - SRTCP shorter than header, index and tag together (it would panic) or whose E bit is clear (it would accept it
//!   unauthenticated), SRTP shorter than header and tag;
//! - SSRCs that signalling did not announce (each would cost memory before it is authenticated);
//! - header extensions whose elements overrun (it would panic) or end early (it would misplace the payload).
//!
//! Its replay protection is off and ours in its place, see `replay`.
//!
//! A packet costs one copy and a few allocations inside the crate (0.3 µs).

mod replay;

use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::packet::HEADER;
use replay::Window;

/// The most that `protect_*` appends: GCM tag and SRTCP index.
pub const MAX_OVERHEAD: usize = 20;
/// How many SSRCs may be announced: audio, video and their repairs of one peer are fewer.
const MAX_STREAMS: usize = 16;
/// Header and SSRC of an RTCP packet, which stay in clear.
const RTCP_CLEAR: usize = 8;
/// E bit and index behind an SRTCP packet.
const RTCP_INDEX: usize = 4;
/// Bits of a sequence number and of an SRTCP index.
const NUMBER_BITS: (u32, u32) = (16, 31);

/// Why a packet is dropped or keys are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpError {
    /// Too short, or its header is broken: the peer, or an attacker.
    #[error("not an SRTP packet")]
    Malformed,
    /// Its SSRC was not announced by signalling.
    #[error("SSRC not announced")]
    UnknownStream,
    /// It fails authentication, or came before.
    #[error("authentication or replay check failed")]
    Refused,
    /// The caller's buffer has no room for the tag.
    #[error("no room for the authentication tag")]
    NoRoom,
    /// Keys of the wrong length: a bug of the caller.
    #[error("keys do not fit the profile")]
    Keys,
    /// The keys have protected as many packets as they may.
    #[error("keys are used up")]
    Exhausted,
}

/// How packets are protected. RFC 5764 §4.1.2, RFC 7714 §14.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// AES-128 counter mode, HMAC-SHA1 of 80 bits.
    Aes128CmSha1_80,
    /// AES-128 GCM.
    AeadAes128Gcm,
    /// AES-256 GCM.
    AeadAes256Gcm,
}

impl Profile {
    fn theirs(self) -> ProtectionProfile {
        match self {
            Profile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        }
    }

    /// Length of the authentication tag.
    #[must_use]
    pub fn tag(self) -> usize {
        match self {
            Profile::Aes128CmSha1_80 => 10,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
        }
    }

    /// Lengths of master key and master salt.
    #[must_use]
    pub fn key_and_salt(self) -> (usize, usize) {
        (self.theirs().key_len(), self.theirs().salt_len())
    }

    /// Shortest SRTCP packet that is looked at: 22 bytes, 28 for GCM.
    fn shortest_rtcp(self) -> usize {
        RTCP_CLEAR + RTCP_INDEX + self.tag()
    }
}

/// The keys of a session, both directions.
///
/// The session copies no key; the crate below keeps its own copies, which it does not wipe.
pub struct Session {
    profile: Profile,
    inbound: Context,
    outbound: Context,
    streams: Vec<Stream>,
}

/// A stream of the peer's that signalling announced.
struct Stream {
    ssrc: u32,
    rtp: Window,
    rtcp: Window,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("profile", &self.profile)
            .field("streams", &self.streams.len())
            .finish()
    }
}

impl Session {
    /// Starts a session; each of `send` and `receive` is a master key with its salt behind it, as SDES `inline:` has them.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] if a length does not fit the profile.
    pub fn new(profile: Profile, send: &[u8], receive: &[u8]) -> Result<Self, SrtpError> {
        let (key, salt) = profile.key_and_salt();
        if send.len() != key + salt || receive.len() != key + salt {
            return Err(SrtpError::Keys);
        }
        let outbound = Context::new(&send[..key], &send[key..], profile.theirs(), None, None);
        let inbound = Context::new(&receive[..key], &receive[key..], profile.theirs(), None, None);
        match (outbound, inbound) {
            (Ok(outbound), Ok(inbound)) => Ok(Session {
                profile,
                inbound,
                outbound,
                streams: Vec::new(),
            }),
            _ => Err(SrtpError::Keys),
        }
    }

    /// Announces a stream of the peer's. False if there are too many.
    pub fn announce(&mut self, ssrc: u32) -> bool {
        if self.streams.iter().any(|stream| stream.ssrc == ssrc) {
            return true;
        }
        let room = self.streams.len() < MAX_STREAMS;
        if room {
            let (rtp, rtcp) = NUMBER_BITS;
            self.streams.push(Stream {
                ssrc,
                rtp: Window::new(rtp),
                rtcp: Window::new(rtcp),
            });
        }
        room
    }

    /// Protects the RTP packet in the first `length` bytes of `buffer`; its new length.
    ///
    /// # Errors
    /// [`SrtpError::NoRoom`] without room for [`Profile::tag`] bytes more, [`SrtpError::Malformed`] for no RTP packet.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        if length
            .checked_add(self.profile.tag())
            .is_none_or(|end| end > buffer.len())
        {
            return Err(SrtpError::NoRoom);
        }
        check_rtp(&buffer[..length], 0)?;
        let sealed = self
            .outbound
            .encrypt_rtp(&buffer[..length])
            .map_err(|_| SrtpError::Exhausted)?;
        put(buffer, &sealed)
    }

    /// Opens the SRTP packet that fills `packet`; the length of the RTP packet now at its start.
    ///
    /// # Errors
    /// Any but [`SrtpError::Keys`]; the packet is unchanged and must be dropped.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = check_rtp(packet, self.profile.tag())?;
        let stream = find(&mut self.streams, ssrc)?;
        let number = u32::from(u16::from_be_bytes([packet[2], packet[3]]));
        if !stream.rtp.is_new(number) {
            return Err(SrtpError::Refused);
        }
        let opened = self.inbound.decrypt_rtp(packet).map_err(|_| SrtpError::Refused)?;
        stream.rtp.accept(number);
        put(packet, &opened)
    }

    /// Protects the RTCP packet in the first `length` bytes of `buffer`; its new length.
    ///
    /// # Errors
    /// [`SrtpError::NoRoom`] without room for index and tag, [`SrtpError::Malformed`] for no RTCP packet.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        if length
            .checked_add(RTCP_INDEX + self.profile.tag())
            .is_none_or(|end| end > buffer.len())
        {
            return Err(SrtpError::NoRoom);
        }
        if length < RTCP_CLEAR || buffer[0] >> 6 != 2 {
            return Err(SrtpError::Malformed);
        }
        let sealed = self
            .outbound
            .encrypt_rtcp(&buffer[..length])
            .map_err(|_| SrtpError::Malformed)?;
        put(buffer, &sealed)
    }

    /// Opens the SRTCP packet that fills `packet`; the length of the RTCP packet now at its start.
    ///
    /// # Errors
    /// Any but [`SrtpError::Keys`]; the packet is unchanged and must be dropped.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        if packet.len() < self.profile.shortest_rtcp() || packet[0] >> 6 != 2 {
            return Err(SrtpError::Malformed);
        }
        let index_at = match self.profile {
            Profile::Aes128CmSha1_80 => packet.len() - self.profile.tag() - RTCP_INDEX,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => packet.len() - RTCP_INDEX,
        };
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|byte| packet[index_at + byte]);
        let number = u32::from_be_bytes([first & 0x7F, second, third, fourth]);
        if first & 0x80 == 0 {
            return Err(SrtpError::Refused);
        }
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let stream = find(&mut self.streams, ssrc)?;
        if !stream.rtcp.is_new(number) {
            return Err(SrtpError::Refused);
        }
        let opened = self.inbound.decrypt_rtcp(packet).map_err(|_| SrtpError::Refused)?;
        stream.rtcp.accept(number);
        put(packet, &opened)
    }
}

fn find(streams: &mut [Stream], ssrc: u32) -> Result<&mut Stream, SrtpError> {
    streams
        .iter_mut()
        .find(|stream| stream.ssrc == ssrc)
        .ok_or(SrtpError::UnknownStream)
}

/// Checks what the crate below does not; the packet's SSRC.
fn check_rtp(bytes: &[u8], tag: usize) -> Result<u32, SrtpError> {
    if bytes.len() < HEADER + tag || bytes[0] >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    // The padding length, if any, is encrypted: look at the header alone, with its bit clear.
    let csrcs = usize::from(bytes[0] & 15) * 4;
    let mut header = HEADER + csrcs;
    if bytes[0] & 0x10 != 0 {
        let [profile_high, profile_low, high, low] = *bytes.get(header..header + 4).ok_or(SrtpError::Malformed)? else {
            return Err(SrtpError::Malformed);
        };
        let length = usize::from(u16::from_be_bytes([high, low])) * 4;
        let extension = bytes.get(header + 4..header + 4 + length).ok_or(SrtpError::Malformed)?;
        if !elements_fit(u16::from_be_bytes([profile_high, profile_low]), extension) {
            return Err(SrtpError::Malformed);
        }
        header += 4 + length;
    }
    if bytes.len() < header + tag {
        return Err(SrtpError::Malformed);
    }
    Ok(u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]))
}

/// True if the elements of an extension end exactly where it does, by the reading of the crate below.
fn elements_fit(profile: u16, mut rest: &[u8]) -> bool {
    let one_byte = match profile {
        0xBEDE => true,
        0x1000 => false,
        _ => return true,
    };
    loop {
        let (head, length) = match rest {
            [] => return true,
            [0, ..] => (1, 0),
            [first, ..] if one_byte && first >> 4 == 15 => return false,
            [first, ..] if one_byte => (1, usize::from(first & 15) + 1),
            [_, length, ..] => (2, usize::from(*length)),
            [_] => return false,
        };
        match rest.get(head + length..) {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

fn put(buffer: &mut [u8], packet: &[u8]) -> Result<usize, SrtpError> {
    buffer
        .get_mut(..packet.len())
        .ok_or(SrtpError::NoRoom)?
        .copy_from_slice(packet);
    Ok(packet.len())
}

#[cfg(test)]
mod tests;

//! SRTP and SRTCP, one value a direction, over the contexts of webrtc-srtp, in place on the caller's buffer. RFC 3711, RFC 7714.
//!
//! This file is also the guard before that crate, which must never see what an attacker can send without a key:
//! - SRTCP shorter than header, index and tag together (it would panic) or whose E bit is clear (it would accept it
//!   unauthenticated), SRTP shorter than header and tag;
//! - SSRCs that signalling did not announce, or that have not proved themselves elsewhere (each would cost memory before it is
//!   authenticated);
//! - header extensions whose elements overrun (it would panic) or end early (it would misplace the payload).
//!
//! Its replay protection is off and ours in its place, see `replay`.
//!
//! A packet costs one copy and a few allocations inside the crate (0.3 µs).

mod replay;

use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;
use zeroize::Zeroizing;

use super::packet::HEADER;
use replay::Window;

/// The most that `protect_*` appends: GCM tag and SRTCP index.
pub const MAX_OVERHEAD: usize = 20;
/// How many SSRCs may be announced: audio, video and their repairs of one peer are fewer.
const MAX_STREAMS: usize = 16;
/// How many may prove themselves: a phone draws a new one at a hold, at most.
const MAX_LEARNT: usize = 64;
/// Packets of unknown streams that one context is tried with.
const MAX_TRIED: u32 = 64;
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
    /// The same, of 32 bits for RTP; RTCP has 80 (RFC 4568 §6.2.2).
    Aes128CmSha1_32,
    /// AES-128 GCM.
    AeadAes128Gcm,
    /// AES-256 GCM.
    AeadAes256Gcm,
}

impl Profile {
    fn theirs(self) -> ProtectionProfile {
        match self {
            Profile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Profile::Aes128CmSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        }
    }

    /// Length of the authentication tag of RTP.
    #[must_use]
    pub fn tag(self) -> usize {
        match self {
            Profile::Aes128CmSha1_80 => 10,
            Profile::Aes128CmSha1_32 => 4,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
        }
    }

    fn rtcp_tag(self) -> usize {
        match self {
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => 10,
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
        RTCP_CLEAR + RTCP_INDEX + self.rtcp_tag()
    }
}

/// What we send, under one master key.
///
/// No key is copied here; the crate below keeps its own copies, which it does not wipe. An end that goes back to a key must go back to
/// this value: a second one would number packets from the beginning, and use the key's stream twice.
pub struct Outbound {
    profile: Profile,
    context: Context,
}

/// What a peer sends, under one master key.
pub struct Inbound {
    profile: Profile,
    context: Context,
    streams: Vec<Stream>,
    learns: Option<Learning>,
}

/// A stream of the peer's that signalling announced, or that proved itself.
struct Stream {
    ssrc: u32,
    rtp: Window,
    rtcp: Window,
}

/// What streams that nobody announced are tried with: whoever sends something costs memory in here, which is given back, and none in the
/// context that is used.
struct Learning {
    master: Zeroizing<Vec<u8>>,
    context: Context,
    tried: u32,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("profile", &self.profile)
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

fn context(profile: Profile, master: &[u8]) -> Result<Context, SrtpError> {
    let (key, salt) = profile.key_and_salt();
    if master.len() != key + salt {
        return Err(SrtpError::Keys);
    }
    Context::new(&master[..key], &master[key..], profile.theirs(), None, None).map_err(|_| SrtpError::Keys)
}

impl Outbound {
    /// Takes a master key with its salt behind it, as SDES `inline:` has them.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] if its length does not fit the profile.
    pub fn new(profile: Profile, master: &[u8]) -> Result<Self, SrtpError> {
        let context = context(profile, master)?;
        Ok(Outbound { profile, context })
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
            .context
            .encrypt_rtp(&buffer[..length])
            .map_err(|_| SrtpError::Exhausted)?;
        put(buffer, &sealed)
    }

    /// Protects the RTCP packet in the first `length` bytes of `buffer`; its new length.
    ///
    /// # Errors
    /// [`SrtpError::NoRoom`] without room for index and tag, [`SrtpError::Malformed`] for no RTCP packet.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        if length
            .checked_add(RTCP_INDEX + self.profile.rtcp_tag())
            .is_none_or(|end| end > buffer.len())
        {
            return Err(SrtpError::NoRoom);
        }
        if length < RTCP_CLEAR || buffer[0] >> 6 != 2 {
            return Err(SrtpError::Malformed);
        }
        let sealed = self
            .context
            .encrypt_rtcp(&buffer[..length])
            .map_err(|_| SrtpError::Malformed)?;
        put(buffer, &sealed)
    }
}

impl Inbound {
    /// Takes a master key with its salt behind it; streams are those that are announced.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] if its length does not fit the profile.
    pub fn new(profile: Profile, master: &[u8]) -> Result<Self, SrtpError> {
        let context = context(profile, master)?;
        Ok(Inbound {
            profile,
            context,
            streams: Vec::new(),
            learns: None,
        })
    }

    /// Accepts from now on whatever stream proves to know the key, for a peer that announces none. `master` is that of
    /// [`new`](Self::new).
    ///
    /// # Errors
    /// [`SrtpError::Keys`] if its length does not fit the profile.
    pub fn learn(&mut self, master: &[u8]) -> Result<(), SrtpError> {
        self.learns = Some(Learning {
            context: context(self.profile, master)?,
            master: Zeroizing::new(master.to_vec()),
            tried: 0,
        });
        Ok(())
    }

    /// Announces a stream of the peer's. False if there are too many.
    pub fn announce(&mut self, ssrc: u32) -> bool {
        if self.streams.iter().any(|stream| stream.ssrc == ssrc) {
            return true;
        }
        let room = self.streams.len() < if self.learns.is_some() { MAX_LEARNT } else { MAX_STREAMS };
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

    /// Opens the SRTP packet that fills `packet`; the length of the RTP packet now at its start.
    ///
    /// # Errors
    /// Any but [`SrtpError::Keys`]; the packet is unchanged and must be dropped.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = check_rtp(packet, self.profile.tag())?;
        self.try_stream(ssrc, |context| context.decrypt_rtp(packet).is_ok());
        let stream = find(&mut self.streams, ssrc)?;
        let number = u32::from(u16::from_be_bytes([packet[2], packet[3]]));
        if !stream.rtp.is_new(number) {
            return Err(SrtpError::Refused);
        }
        let opened = self.context.decrypt_rtp(packet).map_err(|_| SrtpError::Refused)?;
        stream.rtp.accept(number);
        put(packet, &opened)
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
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => packet.len() - self.profile.rtcp_tag() - RTCP_INDEX,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => packet.len() - RTCP_INDEX,
        };
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|byte| packet[index_at + byte]);
        let number = u32::from_be_bytes([first & 0x7F, second, third, fourth]);
        if first & 0x80 == 0 {
            return Err(SrtpError::Refused);
        }
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        self.try_stream(ssrc, |context| context.decrypt_rtcp(packet).is_ok());
        let stream = find(&mut self.streams, ssrc)?;
        if !stream.rtcp.is_new(number) {
            return Err(SrtpError::Refused);
        }
        let opened = self.context.decrypt_rtcp(packet).map_err(|_| SrtpError::Refused)?;
        stream.rtcp.accept(number);
        put(packet, &opened)
    }

    /// Takes a stream in that nobody announced, if that is allowed and it proves itself. None is ever forgotten: its packets could be
    /// replayed then.
    fn try_stream(&mut self, ssrc: u32, opens: impl FnOnce(&mut Context) -> bool) {
        let is_known = self.streams.iter().any(|stream| stream.ssrc == ssrc);
        let (Some(learning), false) = (&mut self.learns, is_known || self.streams.len() >= MAX_LEARNT) else {
            return;
        };
        if learning.tried >= MAX_TRIED
            && let Ok(fresh) = context(self.profile, &learning.master)
        {
            (learning.context, learning.tried) = (fresh, 0);
        }
        learning.tried += 1;
        if opens(&mut learning.context) {
            self.announce(ssrc);
        }
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

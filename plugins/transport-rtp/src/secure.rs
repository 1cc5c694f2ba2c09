//! SRTP of a session, by keys that both descriptions carry (SDES).
//!
//! LOCAL names a key of ours for each suite; REMOTE names the far side's, of the suite that was agreed. The far side may change its key at
//! any time, and what was sent under the old one may still come; ours stay what they are, and so does the numbering under each, for a key's
//! stream must never be used twice.

use core::fmt::Write as _;

use quartet_plugin::{Error, Packet, random};
use quartet_proto::rtp::packet::is_rtcp;
use quartet_proto::rtp::srtp::{Inbound, MAX_OVERHEAD, Outbound, Profile, SrtpError};
use quartet_proto::sdp::sdes::{Crypto, Suite};

/// The most that sealing appends to a packet.
pub(crate) const TAILROOM: u32 = MAX_OVERHEAD as u32;

/// Keys of the far side that are kept in a call.
const MAX_KEYS: usize = 16;

/// How far the numbers of packets may run ahead of a key of ours that is not in use: its rollover counter follows up to 2^15.
const MAX_AHEAD: u16 = 1 << 13;

/// Bytes of an RTP header.
const HEADER: usize = 12;

/// What one session knows of keys.
#[derive(Default)]
pub(crate) struct Secure {
    ours: Vec<Crypto>,
    /// What has been sent under each of ours that was ever agreed.
    outbound: Vec<Ours>,
    /// What the far side has sent under each of its own: what came once under a key never counts again.
    theirs: Vec<Theirs>,
    /// The one in use.
    current: Option<usize>,
    /// The one before, until the first packet under the other.
    previous: Option<usize>,
}

struct Ours {
    suite: Suite,
    outbound: Outbound,
    /// The number of the last packet that it has counted.
    counted: Option<u16>,
}

struct Theirs {
    crypto: Crypto,
    inbound: Inbound,
}

impl Secure {
    /// Draws a key for each suite.
    pub(crate) fn new() -> Result<Self, Error> {
        let mut ours = Vec::with_capacity(Suite::ALL.len());
        for (suite, tag) in Suite::ALL.into_iter().zip(1..) {
            let mut crypto = Crypto {
                tag,
                suite,
                master: vec![0; suite.master_len()].into(),
            };
            random(&mut crypto.master)?;
            ours.push(crypto);
        }
        Ok(Self {
            ours,
            ..Self::default()
        })
    }

    /// The lines that name our keys.
    pub(crate) fn write_lines(&self, out: &mut String) {
        for crypto in &self.ours {
            // Writing to a string does not fail.
            let _ = writeln!(out, "{}", *crypto.line());
        }
    }

    /// True if nothing goes or comes in clear.
    pub(crate) fn is_on(&self) -> bool {
        self.current.is_some()
    }

    /// Takes what the far side says of keys, in a line of REMOTE; other lines are none of its business.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a key cannot be used. Nothing changes then.
    pub(crate) fn remote_line(&mut self, line: &str) -> Result<(), Error> {
        if line == "x-srtp:off" {
            (self.current, self.previous) = (None, None);
        } else if line.starts_with("crypto:") {
            self.take(Crypto::parse(line).ok_or(Error::Malformed)?)?;
        }
        Ok(())
    }

    fn take(&mut self, crypto: Crypto) -> Result<(), Error> {
        let is_it = |theirs: &Theirs| theirs.crypto.suite == crypto.suite && theirs.crypto.master == crypto.master;
        let known = self.theirs.iter().position(is_it);
        let place = match known {
            Some(place) => place,
            None => {
                let theirs = self.open_with(crypto)?;
                self.keep(theirs)
            }
        };
        if self.current != Some(place) {
            self.previous = self.current.replace(place);
        }
        Ok(())
    }

    /// Keeps a key; of too many one that is not in use makes room.
    fn keep(&mut self, theirs: Theirs) -> usize {
        if self.theirs.len() < MAX_KEYS {
            self.theirs.push(theirs);
            return self.theirs.len() - 1;
        }
        let in_use = [self.current, self.previous];
        let place = (0..MAX_KEYS)
            .find(|place| !in_use.contains(&Some(*place)))
            .unwrap_or_default();
        self.theirs[place] = theirs;
        place
    }

    fn open_with(&mut self, crypto: Crypto) -> Result<Theirs, Error> {
        let suite = crypto.suite;
        let ours = self.ours.iter().find(|ours| ours.suite == suite);
        // Who sends our own key back would have both of us use one key's stream.
        let ours = ours
            .filter(|ours| ours.master != crypto.master)
            .ok_or(Error::Malformed)?;
        let mut inbound = Inbound::new(profile(suite), &crypto.master).map_err(|_| Error::Malformed)?;
        inbound.learn(&crypto.master).map_err(|_| Error::Malformed)?;
        if !self.outbound.iter().any(|known| known.suite == suite) {
            self.outbound.push(Ours {
                suite,
                outbound: Outbound::new(profile(suite), &ours.master).map_err(|_| Error::Malformed)?,
                counted: None,
            });
        }
        Ok(Theirs { crypto, inbound })
    }

    /// Opens what came; false if it is nobody's who knows the key, or came before.
    pub(crate) fn open(&mut self, packet: &mut Packet<'_>) -> bool {
        let mut open = |place: Option<usize>| {
            let theirs = self.theirs.get_mut(place?)?;
            unprotect(&mut theirs.inbound, packet.bytes_mut()).ok()
        };
        let opened = match open(self.current) {
            Some(length) => {
                // The old key has had its time.
                self.previous = None;
                Some(length)
            }
            None => open(self.previous),
        };
        opened.is_some_and(|length| packet.set_len(length).is_ok())
    }

    /// Seals what is to be sent, if keys are in use.
    pub(crate) fn seal(&mut self, packet: &mut Packet<'_>) -> Result<(), Error> {
        let (buffer, length) = packet.room_mut();
        let is_report = is_rtcp(&buffer[..length]);
        let suite = self
            .current
            .and_then(|place| Some(self.theirs.get(place)?.crypto.suite));
        if !is_report {
            self.count(suite, &buffer[..length]);
        }
        let Some(suite) = suite else { return Ok(()) };
        let mut known = self.outbound.iter_mut().filter(|known| known.suite == suite);
        let ours = known.next().ok_or(Error::State)?;
        let sealed = if is_report {
            ours.outbound.protect_rtcp(buffer, length)
        } else {
            ours.outbound.protect_rtp(buffer, length)
        };
        packet.set_len(sealed.map_err(refusal)?)
    }

    /// Has the keys that are not in use count what is sent without them: one that comes back must not begin its numbers anew.
    fn count(&mut self, used: Option<Suite>, packet: &[u8]) {
        let Some(header) = packet.get(..HEADER) else { return };
        let number = u16::from_be_bytes([header[2], header[3]]);
        for ours in &mut self.outbound {
            if Some(ours.suite) == used {
                ours.counted = Some(number);
                continue;
            }
            let ahead = ours.counted.map_or(0, |counted| number.wrapping_sub(counted));
            if (MAX_AHEAD..1 << 15).contains(&ahead) {
                // Nothing is in it, and it goes nowhere.
                let mut empty = [0; HEADER + MAX_OVERHEAD];
                empty[..HEADER].copy_from_slice(header);
                empty[0] = 0x80;
                if ours.outbound.protect_rtp(&mut empty, HEADER).is_ok() {
                    ours.counted = Some(number);
                }
            }
        }
    }
}

fn unprotect(inbound: &mut Inbound, bytes: &mut [u8]) -> Result<usize, SrtpError> {
    if is_rtcp(bytes) {
        inbound.unprotect_rtcp(bytes)
    } else {
        inbound.unprotect_rtp(bytes)
    }
}

fn profile(suite: Suite) -> Profile {
    match suite {
        Suite::AeadAes256Gcm => Profile::AeadAes256Gcm,
        Suite::AeadAes128Gcm => Profile::AeadAes128Gcm,
        Suite::AesCm128HmacSha1_80 => Profile::Aes128CmSha1_80,
        Suite::AesCm128HmacSha1_32 => Profile::Aes128CmSha1_32,
    }
}

fn refusal(error: SrtpError) -> Error {
    match error {
        SrtpError::NoRoom => Error::TooSmall,
        SrtpError::Malformed => Error::Argument,
        SrtpError::Exhausted => Error::Resources,
        // Those come from receiving; they may grow.
        SrtpError::UnknownStream | SrtpError::Refused | SrtpError::Keys | _ => Error::State,
    }
}

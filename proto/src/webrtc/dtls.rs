//! Keys for SRTP and a pipe for SCTP (over dimpl): DTLS 1.2, a certificate for each session. RFC 6347, RFC 5763, RFC 5764.
//!
//! The peer is who holds the certificate whose fingerprint signalling announced. That is checked here, before a key or a
//! byte leaves this machine; nothing is read from the network before the fingerprint is known. A certificate is judged when
//! the handshake is verified: until then anybody may have sent it. `guard` says which records DTLS is given at all.

mod guard;
mod last_flight;
#[cfg(test)]
pub(in crate::webrtc) mod testing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use self::guard::Guard;
use self::last_flight::LastFlight;
use crate::rtp::srtp::Profile;

/// First repeat of a flight. The crate's own second costs a median of 1.1 s at 10 % loss.
const FIRST_REPEAT: Duration = Duration::from_millis(300);
/// Longest pause before a repeat, of the first [`OFTEN`] and of those after them. The crate doubles its pauses without a bound: at 30 %
/// loss a call then waits for nothing. But its clock, which is put forward for that, must reach to the end of the handshake, so 28
/// repeats are the most.
const MAX_PAUSE: Duration = Duration::from_millis(600);
const MAX_LATE_PAUSE: Duration = Duration::from_millis(1_500);
const OFTEN: u32 = 12;
/// The pause that a quick network gets.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Repeats until the pause is doubled: a slow link must not be filled with them.
const PATIENT_AFTER: u32 = 3;
/// Repeats of a flight. Those that a duplicate of the peer's sets off count too, so it is more than time allows.
const REPEATS: usize = 30;
/// What the crate's clock may be ahead of ours: more than that many doubled pauses, less than it names for "nothing to do".
const MAX_AHEAD: Duration = Duration::from_secs(3_600 * 24 * 365 * 9);
/// Longest handshake: as long as the endpoint waits for all of the connection.
const HANDSHAKE: Duration = Duration::from_secs(25);
/// Largest datagram that we send, below the smallest path of mobile networks.
const MTU: usize = 1200;
/// Fingerprints that signalling may announce (RFC 8122 §5 allows several).
const MAX_FINGERPRINTS: usize = 4;
/// Room for one record, grown if the crate asks for more, up to this.
const MAX_RECORD: usize = 1 << 17;

/// Why there is no session, or no longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DtlsError {
    /// The peer has proved to hold a certificate that is not the announced one: somebody is in between, or it is broken.
    #[error("the peer's certificate has another fingerprint")]
    Fingerprint,
    /// The handshake failed or timed out, or the peer broke the protocol, or somebody forged a part of it.
    #[error("DTLS failed")]
    Handshake,
    /// No certificate could be made: the system's random numbers or memory.
    #[error("no certificate could be made")]
    Certificate,
    /// The line is not `sha-256` and 32 bytes in hexadecimal.
    #[error("the peer's fingerprint line is broken or not SHA-256")]
    FingerprintLine,
}

/// What the machine gives out.
pub enum DtlsOutput {
    /// A datagram to send.
    Packet(Vec<u8>),
    /// The peer is who it should be: keys for SRTP, client's before server's (RFC 5764 §4.2).
    Keys {
        /// How packets are protected.
        profile: Profile,
        /// Client key, server key, client salt, server salt.
        material: Zeroizing<Vec<u8>>,
    },
    /// Decrypted bytes of the peer: an SCTP packet.
    Data(Vec<u8>),
    /// The peer has closed the session.
    Closed,
}

/// One DTLS association. Drain [`Dtls::poll_output`] after every other call. Any error is final.
pub struct Dtls {
    inner: dimpl::Dtls,
    guard: Guard,
    fingerprint: String,
    expected: Vec<[u8; 32]>,
    /// SHA-256 of the peer's certificate, as it came: not verified.
    certificate: Option<[u8; 32]>,
    active: bool,
    started: bool,
    verified: bool,
    failed: Option<DtlsError>,
    clock: Clock,
    last_flight: LastFlight,
    record: Vec<u8>,
    output: VecDeque<DtlsOutput>,
}

impl std::fmt::Debug for Dtls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dtls")
            .field("active", &self.active)
            .field("started", &self.started)
            .field("verified", &self.verified)
            .field("failed", &self.failed)
            .finish()
    }
}

/// The crate's clock, which is put forward to end a pause that would be longer than ours.
#[derive(Debug)]
struct Clock {
    now: Instant,
    /// How far it is ahead of ours.
    ahead: Duration,
    /// What the crate waits for, by its clock.
    due: Option<Instant>,
    /// When that is, by ours.
    wake: Option<Instant>,
    /// When the handshake is given up, by ours.
    until: Option<Instant>,
    /// The first pauses before a repeat.
    pause: Duration,
    repeats: u32,
}

impl Clock {
    /// The time of the crate at this time of ours.
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = now;
        let theirs = now + self.ahead;
        let (Some(due), Some(wake)) = (self.due, self.wake) else {
            return theirs;
        };
        if wake <= now {
            self.repeats += 1;
            self.ahead += due.saturating_duration_since(theirs);
        }
        now + self.ahead
    }

    /// The crate waits until then, by its clock.
    fn due_at(&mut self, due: Instant, connected: bool) {
        if self.due == Some(due) {
            return;
        }
        let pause = due.saturating_duration_since(self.now + self.ahead);
        let is_repeat = !connected && pause < MAX_AHEAD;
        self.due = Some(due);
        let ours = if self.repeats < OFTEN {
            (self.pause * 2u32.pow(self.repeats / PATIENT_AFTER)).min(MAX_PAUSE)
        } else {
            MAX_LATE_PAUSE
        };
        self.wake = Some(self.now + if is_repeat { pause.min(ours) } else { pause });
    }
}

impl Dtls {
    /// Makes a certificate and waits for [`Dtls::start`].
    ///
    /// # Errors
    /// [`DtlsError::Certificate`].
    pub fn new(now: Instant) -> Result<Self, DtlsError> {
        let certificate = dimpl::certificate::generate_self_signed_certificate().map_err(|_| DtlsError::Certificate)?;
        let fingerprint = certificate.fingerprint_str();
        // ICE has proved the client's address already, so the cookie would only cost a round trip.
        let config = dimpl::Config::builder()
            .mtu(MTU)
            .flight_start_rto(FIRST_REPEAT)
            .flight_retries(REPEATS)
            .handshake_timeout(MAX_AHEAD)
            .use_server_cookie(false)
            .build()
            .map_err(|_| DtlsError::Certificate)?;
        Ok(Dtls {
            inner: dimpl::Dtls::new_12(Arc::new(config), certificate, now),
            guard: Guard::new(false),
            fingerprint,
            expected: Vec::new(),
            certificate: None,
            active: false,
            started: false,
            verified: false,
            failed: None,
            clock: Clock {
                now,
                ahead: Duration::ZERO,
                due: None,
                wake: None,
                until: None,
                pause: FIRST_REPEAT,
                repeats: 0,
            },
            last_flight: LastFlight::default(),
            record: vec![0; 2048],
            output: VecDeque::new(),
        })
    }

    /// Our certificate's fingerprint: `sha-256 AA:BB:..`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("sha-256 {}", self.fingerprint)
    }

    /// Announces a fingerprint of the peer's: `sha-256 AA:BB:..`. None is taken after the handshake.
    ///
    /// # Errors
    /// [`DtlsError::FingerprintLine`].
    pub fn expect(&mut self, line: &str) -> Result<(), DtlsError> {
        let expected = parse_fingerprint(line).ok_or(DtlsError::FingerprintLine)?;
        if !self.verified && self.expected.len() < MAX_FINGERPRINTS && !self.expected.contains(&expected) {
            self.expected.push(expected);
        }
        Ok(())
    }

    /// True once [`Dtls::expect`] has taken a fingerprint.
    #[must_use]
    pub fn can_start(&self) -> bool {
        !self.expected.is_empty()
    }

    /// Learns how long a packet takes to the peer and back: a flight is repeated when its answer must have been lost.
    pub fn set_round_trip(&mut self, round_trip: Duration) {
        self.clock.pause = (round_trip * 3 / 2).clamp(MIN_PAUSE, MAX_PAUSE);
    }

    /// True after [`Dtls::start`].
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// True once the handshake is verified, with an announced certificate.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.verified && self.failed.is_none()
    }

    /// Whether we are the client.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Begins the handshake, as client if `active`. Does nothing before a fingerprint is known, or a second time.
    ///
    /// # Errors
    /// Any; final.
    pub fn start(&mut self, now: Instant, active: bool) -> Result<(), DtlsError> {
        if self.started || !self.can_start() {
            return self.failed.map_or(Ok(()), Err);
        }
        self.started = true;
        self.clock.until = Some(now + HANDSHAKE);
        self.active = active;
        self.inner.set_active(active);
        self.guard = Guard::new(active);
        self.handle_timeout(now)
    }

    /// Takes a datagram. Ignored before [`Dtls::start`]. True if something is to be sent, mostly an answer to it.
    ///
    /// # Errors
    /// Any; final.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) -> Result<bool, DtlsError> {
        if !self.started {
            return Ok(false);
        }
        self.handle_timeout(now)?;
        let was_connected = self.is_connected();
        for record in guard::records(datagram) {
            self.receive_record(record)?;
        }
        let packets = self.output.iter().filter_map(|output| match output {
            DtlsOutput::Packet(packet) => Some(packet),
            DtlsOutput::Keys { .. } | DtlsOutput::Data(_) | DtlsOutput::Closed => None,
        });
        if self.is_connected() && !was_connected && !self.active {
            self.last_flight.begin(now, packets.clone().cloned().collect());
        }
        Ok(packets.count() > 0)
    }

    fn receive_record(&mut self, record: &[u8]) -> Result<(), DtlsError> {
        for record in self.guard.handle_input(record) {
            match self.inner.handle_packet(&record) {
                // What has its turn leaves the queue at once, so it does not fill; dropping is what a full queue means.
                Ok(()) | Err(dimpl::Error::ReceiveQueueFull) => self.drain()?,
                Err(dimpl::Error::ConnectionClosed) => {}
                // Sealed under another key: forged, and nothing else was in this record's datagram. dimpl drops it only
                // once the handshake is complete, but has changed nothing before either.
                Err(dimpl::Error::CryptoError(dimpl::CryptoError::OperationFailed(
                    dimpl::CryptoOperation::Decrypt,
                ))) => {}
                Err(error) => {
                    tracing::debug!(%error, "DTLS failed");
                    self.fail(DtlsError::Handshake)?;
                }
            }
        }
        Ok(())
    }

    /// Advances time.
    ///
    /// # Errors
    /// Any; final.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if !self.started {
            return Ok(());
        }
        let is_late = self.clock.until.is_some_and(|until| now >= until);
        if is_late && !self.is_connected() {
            tracing::debug!("DTLS takes too long");
            return self.fail(DtlsError::Handshake);
        }
        let repeats = self.last_flight.handle_timeout(now).iter().cloned();
        self.output.extend(repeats.map(DtlsOutput::Packet));
        let theirs = self.clock.advance(now);
        match self.inner.handle_timeout(theirs) {
            Ok(()) | Err(dimpl::Error::ConnectionClosed) => self.drain(),
            Err(error) => {
                tracing::debug!(%error, "DTLS failed");
                self.fail(DtlsError::Handshake)
            }
        }
    }

    /// Sends bytes to the peer; dropped before the handshake is complete.
    ///
    /// # Errors
    /// Any; final.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), DtlsError> {
        if !self.is_connected() {
            return self.failed.map_or(Ok(()), Err);
        }
        match self.inner.send_application_data(bytes) {
            // A full queue loses the packet, as a network would.
            Ok(_) | Err(dimpl::Error::TransmitQueueFull | dimpl::Error::ConnectionClosed) => self.drain(),
            Err(_) => self.fail(DtlsError::Handshake),
        }
    }

    /// Media has come under the keys of this session, so the peer has them.
    pub fn media_received(&mut self) {
        self.last_flight.end();
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        if self.is_connected() && self.inner.close().is_ok() {
            // Nothing is left to fail for.
            let _ = self.drain();
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<DtlsOutput> {
        self.output.pop_front()
    }

    /// When [`Dtls::handle_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let until = self.clock.until.filter(|_| !self.is_connected());
        let repeat = self.last_flight.poll_timeout();
        let due = self.clock.wake.into_iter().chain(until).chain(repeat).min();
        due.filter(|_| self.started && self.failed.is_none())
    }

    fn fail(&mut self, error: DtlsError) -> Result<(), DtlsError> {
        self.failed = Some(error);
        // Only what tells the peer may still leave: an alert; never data or keys.
        self.output.retain(|output| matches!(output, DtlsOutput::Packet(_)));
        Err(error)
    }

    fn drain(&mut self) -> Result<(), DtlsError> {
        loop {
            let room = self.record.len();
            match self.inner.poll_output(&mut self.record) {
                dimpl::Output::Packet(bytes) => {
                    self.guard.sent(bytes);
                    self.output.push_back(DtlsOutput::Packet(bytes.to_vec()));
                }
                dimpl::Output::BufferTooSmall { needed } if needed <= MAX_RECORD && needed > room => {
                    self.record.resize(needed, 0);
                }
                dimpl::Output::BufferTooSmall { .. } => return self.fail(DtlsError::Handshake),
                dimpl::Output::Timeout(at) => {
                    let connected = self.is_connected();
                    self.clock.due_at(at, connected);
                    return Ok(());
                }
                // Whoever sent it may not hold its key; whether it does is known when the handshake is verified.
                dimpl::Output::PeerCert(der) => {
                    self.guard.certificate_read();
                    self.certificate = Some(Sha256::digest(der).into());
                }
                dimpl::Output::Connected => self.verify()?,
                dimpl::Output::KeyingMaterial(material, profile) => {
                    let material = Zeroizing::new(material.to_vec());
                    let profile = match profile {
                        dimpl::SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        _ => return self.fail(DtlsError::Handshake),
                    };
                    if !self.verified {
                        return self.fail(DtlsError::Handshake);
                    }
                    self.output.push_back(DtlsOutput::Keys { profile, material });
                }
                dimpl::Output::ApplicationData(bytes) => {
                    if !self.verified {
                        return self.fail(DtlsError::Handshake);
                    }
                    self.output.push_back(DtlsOutput::Data(bytes.to_vec()));
                    self.last_flight.end();
                }
                dimpl::Output::CloseNotify => self.output.push_back(DtlsOutput::Closed),
                // The crate's enum may grow; what we do not know we do not need.
                _ => {}
            }
        }
    }

    /// Judges the peer's certificate, now that both Finished and a signature have proved that it holds the key.
    fn verify(&mut self) -> Result<(), DtlsError> {
        let Some(actual) = self.certificate else {
            return self.fail(DtlsError::Handshake);
        };
        let mut found = subtle::Choice::from(0);
        for expected in &self.expected {
            found |= expected.ct_eq(&actual);
        }
        if !bool::from(found) {
            return self.fail(DtlsError::Fingerprint);
        }
        self.verified = true;
        Ok(())
    }
}

fn parse_fingerprint(line: &str) -> Option<[u8; 32]> {
    let (hash, hexadecimal) = line.trim().split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0u8; 32];
    let mut pairs = hexadecimal.trim().split(':');
    for byte in &mut bytes {
        let pair = pairs.next()?;
        if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests;

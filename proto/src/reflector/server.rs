//! The reflector itself: which packet goes where.
//!
//! It serves tags that a hub has signed and nobody else, keeps a bounded table, and paces each party. An address that has not shown
//! that it is really there gets no more bytes than came from it: it shows it by a hello with the bytes of our answer, or by answering an
//! ICE check that was passed to it, neither of which anybody could without having got them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::tag::{self, SHARED, TAG, Tag};
use super::{HEADER, HELLO, IS_ANSWER, IS_HELLO};
use crate::net::ConnectionId;
use crate::rate::{Rate, RateLimiter};

/// Most parties at a time: 16 MB of memory.
const MAX_PARTIES: usize = 65_536;
/// Most parties of one call: two, and what they were before they began anew.
const MAX_OF_CALL: usize = 8;
/// A party that is not heard for this long is forgotten; it says hello every 10 s.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(35);
/// While a party is heard within this, nobody takes its place from another address.
const TAKEN_FOR: Duration = Duration::from_millis(500);
/// How often the forgotten are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// Packets of one party: five times as many as speech has.
const PACKETS: u32 = 250;
/// Bytes of one party in a second: speech has a tenth.
const BYTES: u32 = 125_000;
/// As long as a check of ICE is with what stands before it, in bytes.
const CHECK: usize = 160;
/// Longest packet that is passed, in bytes.
pub const MAX_PACKET: usize = 1_500;

/// Where a party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A UDP address, as seen by one of the sockets.
    Udp {
        /// Which.
        socket: usize,
        /// The address.
        remote: SocketAddr,
    },
    /// A connection.
    Stream(ConnectionId),
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Drop(Why),
    /// Give this back.
    Answer([u8; HELLO]),
    /// Pass it on as it is.
    Pass(Place),
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No packet of this protocol, or too long.
    Malformed,
    /// A tag that no hub signed, or one that has expired.
    Unsigned,
    /// No room for more parties, of all or of this call.
    Full,
    /// From an address at which the sender is not.
    Stranger,
    /// For a party that is not here.
    Absent,
    /// More than a party may send.
    Pace,
    /// The receiver has not shown that it is there.
    Unproven,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Hellos that were answered.
    pub hellos: u64,
    /// Packets that were passed on.
    pub passed: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Dropped as malformed.
    pub malformed: u64,
    /// Dropped for their tag.
    pub unsigned: u64,
    /// Dropped for lack of room.
    pub full: u64,
    /// Dropped since the sender was not there.
    pub strangers: u64,
    /// Dropped since the receiver was not there.
    pub absent: u64,
    /// Dropped for their pace.
    pub paced: u64,
    /// Dropped since the receiver had not shown that it is there.
    pub unproven: u64,
}

#[derive(Debug)]
struct Party {
    place: Place,
    heard: Instant,
    /// Its connection has ended. It stays with what it has used up, so that nobody gets more by beginning anew.
    is_gone: bool,
    /// When its tag expires, in seconds since 1970-01-01 UTC.
    expiry: u64,
    is_proven: bool,
    /// Until it is: bytes that may go to it.
    credit: usize,
    /// Until it is: the transaction of the check that was passed to it last.
    check: Option<[u8; 12]>,
    packets: RateLimiter,
    bytes: RateLimiter,
}

/// A reflector.
pub struct Server {
    secret: Zeroizing<Vec<u8>>,
    /// An instant, and the wall clock then, in seconds since 1970-01-01 UTC.
    epoch: (Instant, u64),
    parties: BTreeMap<Tag, Party>,
    /// Who came by which connection: one party each.
    by_connection: BTreeMap<ConnectionId, Tag>,
    sweep_at: Instant,
    counters: Counters,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("parties", &self.parties.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Serves the tags of those hubs that have this secret.
    #[must_use]
    pub fn new(secret: Zeroizing<Vec<u8>>, epoch: (Instant, u64)) -> Self {
        Self {
            secret,
            epoch,
            parties: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            sweep_at: epoch.0 + SWEEP,
            counters: Counters::default(),
        }
    }

    /// Takes another secret: parties stay that are here, others need a tag of it. False if it is the same.
    pub fn set_secret(&mut self, secret: Zeroizing<Vec<u8>>) -> bool {
        let is_same = bool::from(self.secret.ct_eq(&secret));
        self.secret = secret;
        !is_same
    }

    /// What a packet from somewhere is for.
    pub fn handle_input(&mut self, now: Instant, from: Place, packet: &[u8]) -> Verdict {
        let verdict = match self.judge(now, from, packet) {
            Ok(verdict) => verdict,
            Err(why) => Verdict::Drop(why),
        };
        self.count(verdict, packet.len());
        verdict
    }

    /// Whether a party is reached by this connection now.
    #[must_use]
    pub fn is_in_use(&self, connection: ConnectionId) -> bool {
        let party = self
            .by_connection
            .get(&connection)
            .and_then(|tag| self.parties.get(tag));
        party.is_some_and(|party| party.place == Place::Stream(connection))
    }

    /// A connection has ended.
    pub fn handle_closed(&mut self, connection: ConnectionId) {
        let Some(tag) = self.by_connection.remove(&connection) else {
            return;
        };
        let party = self.parties.get_mut(&tag);
        if let Some(party) = party.filter(|party| party.place == Place::Stream(connection)) {
            party.is_gone = true;
        }
    }

    /// Forgets who is gone.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP;
        let unix = self.unix(now);
        self.parties
            .retain(|_, party| now < party.heard + FORGOTTEN_AFTER && unix < party.expiry);
        let parties = &self.parties;
        self.by_connection.retain(|_, tag| parties.contains_key(tag));
    }

    /// When [`Server::handle_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.sweep_at
    }

    /// How many parties are here.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.parties.values().filter(|party| !party.is_gone).count()
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn unix(&self, now: Instant) -> u64 {
        self.epoch
            .1
            .saturating_add(now.saturating_duration_since(self.epoch.0).as_secs())
    }

    fn judge(&mut self, now: Instant, from: Place, packet: &[u8]) -> Result<Verdict, Why> {
        let (tag, rest) = packet.split_first_chunk::<TAG>().ok_or(Why::Malformed)?;
        let is_short_hello = matches!(from, Place::Stream(_)) && *rest == [0; 4];
        if is_short_hello {
            return self.hello(now, from, tag, &[0; 8]).map(Verdict::Answer);
        }
        if packet.len() < HEADER || packet.len() > MAX_PACKET {
            return Err(Why::Malformed);
        }
        if rest.starts_with(&IS_HELLO) {
            let shown: &[u8; 8] = rest
                .get(16..24)
                .and_then(|bytes| bytes.first_chunk())
                .ok_or(Why::Malformed)?;
            return self.hello(now, from, tag, shown).map(Verdict::Answer);
        }
        let mut sender = *tag;
        sender[SHARED..].copy_from_slice(&rest[..4]);
        let payload = &packet[HEADER..];
        self.sent(now, from, (&sender, packet.len()), payload)?;
        self.receiver(tag, packet.len(), payload).map(Verdict::Pass)
    }

    fn hello(&mut self, now: Instant, from: Place, tag: &Tag, shown: &[u8; 8]) -> Result<[u8; HELLO], Why> {
        if !self.parties.contains_key(tag) {
            self.admit(now, from, tag)?;
        }
        let cookie = tag::cookie(&self.secret, tag, from);
        let party = self.heard(now, from, tag)?;
        party.is_proven |= bool::from(cookie.ct_eq(shown));
        let mut answer = [0; HELLO];
        answer[..TAG].copy_from_slice(tag);
        answer[TAG..TAG + 16].copy_from_slice(&IS_ANSWER);
        answer[TAG + 16..].copy_from_slice(&cookie);
        Ok(answer)
    }

    fn admit(&mut self, now: Instant, from: Place, tag: &Tag) -> Result<(), Why> {
        let unix = self.unix(now);
        let expiry = tag::expiry(&self.secret, tag).filter(|expiry| unix < *expiry);
        let expiry = expiry.ok_or(Why::Unsigned)?;
        let (mut first, mut last) = (*tag, *tag);
        first[SHARED..].fill(0);
        last[SHARED..].fill(0xff);
        if self.parties.len() >= MAX_PARTIES || self.parties.range(first..=last).count() >= MAX_OF_CALL {
            return Err(Why::Full);
        }
        self.arrives(from, tag)?;
        self.parties.insert(*tag, Party::new(now, from, expiry));
        Ok(())
    }

    /// A party that is here is heard, where it is or where it has gone: who has seen a tag does not take the place of one that is heard.
    fn heard(&mut self, now: Instant, from: Place, tag: &Tag) -> Result<&mut Party, Why> {
        let party = self.parties.get(tag).ok_or(Why::Stranger)?;
        if party.place != from {
            if now < party.heard + TAKEN_FOR && !party.is_gone {
                return Err(Why::Stranger);
            }
            self.arrives(from, tag)?;
        }
        let party = self.parties.get_mut(tag).ok_or(Why::Stranger)?;
        if party.place != from {
            let (packets, bytes) = (party.packets, party.bytes);
            *party = Party {
                packets,
                bytes,
                ..Party::new(now, from, party.expiry)
            };
        }
        party.heard = now;
        Ok(party)
    }

    /// A connection is of one party.
    fn arrives(&mut self, from: Place, tag: &Tag) -> Result<(), Why> {
        if let Place::Stream(connection) = from
            && self.by_connection.entry(connection).or_insert(*tag) != tag
        {
            return Err(Why::Stranger);
        }
        Ok(())
    }

    /// Whether the sender may send this.
    fn sent(&mut self, now: Instant, from: Place, (tag, length): (&Tag, usize), payload: &[u8]) -> Result<(), Why> {
        let party = self.heard(now, from, tag)?;
        let second = Duration::from_secs(1);
        let bytes = u32::try_from(length).map_err(|_| Why::Malformed)?;
        let takes = |limiter: &mut RateLimiter, most, count| {
            let taken = limiter.take(now, Rate::new(most, second), count);
            taken.map_err(|_| Why::Pace)
        };
        takes(&mut party.packets, PACKETS, 1)?;
        takes(&mut party.bytes, BYTES, bytes)?;
        if !party.is_proven {
            party.credit = party.credit.saturating_add(length).min(MAX_PACKET * 4);
            party.is_proven = party.check.is_some() && transaction(payload, SUCCESS) == party.check;
        }
        Ok(())
    }

    /// Where it goes.
    fn receiver(&mut self, tag: &Tag, length: usize, payload: &[u8]) -> Result<Place, Why> {
        let party = self.parties.get_mut(tag).ok_or(Why::Absent)?;
        if party.is_gone {
            return Err(Why::Absent);
        }
        if !party.is_proven {
            let check = transaction(payload, REQUEST);
            // By a check it can show that it is there: anything else leaves room for one.
            let reserve = if check.is_some() { 0 } else { CHECK };
            let left = party.credit.checked_sub(length).filter(|left| *left >= reserve);
            party.credit = left.ok_or(Why::Unproven)?;
            party.check = check.or(party.check);
        }
        Ok(party.place)
    }

    fn count(&mut self, verdict: Verdict, length: usize) {
        let counters = &mut self.counters;
        let counter = match verdict {
            Verdict::Answer(_) => &mut counters.hellos,
            Verdict::Pass(_) => {
                counters.bytes += length as u64;
                &mut counters.passed
            }
            Verdict::Drop(Why::Malformed) => &mut counters.malformed,
            Verdict::Drop(Why::Unsigned) => &mut counters.unsigned,
            Verdict::Drop(Why::Full) => &mut counters.full,
            Verdict::Drop(Why::Stranger) => &mut counters.strangers,
            Verdict::Drop(Why::Absent) => &mut counters.absent,
            Verdict::Drop(Why::Pace) => &mut counters.paced,
            Verdict::Drop(Why::Unproven) => &mut counters.unproven,
        };
        *counter += 1;
    }
}

impl Party {
    fn new(now: Instant, place: Place, expiry: u64) -> Self {
        Self {
            place,
            heard: now,
            is_gone: false,
            expiry,
            // A connection was made by who is there.
            is_proven: matches!(place, Place::Stream(_)),
            credit: 0,
            check: None,
            packets: RateLimiter::default(),
            bytes: RateLimiter::default(),
        }
    }
}

/// The first two bytes of a Binding request, and of the answer to one (RFC 8489 §5).
const REQUEST: [u8; 2] = [0, 1];
const SUCCESS: [u8; 2] = [1, 1];

/// The transaction of a STUN message of this kind.
fn transaction(payload: &[u8], kind: [u8; 2]) -> Option<[u8; 12]> {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let (header, _) = payload.split_first_chunk::<20>()?;
    let is_one = header[..2] == kind && header[4..8] == COOKIE;
    is_one.then(|| header[8..].try_into().ok()).flatten()
}

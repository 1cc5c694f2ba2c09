//! The safe side of transports, sessions and paths alike: one trait, a machine that is fed and polled.

use core::ffi::CStr;
use core::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::{Error, Options, Packet};

/// A way to carry media: a session has RTP, RTCP and data messages above and datagrams below, a path (a relay) has datagrams on
/// both sides.
///
/// A path is made for one server: `create` reads `server:IP PORT`, `name:`, `via:udp|tcp|tls`, `username:` and `password:`. It learns
/// its lower side by [`About::Paths`], says by [`Event::Address`] which address it has given to the session above it, and passes on
/// to the peer in `dst` what `send` is given.
///
/// It opens no socket and reads no clock of its own accord: `now_ns` counts from an origin of the host's and never goes
/// backwards. After each call the host polls until [`Output::None`]. One thread at a time, not always the same one.
pub trait Transport: Sized + Send + 'static {
    /// The name that configuration and routes use, for instance `c"rtp"`.
    const NAME: &'static CStr;
    /// The most bytes that `send` puts before a packet.
    const HEADROOM: u32;
    /// The most bytes that `send` puts after a packet.
    const TAILROOM: u32;
    /// Of a path: below it is a stream of bytes, in arbitrary cuts. The host dials, and does TLS; the path frames.
    const STREAM: bool = false;

    /// Makes the machine for one leg.
    ///
    /// # Errors
    /// [`Error::Resources`], or [`Error::State`] if the host gave no random numbers.
    fn create(config: &TransportConfig<'_>) -> Result<Self, Error>;

    /// Appends those lines of our description that have not been returned before: SDP attributes without `a=`.
    ///
    /// # Errors
    /// Any; the host ends the leg.
    fn local(&mut self, now_ns: u64, out: &mut String) -> Result<(), Error>;

    /// Takes lines about the far side, our paths or what to do. Unknown lines are skipped.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::NoMatch`] for remote lines that make a session impossible.
    fn tell(&mut self, now_ns: u64, about: About, lines: &str) -> Result<(), Error>;

    /// Takes a datagram from below and says what it has become, in place.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a datagram to be dropped and counted; the session goes on.
    fn receive(&mut self, now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error>;

    /// Takes a packet from above and makes it a datagram, in place: [`Outcome::Transmit`] with path and destination set.
    ///
    /// # Errors
    /// [`Error::TooSmall`] if head- or tailroom is less than promised; [`Error::State`] before there is a session.
    fn send(&mut self, now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error>;

    /// The deadline that the last `poll` named has passed. Early and late calls are harmless.
    ///
    /// # Errors
    /// Any; the host ends the leg.
    fn timeout(&mut self, now_ns: u64) -> Result<(), Error>;

    /// Returns the next thing that the machine made by itself; it borrows the machine until the next call.
    fn poll(&mut self) -> Output<'_>;
}

/// Which side of the offer we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We offer: ICE controlling.
    Offer,
    /// We answer: ICE controlled.
    Answer,
}

/// What [`Transport::create`] is told.
#[derive(Debug, Clone, Copy)]
pub struct TransportConfig<'a> {
    /// Which side of the offer we are.
    pub role: Role,
    /// Now, on the host's scale.
    pub now_ns: u64,
    /// The operator's settings and those of this leg.
    pub options: Options<'a>,
}

/// What [`Transport::tell`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The far side's description: additive, a new `ice-ufrag:` begins a new generation.
    Remote,
    /// Our paths: `path:3 component 1 host 192.0.2.7 40000 mtu 1200`, `path:3 gone`.
    Paths,
    /// `ice-restart`, `close`.
    Control,
}

/// What a packet has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Kept, consumed or dropped: the host does nothing with it.
    Kept,
    /// A datagram to send, its path and destination set.
    Transmit,
    /// An RTP packet for above.
    Rtp,
    /// An RTCP packet for above.
    Rtcp,
    /// A data message for above, its channel set.
    Data,
    /// A datagram for the layer above (path transports).
    Datagram,
}

/// What the machine made by itself.
#[derive(Debug)]
pub enum Output<'a> {
    /// Nothing more; call `timeout` at the deadline, if there is one.
    None {
        /// On the host's scale.
        deadline_ns: Option<u64>,
    },
    /// A datagram to send.
    Transmit {
        /// Which path to send it by.
        path: u32,
        /// Where to.
        dst: SocketAddr,
        /// What.
        bytes: &'a [u8],
    },
    /// An RTP packet for above.
    Rtp(&'a [u8]),
    /// An RTCP packet for above.
    Rtcp(&'a [u8]),
    /// A data message for above.
    Data {
        /// The number of the data channel.
        channel: u16,
        /// Text, not bytes.
        text: bool,
        /// The message.
        bytes: &'a [u8],
    },
    /// A datagram for the layer above (paths): several may have come in one piece of a stream.
    Datagram {
        /// The peer that sent it.
        src: SocketAddr,
        /// What.
        bytes: &'a [u8],
    },
    /// Something to know.
    Event(Event<'a>),
}

/// What a transport lets the host know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Media can flow both ways.
    Connected,
    /// It is over; the text is one cause word: `ice`, `dtls`, `fingerprint`, `timeout`, `closed`; of a path `credentials`, `refused`,
    /// `timeout` or `closed`.
    Failed(&'a str),
    /// Ask [`Transport::local`] again: there are new lines.
    Local,
    /// An address of a path: `relay 192.0.2.7 40000`, by which the peer reaches us over it, or `outer 203.0.113.5 40000`, as which the
    /// server sees the socket below.
    Address(&'a str),
    /// `name:value` lines about the session, at most once a second.
    Stats(&'a str),
}

/// Turns the host's nanoseconds into `Instant`s and back, for machines that want those.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    origin_ns: u64,
}

impl Clock {
    /// Ties the host's `now_ns` to an instant, once, at `create`.
    #[must_use]
    pub fn new(now_ns: u64) -> Self {
        Self {
            origin: Instant::now(),
            origin_ns: now_ns,
        }
    }

    /// Returns the instant of a time on the host's scale; a time before the origin is the origin.
    #[must_use]
    pub fn instant(&self, now_ns: u64) -> Instant {
        self.origin + Duration::from_nanos(now_ns.saturating_sub(self.origin_ns).min(1 << 60))
    }

    /// Returns an instant on the host's scale.
    #[must_use]
    pub fn ns(&self, at: Instant) -> u64 {
        let past = u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX - 1);
        self.origin_ns.saturating_add(past).min(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_goes_both_ways() {
        let clock = Clock::new(5_000);
        for ns in [5_000, 5_001, 10_000_000_000] {
            assert_eq!(clock.ns(clock.instant(ns)), ns);
        }
        assert_eq!(clock.ns(clock.instant(0)), 5_000);
        assert!(clock.ns(clock.instant(u64::MAX)) < u64::MAX);
    }
}

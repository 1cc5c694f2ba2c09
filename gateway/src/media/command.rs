//! What call and media say to each other: a few values a second, never a packet.
//!
//! The call names legs and announcements by keys of its own choosing; a key is used once in the life of the process.

use std::{fmt, net::IpAddr, time::Duration};

use quartet_proto::sdp::{TelephoneEvent, offer_answer::Receivable};

use super::quality::Decision;
use super::relay::{Relay, Way, Ways};
use crate::cdr::Cause;
use crate::ivr::sound::Clip;
pub use crate::plugins::Role;

/// A media leg, named by the call that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegKey(pub u64);

/// One announcement, named by the call that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlayKey(pub u64);

/// Which sockets a leg gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Addresses of this machine, never the wildcard: one socket each. A leg of two components uses the first alone.
    pub addresses: Vec<IpAddr>,
    /// 1: RTP and RTCP share a port; 2: a pair of ports, even and odd.
    pub components: u8,
    /// What those outside are told beside them, with the same ports; the first of a family counts.
    pub outer: Vec<IpAddr>,
}

/// The codec of a leg, as agreed in SDP or by the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegCodec {
    /// SDP name, as in `rtpmap`; the case does not matter.
    pub name: String,
    /// Its RTP clock in Hz.
    pub clock: u32,
    /// Payload type towards the peer.
    pub send_pt: u8,
    /// Payload type from the peer.
    pub receive_pt: u8,
    /// The peer's `fmtp` text: what our encoder obeys. May be empty.
    pub send_fmtp: String,
    /// Our `fmtp` text: what our decoder obeys. May be empty.
    pub local_fmtp: String,
    /// Packet duration towards the peer; 20 where nobody asked for another one.
    pub ptime_ms: u32,
    /// RFC 4733 events, where both sides speak them.
    pub telephone_event: Option<TelephoneEvent>,
    /// Further payload types that events may come under.
    pub events: Vec<u8>,
    /// What the peer may send instead, at any time.
    pub also: Vec<Receivable>,
    /// The stream we send under.
    pub ssrc: u32,
    /// Whether lost packets are asked for, and what the peer asks for is sent again.
    pub nack: Nack,
}

/// Whether two sides send lost packets again (generic NACK, RFC 4585).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nack {
    /// Neither does.
    #[default]
    Off,
    /// Both do though nothing was said of it, as clients of the Telegram kind; hardly any of them asks.
    Tacit,
    /// They have agreed on it.
    Agreed,
}

/// What kind of receiver the peer of a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A telephone: its buffer is small and fixed, so frames leave at an even pace.
    Telephone,
    /// A program with a jitter buffer that adapts: frames leave as they come.
    Adaptive,
}

/// Why a media leg is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaFault {
    /// No pair of addresses works, or none works any more.
    Ice,
    /// The DTLS handshake failed.
    Dtls,
    /// The peer's certificate is not the announced one.
    Fingerprint,
    /// Nothing came for too long.
    Timeout,
    /// No port is left for the leg.
    Ports,
    /// The codec is not there, or there is no resampler between the two.
    Codec,
    /// A plugin broke its promise, or none has the transport.
    Plugin,
    /// The peer has closed its media.
    Closed,
    /// The transport refuses what the peer described, or failed by a word of its own.
    Transport,
    /// A panic in the leg's own code.
    Internal,
}

impl MediaFault {
    const ALL: [Self; 10] = [
        Self::Ice,
        Self::Dtls,
        Self::Fingerprint,
        Self::Timeout,
        Self::Ports,
        Self::Codec,
        Self::Plugin,
        Self::Closed,
        Self::Transport,
        Self::Internal,
    ];

    /// The word for logs, and in the transport contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ice => "ice",
            Self::Dtls => "dtls",
            Self::Fingerprint => "fingerprint",
            Self::Timeout => "timeout",
            Self::Ports => "ports",
            Self::Codec => "codec",
            Self::Plugin => "plugin",
            Self::Closed => "closed",
            Self::Transport => "transport",
            Self::Internal => "internal",
        }
    }

    /// Reads the word with which a transport plugin failed; a word that is not known is the transport's own matter.
    pub fn from_word(word: &str) -> Self {
        let mut known = Self::ALL.into_iter().filter(|fault| fault.word() == word);
        known.next().unwrap_or(Self::Transport)
    }

    /// Why the call ends.
    pub fn cause(self) -> Cause {
        match self {
            Self::Ice => Cause::Ice,
            Self::Dtls => Cause::Dtls,
            Self::Fingerprint => Cause::Fingerprint,
            Self::Timeout => Cause::Timeout,
            Self::Ports => Cause::Ports,
            Self::Codec => Cause::Codec,
            Self::Plugin | Self::Internal => Cause::Plugin,
            Self::Closed | Self::Transport => Cause::Media,
        }
    }
}

impl fmt::Display for MediaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// An order from the call.
///
/// An order for a leg that does not exist (any more) is dropped.
#[derive(Clone, PartialEq, Eq)]
pub enum MediaCommand {
    /// Makes a leg: sockets and a transport. [`MediaEvent::Local`] or [`MediaEvent::Failed`] follows.
    Open {
        /// The new leg.
        leg: LegKey,
        /// A leg that this one will be bridged with: both get the same worker.
        same_worker_as: Option<LegKey>,
        /// Name of the transport.
        transport: String,
        /// Who listens there.
        sink: Sink,
        /// Which end of the handshake we are.
        role: Role,
        /// Which sockets.
        bind: Bind,
        /// `name:value` lines of the transport's options; may be empty.
        options: String,
        /// Whether the peer learns no address of ours: media goes over relays alone.
        relay_only: bool,
    },
    /// The machine has other addresses: a leg whose streams share one port gets a socket for each that is new, and loses those of
    /// addresses that are not named any more. Relays over these are lost as well.
    Rebind {
        /// The leg.
        leg: LegKey,
        /// Which sockets.
        bind: Bind,
    },
    /// The way to the peer is looked for anew, beside all that is going on.
    Restart {
        /// The leg.
        leg: LegKey,
    },
    /// Lets a leg use a server as well. Nothing, if it does.
    Relay {
        /// The leg.
        leg: LegKey,
        /// The server.
        relay: Relay,
    },
    /// New lines of the peer's description.
    Remote {
        /// The leg.
        leg: LegKey,
        /// SDP attribute lines; they hold keys and are wiped after use.
        lines: String,
    },
    /// The agreed codec; again after a new agreement.
    Codec {
        /// The leg.
        leg: LegKey,
        /// The codec.
        codec: LegCodec,
    },
    /// Lets the leg's person hear these clips instead of the bridged peer; the other direction goes on.
    ///
    /// A new announcement replaces the running one, which then ends without [`MediaEvent::Played`].
    /// Without a codec on the leg yet it waits for one.
    Play {
        /// The leg whose person hears it.
        leg: LegKey,
        /// The announcement's name in [`MediaEvent::Played`].
        play: PlayKey,
        /// What is played, in order.
        clips: Vec<Clip>,
    },
    /// Ends the running announcement, if any, without [`MediaEvent::Played`].
    StopPlay {
        /// The leg.
        leg: LegKey,
    },
    /// Joins two legs: each hears the other. Ends an earlier bridge of either.
    ///
    /// May come before either leg has a codec or a connection; sound flows as soon as both have.
    Bridge {
        /// One leg.
        a: LegKey,
        /// The other leg, opened beside it.
        b: LegKey,
    },
    /// Parts a leg from its partner.
    Unbridge {
        /// Either of the two.
        a: LegKey,
    },
    /// Lets a leg's person hear nothing of the partner (announcements are still heard), or ends that.
    Hold {
        /// The leg.
        leg: LegKey,
        /// Begin or end.
        on: bool,
    },
    /// Sends one key press to the leg's peer, where events are negotiated.
    SendDtmf {
        /// The leg.
        leg: LegKey,
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
    },
    /// Says this to the peer over the transport's data channel as soon as there is one; what was to be said before is forgotten.
    State {
        /// The leg.
        leg: LegKey,
        /// A text.
        text: String,
    },
    /// Says goodbye in the transport's way and frees everything. [`MediaEvent::Closed`] follows.
    Close {
        /// The leg.
        leg: LegKey,
    },
}

impl MediaCommand {
    /// The leg the order is for; of two, the first.
    pub fn leg(&self) -> LegKey {
        match self {
            Self::Open { leg, .. }
            | Self::Remote { leg, .. }
            | Self::Relay { leg, .. }
            | Self::Rebind { leg, .. }
            | Self::Restart { leg }
            | Self::Codec { leg, .. }
            | Self::Play { leg, .. }
            | Self::StopPlay { leg }
            | Self::Hold { leg, .. }
            | Self::SendDtmf { leg, .. }
            | Self::State { leg, .. }
            | Self::Close { leg } => *leg,
            Self::Bridge { a, .. } | Self::Unbridge { a } => *a,
        }
    }
}

impl fmt::Debug for MediaCommand {
    /// Prints which order for which leg: descriptions hold keys and stay out of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Open { .. } => "Open",
            Self::Relay { .. } => "Relay",
            Self::Rebind { .. } => "Rebind",
            Self::Restart { .. } => "Restart",
            Self::Remote { .. } => "Remote",
            Self::Codec { .. } => "Codec",
            Self::Play { .. } => "Play",
            Self::StopPlay { .. } => "StopPlay",
            Self::Bridge { .. } => "Bridge",
            Self::Unbridge { .. } => "Unbridge",
            Self::Hold { .. } => "Hold",
            Self::SendDtmf { .. } => "SendDtmf",
            Self::State { .. } => "State",
            Self::Close { .. } => "Close",
        };
        f.debug_tuple(name).field(&self.leg()).finish()
    }
}

/// What the call hears of its media.
#[derive(Clone, PartialEq)]
pub enum MediaEvent {
    /// New lines of our description, to be given to the peer.
    Local {
        /// The leg.
        leg: LegKey,
        /// SDP attribute lines; they hold keys.
        lines: String,
    },
    /// The transport is up: packets may flow both ways.
    Connected {
        /// The leg.
        leg: LegKey,
    },
    /// The leg is dead and only waits for [`MediaCommand::Close`].
    Failed {
        /// The leg.
        leg: LegKey,
        /// Why.
        fault: MediaFault,
    },
    /// An announcement has been heard to its end.
    Played {
        /// The leg.
        leg: LegKey,
        /// Which one.
        play: PlayKey,
    },
    /// The leg's person pressed a key: once per press.
    Dtmf {
        /// The leg.
        leg: LegKey,
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
    },
    /// The peer has said something over the data channel; of a flood only a few texts a second are told.
    State {
        /// The leg.
        leg: LegKey,
        /// A text of at most 1 KiB.
        text: String,
    },
    /// How the leg is doing, once a second.
    Report {
        /// The leg.
        leg: LegKey,
        /// The figures.
        report: Report,
    },
    /// The leg is gone: its sockets are free.
    Closed {
        /// The leg.
        leg: LegKey,
    },
}

impl MediaEvent {
    /// The leg that speaks.
    pub fn leg(&self) -> LegKey {
        match self {
            Self::Local { leg, .. }
            | Self::Connected { leg }
            | Self::Failed { leg, .. }
            | Self::Played { leg, .. }
            | Self::Dtmf { leg, .. }
            | Self::State { leg, .. }
            | Self::Report { leg, .. }
            | Self::Closed { leg } => *leg,
        }
    }
}

impl fmt::Debug for MediaEvent {
    /// Prints no description and no key press.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { leg, .. } => f.debug_tuple("Local").field(leg).finish(),
            Self::Connected { leg } => f.debug_tuple("Connected").field(leg).finish(),
            Self::Failed { leg, fault } => f.debug_tuple("Failed").field(leg).field(fault).finish(),
            Self::Played { leg, play } => f.debug_tuple("Played").field(leg).field(play).finish(),
            Self::Dtmf { leg, .. } => f.debug_tuple("Dtmf").field(leg).finish(),
            Self::State { leg, .. } => f.debug_tuple("State").field(leg).finish(),
            Self::Report { leg, report } => f.debug_tuple("Report").field(leg).field(report).finish(),
            Self::Closed { leg } => f.debug_tuple("Closed").field(leg).finish(),
        }
    }
}

/// The figures of a leg since it was opened, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// RTP packets received.
    pub received: u64,
    /// RTP packets from the peer's address that were not of its stream: another SSRC while its own is alive, or far from it.
    pub refused: u64,
    /// RTP packets that did not come by themselves, by sequence number.
    pub lost: u64,
    /// How often lost packets were asked for.
    pub asked: u64,
    /// Of the lost packets those that came because of it.
    pub repaired: u64,
    /// Packets that were made up from what the next one had of them.
    pub restored: u64,
    /// RTP packets that came too late to be heard.
    pub late: u64,
    /// Frames made up because of loss or lateness.
    pub concealed: u64,
    /// Interarrival jitter now, in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f32,
    /// How long packets wait in the receiving buffer now, in milliseconds.
    pub depth_ms: f32,
    /// How what is sent is coded, and why; `None` if the codec leaves no choice.
    pub decision: Option<Decision>,
    /// How long a frame is that is sent, in milliseconds.
    pub frame_ms: u32,
    /// How long a packet is that comes, in milliseconds.
    pub packet_ms: u32,
    /// How often one packet or more in a row had to be made up.
    pub holes: u64,
    /// By how much sound was made longer or shorter, in milliseconds.
    pub stretched_ms: u64,
    /// Round trip by RTCP or by checks of the way, as last measured.
    pub round_trip: Option<Duration>,
    /// Share of our packets that the peer missed, as it last reported: 0 to 1.
    pub remote_loss: Option<f32>,
    /// How long nothing has been received: since the last RTP packet or report of the peer, or since the leg was opened.
    pub silent: Duration,
    /// RTP packets sent.
    pub sent: u64,
    /// Packets that were not sent: too long, refused by the transport, or not taken by the system.
    pub unsent: u64,
    /// By which way RTP went last.
    pub way: Option<Way>,
    /// The ways that were tried.
    pub ways: Ways,
}

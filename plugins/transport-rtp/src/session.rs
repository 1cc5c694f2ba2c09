//! One session of RTP, in clear or as SRTP with keys of the descriptions; what matters is whose packets count and where ours go.
//!
//! Text lines. PATHS: `component 1` for RTP, `component 2` for RTCP (without it RTCP goes with RTP). REMOTE: `c:`, `port:`,
//! `rtcp-port:` or `rtcp-mux`, `ssrc:`, `signalled-from:`, `direction:`; `crypto:` turns SRTP on, `x-srtp:off` off. LOCAL: `c:`,
//! `port:`, `rtcp-port:` or `rtcp-mux`, of the first path, and a `crypto:` for each suite.
//!
//! CONNECTED comes as soon as a path and the far side's address are known, without waiting for a packet: a phone that only
//! listens is connected too. No packet is accepted before REMOTE has named an address. There is no deadline and no failure:
//! whether silence ends a call is the host's decision. Nothing allocates for a packet, save inside webrtc-srtp. A packet that is not
//! authentic counts for nothing, also not for where the far side is.

use core::ffi::CStr;
use core::net::{IpAddr, SocketAddr};

use quartet_plugin::{About, Error, Event, Kind, Outcome, Output, Packet, Transport, TransportConfig};
use quartet_proto::net::is_destination;
use quartet_proto::rtp::latch::Latch;
use quartet_proto::rtp::packet::{Packet as RtpPacket, is_rtcp};
use quartet_proto::rtp::path::{self, PathLine};
use quartet_proto::rtp::rtcp;

use crate::secure::{Secure, TAILROOM};

/// Most paths: an address of each family for each component, and as many again while they change.
const MAX_PATHS: usize = 8;
/// Most streams that REMOTE may announce.
const MAX_STREAMS: usize = 16;
/// Who has not reported for so long may have another port: some reports in the usual distance.
const REPORTER_NS: u64 = 20_000_000_000;
/// RTCP header with an SSRC.
const MIN_RTCP: usize = 8;

/// A session of RTP.
#[derive(Default)]
pub struct Rtp {
    secure: Secure,
    keys_told: bool,
    paths: Vec<OwnPath>,
    address: Option<IpAddr>,
    /// Where the far side's signalling comes from.
    home: Option<IpAddr>,
    /// Whether both sides may send, by the far side's description: it is not on hold.
    talks: bool,
    port: u16,
    rtcp_port: Option<u16>,
    mux: bool,
    streams: Vec<u32>,
    rtp: Latch,
    /// Where signalling says that reports come from.
    rtcp: Option<SocketAddr>,
    /// Who has reported under a stream that was heard then, under which, and when last.
    reporter: Option<(SocketAddr, u32, u64)>,
    lines: String,
    local_event: bool,
    connected: bool,
    connected_event: bool,
    closed: bool,
}

#[derive(Clone, Copy)]
struct OwnPath {
    path: u32,
    component: u8,
    address: SocketAddr,
}

impl Transport for Rtp {
    const NAME: &'static CStr = c"rtp";
    const HEADROOM: u32 = 0;
    const TAILROOM: u32 = TAILROOM;

    fn create(_: &TransportConfig<'_>) -> Result<Self, Error> {
        Ok(Rtp {
            secure: Secure::new()?,
            ..Rtp::default()
        })
    }

    fn local(&mut self, _: u64, out: &mut String) -> Result<(), Error> {
        out.push_str(&core::mem::take(&mut self.lines));
        self.local_event = false;
        Ok(())
    }

    fn tell(&mut self, _: u64, about: About, lines: &str) -> Result<(), Error> {
        match about {
            About::Remote => self.remote(lines)?,
            About::Paths => self.own_paths(lines),
            About::Control => self.closed |= lines.lines().any(|line| line.trim() == "close"),
        }
        if !self.connected && self.rtp.destination().is_some() && self.paths.iter().any(|path| path.component == 1) {
            self.connected = true;
            self.connected_event = true;
        }
        Ok(())
    }

    fn receive(&mut self, now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        let (Some(source), Some(component)) = (packet.src(), self.component_of(packet.path())) else {
            return Ok(Outcome::Kept);
        };
        if self.closed {
            return Ok(Outcome::Kept);
        }
        if self.secure.is_on() && !self.secure.open(packet) {
            return Ok(Outcome::Kept);
        }
        let bytes = packet.bytes();
        if is_rtcp(bytes) {
            // With RTP, the latch is that of RTP; reports do not decide it.
            let accepted = if component == 2 {
                self.hears_report(now_ns, source, bytes)
            } else {
                bytes.len() >= MIN_RTCP && self.is_rtp_source(source)
            };
            return Ok(if accepted { Outcome::Rtcp } else { Outcome::Kept });
        }
        let parsed = RtpPacket::parse(bytes).map_err(|_| Error::Malformed)?;
        let announced = self.streams.is_empty() || self.streams.contains(&parsed.ssrc);
        let accepted = component == 1 && announced && self.rtp.accept(now_ns, source, parsed.ssrc);
        Ok(if accepted { Outcome::Rtp } else { Outcome::Kept })
    }

    fn send(&mut self, _: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        if self.closed {
            return Err(Error::State);
        }
        let (component, destination) = match packet.kind() {
            Some(Kind::Rtp) => (1, self.rtp.destination()),
            Some(Kind::Rtcp) => {
                let component = if self.rtcp_goes_with_rtp() { 1 } else { 2 };
                let Some(destination) = self.report_to(component, packet.bytes()) else {
                    return Ok(Outcome::Kept);
                };
                (component, Some(destination))
            }
            Some(Kind::Data | Kind::Datagram) | None => return Err(Error::Unsupported),
        };
        let destination = destination.ok_or(Error::State)?;
        let fits = |path: &&OwnPath| path.component == component && path.address.is_ipv4() == destination.is_ipv4();
        let path = self.paths.iter().find(fits).ok_or(Error::State)?;
        packet.set_path(path.path);
        self.secure.seal(packet)?;
        packet.set_dst(destination);
        Ok(Outcome::Transmit)
    }

    fn timeout(&mut self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn poll(&mut self) -> Output<'_> {
        if core::mem::take(&mut self.local_event) {
            return Output::Event(Event::Local);
        }
        if core::mem::take(&mut self.connected_event) {
            return Output::Event(Event::Connected);
        }
        Output::None { deadline_ns: None }
    }
}

impl Rtp {
    fn remote(&mut self, lines: &str) -> Result<(), Error> {
        let mut keys = Ok(());
        let mut named = None;
        let talked = core::mem::replace(&mut self.talks, true);
        for line in lines.lines().map(str::trim) {
            if let Some(address) = line.strip_prefix("c:") {
                // "IN IP4 192.0.2.1" and "192.0.2.1" alike; a name changes nothing.
                let ip = address
                    .split_ascii_whitespace()
                    .next_back()
                    .and_then(|word| word.parse::<IpAddr>().ok());
                named = ip.map(|ip| ip.to_canonical()).or(named);
            } else if let Some(port) = line.strip_prefix("port:") {
                // Port 0 is a refused stream: the old place stays.
                self.port = port.trim().parse().ok().filter(|port| *port != 0).unwrap_or(self.port);
            } else if let Some(port) = line.strip_prefix("rtcp-port:") {
                self.rtcp_port = port.trim().parse().ok().filter(|port| *port != 0).or(self.rtcp_port);
                self.mux = false;
            } else if let Some(ip) = line.strip_prefix("signalled-from:") {
                self.home = ip.trim().parse().ok().or(self.home);
            } else if let Some(direction) = line.strip_prefix("direction:") {
                self.talks = direction.trim() == "sendrecv";
            } else if line == "rtcp-mux" {
                self.mux = true;
            } else if let Some(stream) = line.strip_prefix("ssrc:") {
                let ssrc = stream
                    .split_ascii_whitespace()
                    .next()
                    .and_then(|word| word.parse().ok());
                let room = self.streams.len() < MAX_STREAMS;
                self.streams
                    .extend(ssrc.filter(|ssrc| room && !self.streams.contains(ssrc)));
            } else {
                keys = keys.and(self.secure.remote_line(line));
            }
        }
        // The zero address of an old hold, a group, and ourselves to a far side that is elsewhere, are no place to send to:
        // the old one stays.
        let loopback = self.home.is_none_or(|home| home.to_canonical().is_loopback());
        self.address = named.filter(|ip| is_destination(*ip, loopback)).or(self.address);
        if let (Some(ip), 1..) = (self.address, self.port) {
            let resumes = self.talks && !talked;
            self.rtp.signal(SocketAddr::new(ip, self.port), self.home, resumes);
            // RFC 3550 §11: the next port, where nothing else is said.
            let port = self.rtcp_port.or(self.port.checked_add(1));
            self.rtcp = port.map(|port| SocketAddr::new(ip, port)).or(self.rtcp);
        }
        keys
    }

    fn own_paths(&mut self, lines: &str) {
        for line in lines.lines().filter_map(path::parse) {
            match line {
                PathLine::Added {
                    path,
                    component: component @ 1..=2,
                    address,
                    ..
                } => {
                    if self.paths.len() < MAX_PATHS && self.component_of(path).is_none() {
                        self.paths.push(OwnPath {
                            path,
                            component,
                            address,
                        });
                    }
                }
                PathLine::Added { .. } => {}
                PathLine::Gone { path } => self.paths.retain(|own| own.path != path),
            }
        }
        let first = |component| {
            self.paths
                .iter()
                .find(|path| path.component == component)
                .map(|path| path.address)
        };
        let Some(rtp) = first(1) else {
            return;
        };
        let rtcp = first(2).map_or("rtcp-mux\n".to_owned(), |rtcp| format!("rtcp-port:{}\n", rtcp.port()));
        let mut lines = format!("c:{}\nport:{}\n{rtcp}", rtp.ip(), rtp.port());
        if !std::mem::replace(&mut self.keys_told, true) {
            self.secure.write_lines(&mut lines);
        }
        if self.lines != lines {
            self.lines = lines;
            self.local_event = true;
        }
    }

    fn component_of(&self, path: u32) -> Option<u8> {
        self.paths.iter().find(|own| own.path == path).map(|own| own.component)
    }

    fn rtcp_goes_with_rtp(&self) -> bool {
        self.mux || !self.paths.iter().any(|path| path.component == 2)
    }

    /// Whether a report on a port of its own is read: who sends under the stream that is heard is the phone, wherever it sends from; and
    /// so is whoever reports from where signalling says, unless the phone is heard from elsewhere than it says.
    fn hears_report(&mut self, now_ns: u64, source: SocketAddr, bytes: &[u8]) -> bool {
        let sender = bytes.get(4..8).and_then(|ssrc| ssrc.try_into().ok());
        let Some(sender) = sender.map(u32::from_be_bytes) else {
            return false;
        };
        let hosts = [
            self.home,
            self.rtcp.map(|rtcp| rtcp.ip()),
            self.rtp.latched().map(|rtp| rtp.ip()),
        ];
        if self.rtp.ssrc() == Some(sender) && hosts.contains(&Some(source.ip())) {
            // It may get another port, but not beside the one it has.
            let is_other = |(before, of, at_ns): (SocketAddr, u32, u64)| {
                before != source && of == sender && now_ns.saturating_sub(at_ns) < REPORTER_NS
            };
            let is_theirs = !self.reporter.is_some_and(is_other);
            if is_theirs {
                self.reporter = Some((source, sender, now_ns));
            }
            return is_theirs;
        }
        self.rtcp == Some(source) && !self.rtp.is_elsewhere()
    }

    /// Where a report of ours goes. Whoever knows the SSRC of a phone could speak for it, and a port beside the phone's may be a
    /// neighbour's: so a report that names a stream goes to who has shown to know it.
    fn report_to(&self, component: u8, bytes: &[u8]) -> Option<SocketAddr> {
        let heard = self.rtp.ssrc();
        let names_no_other = rtcp::named(bytes).all(|named| Some(named) == heard);
        if component == 1 {
            return self.rtp.destination().filter(|_| names_no_other);
        }
        let reporter = self
            .reporter
            .filter(|(_, sender, _)| Some(*sender) == heard && names_no_other);
        let named = self.rtcp.filter(|_| rtcp::named(bytes).next().is_none());
        reporter.map(|(source, ..)| source).or(named)
    }

    fn is_rtp_source(&self, source: SocketAddr) -> bool {
        self.rtp.latched().or(self.rtp.destination()) == Some(source)
    }
}

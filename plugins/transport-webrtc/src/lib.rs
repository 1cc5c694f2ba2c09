//! Plugin transport-webrtc: ICE, DTLS-SRTP and one data channel, a thin shim over `proto::webrtc::Endpoint`.
//!
//! It turns the contract's lines, packets and nanoseconds into that machine's, and nothing else.

use core::ffi::CStr;

use quartet_plugin::{
    About, Clock, Error, Event, HostRng, Kind, Outcome, Output, Packet, Role, Transport, TransportConfig,
};
use quartet_proto::webrtc::{self, Endpoint, Received, SendError, Sent, endpoint};

/// A WebRTC session.
pub struct WebRtc {
    endpoint: Endpoint,
    clock: Clock,
    /// What the last `poll` lent to the host.
    lent: Option<webrtc::Output>,
    /// The figures in it, as text.
    figures: String,
}

impl Transport for WebRtc {
    const NAME: &'static CStr = c"webrtc";
    const HEADROOM: u32 = 0;
    const TAILROOM: u32 = endpoint::TAILROOM as u32;

    fn create(config: &TransportConfig<'_>) -> Result<Self, Error> {
        let clock = Clock::new(config.now_ns);
        let role = match config.role {
            Role::Offer => webrtc::Role::Offer,
            Role::Answer => webrtc::Role::Answer,
        };
        let rng = Box::new(HostRng::new()?);
        let endpoint = Endpoint::new(role, rng, clock.instant(config.now_ns)).map_err(|_| Error::Resources)?;
        Ok(WebRtc {
            endpoint,
            clock,
            lent: None,
            figures: String::new(),
        })
    }

    fn local(&mut self, _: u64, out: &mut String) -> Result<(), Error> {
        out.push_str(&self.endpoint.local_lines());
        Ok(())
    }

    fn tell(&mut self, now_ns: u64, about: About, lines: &str) -> Result<(), Error> {
        let now = self.clock.instant(now_ns);
        match about {
            About::Remote => self.endpoint.remote_lines(now, lines).map_err(|_| Error::Malformed)?,
            About::Paths => self.endpoint.path_lines(now, lines),
            About::Control => {
                for line in lines.lines() {
                    match line.trim() {
                        "ice-restart" => self.endpoint.restart(now),
                        "close" => self.endpoint.close(now),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        let source = packet.src().ok_or(Error::Argument)?;
        let (now, path) = (self.clock.instant(now_ns), packet.path());
        let (outcome, length) = match self.endpoint.receive(now, path, source, packet.bytes_mut()) {
            Received::Nothing => return Ok(Outcome::Kept),
            Received::Rtp(length) => (Outcome::Rtp, length),
            Received::Rtcp(length) => (Outcome::Rtcp, length),
        };
        packet.set_len(length)?;
        Ok(outcome)
    }

    fn send(&mut self, now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        let kind = match packet.kind() {
            Some(Kind::Rtp) => webrtc::Kind::Rtp,
            Some(Kind::Rtcp) => webrtc::Kind::Rtcp,
            Some(Kind::Data) => webrtc::Kind::Data {
                text: packet.channel().1,
            },
            Some(Kind::Datagram) | None => return Err(Error::Unsupported),
        };
        let (buffer, length) = packet.room_mut();
        match self
            .endpoint
            .send(self.clock.instant(now_ns), kind, buffer, length)
            .map_err(refusal)?
        {
            Sent::Kept => Ok(Outcome::Kept),
            Sent::Transmit {
                length,
                path,
                destination,
            } => {
                packet.set_len(length)?;
                packet.set_path(path);
                packet.set_dst(destination);
                Ok(Outcome::Transmit)
            }
        }
    }

    fn timeout(&mut self, now_ns: u64) -> Result<(), Error> {
        self.endpoint.handle_timeout(self.clock.instant(now_ns));
        Ok(())
    }

    fn poll(&mut self) -> Output<'_> {
        self.lent = self.endpoint.poll_output();
        match &self.lent {
            None => Output::None {
                deadline_ns: self.endpoint.poll_timeout().map(|at| self.clock.ns(at)),
            },
            Some(webrtc::Output::Transmit {
                path,
                destination,
                bytes,
            }) => Output::Transmit {
                path: *path,
                dst: *destination,
                bytes,
            },
            Some(webrtc::Output::Data { channel, text, bytes }) => Output::Data {
                channel: *channel,
                text: *text,
                bytes,
            },
            Some(webrtc::Output::Local) => Output::Event(Event::Local),
            Some(webrtc::Output::Connected) => Output::Event(Event::Connected),
            Some(webrtc::Output::RoundTrip(round_trip)) => {
                self.figures = format!("round-trip-us:{}\n", round_trip.as_micros());
                Output::Event(Event::Stats(&self.figures))
            }
            Some(webrtc::Output::Failed(failure)) => Output::Event(Event::Failed(failure.word())),
        }
    }
}

fn refusal(error: SendError) -> Error {
    use quartet_proto::rtp::srtp::SrtpError;
    use quartet_proto::webrtc::sctp::SctpError;
    match error {
        SendError::NotConnected | SendError::Sctp(SctpError::NotOpen) => Error::State,
        SendError::Srtp(SrtpError::NoRoom) => Error::TooSmall,
        SendError::Srtp(SrtpError::Malformed) | SendError::Sctp(SctpError::TooLarge) => Error::Argument,
        SendError::Sctp(SctpError::Full) | SendError::Srtp(SrtpError::Exhausted) => Error::Resources,
        // The others of these enums come from receiving; they may grow.
        SendError::Srtp(_) | SendError::Sctp(_) | _ => Error::State,
    }
}

quartet_plugin::export_transport! {
    symbol: quartet_plugin_transport_webrtc,
    id: "transport-webrtc",
    licence: "MIT OR Apache-2.0",
    summary: "ICE, DTLS-SRTP and a data channel, as browsers and Telegram calls speak them",
    options: [],
    transports: [WebRtc],
}

#[cfg(test)]
#[path = "../../transport-rtp/src/driver.rs"]
mod driver;
#[cfg(test)]
mod tests;

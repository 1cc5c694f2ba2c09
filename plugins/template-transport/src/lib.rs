//! The smallest session transport that works, in Rust: RTP whose bytes are masked, so that they do not look like RTP.
//!
//! A mask is no encryption. Change the names, put your own work into `receive` and `send`, and try it:
//! `quartet plugin test target/release/libtemplate_transport.so`. In a call: `[[phone]] transport = "masked"`.

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

use quartet_plugin::{About, Error, Event, Kind, Outcome, Output, Packet, Transport, TransportConfig};

quartet_plugin::export_transport! {
    symbol: quartet_plugin_template_transport,
    id: "template-transport",
    licence: "MIT OR Apache-2.0",
    summary: "RTP behind a mask: the template of a session transport in Rust",
    options: [{ name: "mask", kind: "int", default_value: "165", help: "byte that both sides lay over all others, 0 to 255" }],
    transports: [Masked],
}

/// The machine of one leg of a call. No socket, no clock: it is fed and asked.
struct Masked {
    mask: u8,
    /// Our socket, by its number, once the host has told it.
    path: Option<(u32, SocketAddr)>,
    /// The far side's address, as far as its description has named it.
    ip: Option<IpAddr>,
    port: Option<u16>,
    /// Lines that `local` has not returned yet.
    lines: String,
    /// What `poll` has to say.
    tell_local: bool,
    connected: bool,
    tell_connected: bool,
}

impl Masked {
    fn far(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.ip?, self.port?))
    }

    fn mask(&self, packet: &mut Packet<'_>) {
        packet.bytes_mut().iter_mut().for_each(|byte| *byte ^= self.mask);
    }
}

impl Transport for Masked {
    const NAME: &'static CStr = c"masked";
    // Nothing is added: a transport with a header of its own says here how long that is, and uses `grow_front`.
    const HEADROOM: u32 = 0;
    const TAILROOM: u32 = 0;

    fn create(config: &TransportConfig<'_>) -> Result<Self, Error> {
        let mask = config.options.number("mask").and_then(|mask| mask.try_into().ok());
        Ok(Self {
            mask: mask.ok_or(Error::Argument)?,
            path: None,
            ip: None,
            port: None,
            lines: String::new(),
            tell_local: false,
            connected: false,
            tell_connected: false,
        })
    }

    fn local(&mut self, _now_ns: u64, out: &mut String) -> Result<(), Error> {
        out.push_str(&std::mem::take(&mut self.lines));
        Ok(())
    }

    fn tell(&mut self, _now_ns: u64, about: About, lines: &str) -> Result<(), Error> {
        for line in lines.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match (about, words.as_slice()) {
                // One socket is enough: RTCP goes with RTP.
                (About::Paths, [path, "component", "1", "host", ip, port, ..]) if self.path.is_none() => {
                    let number = path.strip_prefix("path:").and_then(|number| number.parse().ok());
                    let address = ip.parse::<IpAddr>().ok().zip(port.parse().ok());
                    if let (Some(number), Some(address)) = (number, address.map(SocketAddr::from)) {
                        self.path = Some((number, address));
                        self.lines = format!("c:{}\nport:{}\nrtcp-mux\n", address.ip(), address.port());
                        self.tell_local = true;
                    }
                }
                (About::Remote, _) => {
                    if let Some(address) = line.strip_prefix("c:") {
                        let ip = address.split_ascii_whitespace().next_back().and_then(|ip| ip.parse().ok());
                        self.ip = ip.or(self.ip);
                    } else if let Some(port) = line.strip_prefix("port:") {
                        self.port = port.trim().parse().ok().filter(|port| *port != 0).or(self.port);
                    }
                }
                // Lines that are not known are skipped: later versions have more.
                _ => {}
            }
        }
        if !self.connected && self.path.is_some() && self.far().is_some() {
            (self.connected, self.tell_connected) = (true, true);
        }
        Ok(())
    }

    fn receive(&mut self, _now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        // Whoever else sends is a stranger.
        if packet.src() != self.far() {
            return Ok(Outcome::Kept);
        }
        self.mask(packet);
        match packet.bytes() {
            // RFC 5761 §4: by the second byte.
            [first, second, ..] if packet.len() >= 8 && first >> 6 == 2 => Ok(match second & 0x7f {
                64..=95 => Outcome::Rtcp,
                _ if packet.len() >= 12 => Outcome::Rtp,
                _ => return Err(Error::Malformed),
            }),
            _ => Err(Error::Malformed),
        }
    }

    fn send(&mut self, _now_ns: u64, packet: &mut Packet<'_>) -> Result<Outcome, Error> {
        if !matches!(packet.kind(), Some(Kind::Rtp | Kind::Rtcp)) {
            return Err(Error::Unsupported);
        }
        let (Some((path, _)), Some(far)) = (self.path, self.far()) else {
            return Err(Error::State);
        };
        self.mask(packet);
        packet.set_path(path);
        packet.set_dst(far);
        Ok(Outcome::Transmit)
    }

    fn timeout(&mut self, _now_ns: u64) -> Result<(), Error> {
        Ok(())
    }

    fn poll(&mut self) -> Output<'_> {
        if std::mem::take(&mut self.tell_local) {
            return Output::Event(Event::Local);
        }
        if std::mem::take(&mut self.tell_connected) {
            return Output::Event(Event::Connected);
        }
        Output::None { deadline_ns: None }
    }
}

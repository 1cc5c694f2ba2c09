//! Reads and prints descriptions, over `sdp-types` for the line syntax.
//!
//! Reading forgives what real phones get wrong (missing `t=`, `s=`, `o=`, bare LF, spaces, unknown lines, attributes in
//! either level) and keeps what offer, answer and transports need. RFC 8866; RFC 3605 (`a=rtcp`); RFC 5576 (`a=ssrc`).

use std::fmt;
use std::net::IpAddr;

use sdp_types::{Attribute, Connection, Session};

use super::sdes::Crypto;
use super::static_types;
use super::{Codec, Direction, MediaDescription, MediaKind, Origin, SessionDescription};
use crate::net::is_destination;

/// A description longer than this is refused: it fits no datagram.
const MAX_BYTES: usize = 65_535;
/// More m-lines than this are refused.
const MAX_MEDIA: usize = 32;
/// Codecs of one m-line beyond this are not read.
const MAX_CODECS: usize = 64;
/// Transport lines of one m-line beyond this are not read.
const MAX_TRANSPORT: usize = 128;

/// Attributes that a transport speaks. A session-level one holds for every m-line without its own.
const TRANSPORT: [&str; 11] = [
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "ice-lite",
    "fingerprint",
    "setup",
    "candidate",
    "end-of-candidates",
    "crypto",
    "rtcp-mux",
    "rtcp",
];

/// Why bytes are no description. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Longer than any datagram, or with more m-lines than any phone.
    #[error("the session description is too large")]
    TooLarge,
    /// Not the syntax of RFC 8866, even read kindly.
    #[error("the session description is malformed")]
    Malformed,
}

impl SessionDescription {
    /// Reads a description.
    ///
    /// # Errors
    /// [`SdpError`] if the bytes are no description; attributes that make no sense are left out instead.
    pub fn parse(bytes: &[u8]) -> Result<SessionDescription, SdpError> {
        if bytes.len() > MAX_BYTES {
            return Err(SdpError::TooLarge);
        }
        let session = Session::parse(tidy(bytes).as_bytes()).map_err(|_| SdpError::Malformed)?;
        if session.medias.len() > MAX_MEDIA {
            return Err(SdpError::TooLarge);
        }
        let name = match session.session_name.trim() {
            "" => "-".to_owned(),
            name => name.to_owned(),
        };
        let media = session.medias.iter().map(|media| read_media(media, &session)).collect();
        Ok(SessionDescription {
            origin: read_origin(&session.origin),
            name,
            media,
        })
    }
}

/// Keeps the lines that matter, in a form `sdp-types` accepts.
fn tidy(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut tidied = String::with_capacity(bytes.len() + 8);
    tidied.push_str("v=0\r\n");
    let (mut in_media, mut origin, mut name, mut connection) = (false, false, false, false);
    for line in text.split('\n') {
        let line = line.trim_end_matches(['\r', ' ', '\t', '\0']).trim_start();
        if line.contains(['\r', '\0']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let first = |seen: &mut bool| !std::mem::replace(seen, true);
        let kept = match key {
            "m" => {
                in_media = true;
                true
            }
            "o" => !in_media && value.split_whitespace().count() == 6 && first(&mut origin),
            "s" => !in_media && first(&mut name),
            "c" => value.split_whitespace().count() == 3 && (in_media || first(&mut connection)),
            "a" => !value.is_empty(),
            _ => false,
        };
        if kept {
            tidied.push_str(key);
            tidied.push('=');
            if matches!(key, "a" | "s") {
                tidied.push_str(value.trim());
            } else {
                // Fields are parted by single spaces.
                for (place, field) in value.split_whitespace().enumerate() {
                    let field = if key == "o" && place == 2 {
                        number(field).to_string()
                    } else {
                        field.to_owned()
                    };
                    if place > 0 {
                        tidied.push(' ');
                    }
                    tidied.push_str(&field);
                }
            }
            tidied.push_str("\r\n");
        }
    }
    tidied
}

/// Reads a number; digits beyond 64 bits, and letters, are folded into it, so that a changed text is a changed number.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        text.bytes().fold(0u64, |number, byte| {
            number.wrapping_mul(31).wrapping_add(u64::from(byte))
        })
    })
}

fn read_origin(origin: &sdp_types::Origin) -> Origin {
    Origin {
        user: origin.username.clone().unwrap_or_else(|| "-".to_owned()),
        session_id: number(&origin.sess_id),
        version: origin.sess_version,
        address: origin.unicast_address.clone(),
    }
}

fn read_media(media: &sdp_types::Media, session: &Session) -> MediaDescription {
    let values = |name: &'static str| {
        media
            .attributes
            .iter()
            .filter(move |attribute| attribute.attribute.eq_ignore_ascii_case(name))
            .filter_map(|attribute| attribute.value.as_deref())
    };
    let connection = media.connections.first().or(session.connection.as_ref());
    let codecs = read_codecs(media);
    let format = if codecs.is_empty() {
        media.fmt.clone()
    } else {
        String::new()
    };
    MediaDescription {
        kind: MediaKind::from_name(&media.media),
        address: connection
            .and_then(|connection| connection.try_address().ok())
            .map(|address| address.ip),
        port: media.port,
        profile: media.proto.clone(),
        codecs,
        format,
        ptime_ms: values("ptime").find_map(milliseconds),
        maxptime_ms: values("maxptime").find_map(milliseconds),
        direction: read_direction(&media.attributes)
            .or_else(|| read_direction(&session.attributes))
            .unwrap_or_default(),
        ssrc: values("ssrc").find_map(|value| value.split(' ').next()?.parse().ok()),
        nack: media.proto.to_ascii_uppercase().ends_with("AVPF") && values("rtcp-fb").any(is_nack),
        mid: values("mid")
            .next()
            .map(|mid| mid.trim().to_owned())
            .filter(|mid| !mid.is_empty()),
        transport: read_transport(&media.attributes, &session.attributes),
    }
}

/// Whether a value of `a=rtcp-fb` is the generic NACK, for all formats or for one (RFC 4585 §4.2).
fn is_nack(value: &str) -> bool {
    let mut words = value.split_whitespace();
    words.next().is_some() && words.next() == Some("nack") && words.next().is_none()
}

/// Reads a duration; some write a fraction.
fn milliseconds(value: &str) -> Option<u32> {
    let whole = value.trim().split('.').next()?;
    whole.parse().ok().filter(|ms| *ms > 0 && *ms <= 1000)
}

fn read_direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes
        .iter()
        .rev()
        .find_map(|attribute| Direction::from_name(&attribute.attribute))
}

fn read_codecs(media: &sdp_types::Media) -> Vec<Codec> {
    let mut codecs: Vec<Codec> = Vec::new();
    for number in media.fmt.split_whitespace() {
        let Some(payload_type) = number.parse().ok().filter(|number| *number < 128) else {
            continue;
        };
        if codecs.len() == MAX_CODECS || codecs.iter().any(|codec| codec.payload_type == payload_type) {
            continue;
        }
        let mapped = attributes_of(media, "rtpmap", payload_type).find_map(|value| read_rtpmap(payload_type, value));
        let Some(mut codec) = mapped.or_else(|| static_types::codec(payload_type)) else {
            continue;
        };
        let parameters: Vec<&str> = attributes_of(media, "fmtp", payload_type)
            .filter(|value| !value.is_empty())
            .collect();
        codec.fmtp = parameters.join(";");
        codecs.push(codec);
    }
    codecs
}

/// The values of `name:<payload type> <value>`, without the number.
fn attributes_of<'a>(media: &'a sdp_types::Media, name: &'a str, payload_type: u8) -> impl Iterator<Item = &'a str> {
    media
        .attributes
        .iter()
        .filter(move |attribute| attribute.attribute.eq_ignore_ascii_case(name))
        .filter_map(|attribute| attribute.value.as_deref())
        .filter_map(move |value| {
            let (number, rest) = value.trim().split_once(' ')?;
            (number.parse() == Ok(payload_type)).then_some(rest.trim())
        })
}

/// Reads `name/clock[/channels]`.
fn read_rtpmap(payload_type: u8, value: &str) -> Option<Codec> {
    let mut parts = value.split_whitespace().next()?.split('/');
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let clock = parts.next()?.parse().ok().filter(|clock| *clock > 0)?;
    let channels = parts
        .next()
        .and_then(|channels| channels.parse().ok())
        .filter(|channels| *channels > 0)
        .unwrap_or(1);
    Some(Codec {
        payload_type,
        name,
        clock,
        channels,
        fmtp: String::new(),
    })
}

fn read_transport(own: &[Attribute], session: &[Attribute]) -> Vec<String> {
    let speaks = |attribute: &&Attribute| is_transport(&attribute.attribute);
    let mut lines: Vec<String> = own.iter().filter(speaks).take(MAX_TRANSPORT).map(line).collect();
    for attribute in session.iter().filter(speaks) {
        let repeated = own
            .iter()
            .any(|other| other.attribute.eq_ignore_ascii_case(&attribute.attribute));
        if !repeated && lines.len() < MAX_TRANSPORT {
            lines.push(line(attribute));
        }
    }
    lines
}

/// Tells whether a transport speaks the attribute.
pub(super) fn is_transport(name: &str) -> bool {
    TRANSPORT.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn line(attribute: &Attribute) -> String {
    let name = attribute.attribute.to_ascii_lowercase();
    match attribute
        .value
        .as_deref()
        .map(str::trim)
        .filter(|value| !value.is_empty())
    {
        Some(value) => format!("{name}:{value}"),
        None => name,
    }
}

impl fmt::Display for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        self.to_session().write(&mut bytes).map_err(|_| fmt::Error)?;
        f.write_str(&String::from_utf8_lossy(&bytes))
    }
}

impl SessionDescription {
    /// Prints the description as a message body.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    fn to_session(&self) -> Session {
        let origin = sdp_types::Origin {
            username: Some(self.origin.user.clone()),
            sess_id: self.origin.session_id.to_string(),
            sess_version: self.origin.version,
            nettype: sdp_types::NetType::In,
            addrtype: if self.origin.address.contains(':') {
                sdp_types::AddrType::Ip6
            } else {
                sdp_types::AddrType::Ip4
            },
            unicast_address: self.origin.address.clone(),
        };
        let mut session = Session::new(origin, &self.name);
        // One address for all stands at the session level, where old phones look for it.
        let shared = self.media.first().and_then(|media| media.address);
        let shared = shared.filter(|address| self.media.iter().all(|media| media.address == Some(*address)));
        session.connection = shared.map(Connection::from_ip_addr);
        session.medias = self.media.iter().map(|media| media.to_media(shared)).collect();
        session
    }
}

impl MediaDescription {
    fn to_media(&self, shared: Option<IpAddr>) -> sdp_types::Media {
        let numbers: Vec<String> = self.codecs.iter().map(|codec| codec.payload_type.to_string()).collect();
        let fmt = match (numbers.is_empty(), self.format.is_empty()) {
            (false, _) => numbers.join(" "),
            (true, false) => self.format.clone(),
            (true, true) => "0".to_owned(),
        };
        let mut media = sdp_types::Media {
            media: self.kind.name().to_owned(),
            port: self.port,
            num_ports: None,
            proto: self.profile.clone(),
            fmt,
            media_title: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            key: None,
            attributes: Vec::new(),
        };
        media
            .connections
            .extend(self.address.filter(|_| shared.is_none()).map(Connection::from_ip_addr));
        if let Some(mid) = &self.mid {
            media.add_attribute_with_value("mid", mid);
        }
        for codec in &self.codecs {
            media.add_attribute_with_value("rtpmap", rtpmap(codec));
            if !codec.fmtp.is_empty() {
                media.add_attribute_with_value("fmtp", format!("{} {}", codec.payload_type, codec.fmtp));
            }
        }
        if let Some(ptime) = self.ptime_ms {
            media.add_attribute_with_value("ptime", ptime);
        }
        if let Some(maxptime) = self.maxptime_ms {
            media.add_attribute_with_value("maxptime", maxptime);
        }
        if self.nack {
            media.add_attribute_with_value("rtcp-fb", "* nack");
        }
        media.add_attribute_from_str(self.direction.name());
        if let Some(ssrc) = self.ssrc {
            media.add_attribute_with_value("ssrc", format!("{ssrc} cname:quartet"));
        }
        for line in &self.transport {
            match line.split_once(':') {
                Some((name, value)) => media.add_attribute_with_value(name, value),
                None => media.add_attribute_from_str(line),
            }
        }
        media
    }

    /// Returns the lines that tell a transport where and how to reach the author of this description.
    ///
    /// `c:`, `port:`, then `rtcp-mux` or `rtcp-port:` (the next port where nothing is written), then what the author's
    /// transport said. An address of hold (0.0.0.0), or that nothing can be sent to, is left out: the old one stays. `ssrc:` only with
    /// DTLS (`x-ssrc:any` if none is announced); phones with other media change their streams without a word.
    pub fn transport_lines(&self) -> String {
        self.lines(self.has("rtcp-mux"), None)
    }

    /// Like [`MediaDescription::transport_lines`], where both ends together decided about `mux` and about the `keys`.
    pub(super) fn lines(&self, mux: bool, keys: Option<&Crypto>) -> String {
        let mut lines = String::new();
        let address = self.address.map(|address| address.to_canonical());
        // Loopback is judged where it is known whose description this is.
        if let Some(address) = address.filter(|address| is_destination(*address, true)) {
            lines.push_str(&format!("c:{address}\nport:{}\n", self.port));
        }
        if mux {
            lines.push_str("rtcp-mux\n");
        } else if let Some(port) = self.rtcp_port().filter(|_| !lines.is_empty()) {
            lines.push_str(&format!("rtcp-port:{port}\n"));
        }
        for line in &self.transport {
            if !matches!(line.split(':').next(), Some("rtcp" | "rtcp-mux" | "crypto")) {
                lines.push_str(line);
                lines.push('\n');
            }
        }
        if let Some(keys) = keys {
            lines.push_str(&keys.line());
            lines.push('\n');
        }
        if self.has("fingerprint") {
            match self.ssrc {
                Some(ssrc) => lines.push_str(&format!("ssrc:{ssrc}\n")),
                None => lines.push_str("x-ssrc:any\n"),
            }
        }
        lines
    }

    /// Tells whether the transport line `name` is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.transport.iter().any(|line| line.split(':').next() == Some(name))
    }

    /// The addresses that `a=rtcp` names.
    pub(super) fn rtcp_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let values = self.transport.iter().filter_map(|line| line.strip_prefix("rtcp:"));
        // "4001 IN IP4 192.0.2.1", and "224.2.1.1/127" for a group.
        values.filter_map(|value| value.split_whitespace().nth(3)?.split('/').next()?.parse().ok())
    }

    /// Where reports go: the port that is written, else the next one.
    pub(super) fn rtcp_port(&self) -> Option<u16> {
        let written = self.transport.iter().find_map(|line| {
            let value = line.strip_prefix("rtcp:")?;
            value.split(' ').next()?.parse().ok().filter(|port| *port != 0)
        });
        written.or_else(|| self.port.checked_add(1))
    }

    /// Takes the lines of our own transport: where it listens and what it says.
    pub(super) fn set_transport(&mut self, lines: &str, mux: bool) {
        let mut rtcp_port = None;
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name {
                "c" => self.address = value.trim().parse().ok(),
                "port" => self.port = value.trim().parse().unwrap_or(0),
                "rtcp-port" => rtcp_port = value.trim().parse::<u16>().ok(),
                "ssrc" => self.ssrc = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok()),
                // Keys are chosen together, see `protect`.
                "rtcp-mux" | "rtcp" | "crypto" => {}
                known if is_transport(known) => self.transport.push(line.to_owned()),
                _ => {}
            }
        }
        // With ICE the first candidate stands for all, where nobody looks at them (RFC 8839 §4.2.1.1).
        if self.address.is_none() {
            let mut candidates = self.transport.iter().filter_map(|line| candidate(line));
            (self.address, self.port) = candidates
                .next()
                .map_or((None, self.port), |(ip, port)| (Some(ip), port));
        }
        if mux {
            self.transport.push("rtcp-mux".to_owned());
        }
        // Written even under rtcp-mux offers, which a peer may refuse (RFC 5761 §5.1.1).
        if let Some(port) = rtcp_port.filter(|port| Some(*port) != self.port.checked_add(1)) {
            self.transport.push(format!("rtcp:{port}"));
        }
    }
}

/// The address of a candidate for media: `candidate:1 1 udp 2130706431 192.0.2.7 40000 typ host`.
fn candidate(line: &str) -> Option<(IpAddr, u16)> {
    let mut words = line.strip_prefix("candidate:")?.split_ascii_whitespace();
    let (component, transport) = (words.nth(1)?, words.next()?);
    let address = (words.nth(1)?.parse().ok()?, words.next()?.parse().ok()?);
    (component == "1" && transport.eq_ignore_ascii_case("udp")).then_some(address)
}

fn rtpmap(codec: &Codec) -> String {
    let Codec {
        payload_type,
        name,
        clock,
        channels,
        ..
    } = codec;
    if *channels > 1 {
        format!("{payload_type} {name}/{clock}/{channels}")
    } else {
        format!("{payload_type} {name}/{clock}")
    }
}

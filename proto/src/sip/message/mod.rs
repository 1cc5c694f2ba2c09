//! Messages: bytes in, typed values out, and back. Over rsip (stored headers, methods, CSeq) with our own scanner,
//! URIs, addresses and Via for what rsip refuses or misreads. Never panics on any input.

mod address;
mod blanked;
mod body;
mod headers;
mod scan;
mod uri;
mod via;
mod write;

pub use address::NameAddr;
pub use blanked::blanked;
pub use body::sdp_of;
pub use headers::Headers;
pub use uri::{Param, Scheme, Uri};
pub use via::Via;

pub(in crate::sip) use address::{header_params, quote, split_outside};
pub(in crate::sip) use body::{SDP, part_of};
pub(in crate::sip) use scan::{head_end, length_of};
pub(in crate::sip) use uri::{host_of, param};
pub(in crate::sip) use via::MAGIC_COOKIE;
pub(in crate::sip) use write::{Writer, reason_phrase};

use rsip::Header;
use rsip::headers::ToTypedHeader;
use scan::{Scanned, Start};

/// White space within a line (RFC 3261 §25.1): what Unicode counts besides is part of a word, as it is for other readers.
pub(in crate::sip) const LWS: [char; 2] = [' ', '\t'];

/// The words of a line.
pub(in crate::sip) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(LWS).filter(|word| !word.is_empty())
}

/// A request method: those of an [`super::Endpoint`], and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // their names are the protocol's
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Info,
    Update,
    Refer,
    Subscribe,
    /// Of ours; from others, it tells of nothing that we have asked for.
    Notify,
    /// Standard, but not for us: 405.
    NotAllowed,
    /// Nobody's: 501.
    Unknown,
}

impl Method {
    fn of(text: &str) -> Self {
        // Methods are case-sensitive, RFC 3261 §7.1; rsip takes any case.
        match text.parse::<rsip::Method>() {
            Ok(method) if method.to_string() == text => match method {
                rsip::Method::Invite => Self::Invite,
                rsip::Method::Ack => Self::Ack,
                rsip::Method::Bye => Self::Bye,
                rsip::Method::Cancel => Self::Cancel,
                rsip::Method::Options => Self::Options,
                rsip::Method::Register => Self::Register,
                rsip::Method::Info => Self::Info,
                rsip::Method::Update => Self::Update,
                rsip::Method::Refer => Self::Refer,
                rsip::Method::Notify => Self::Notify,
                rsip::Method::Subscribe => Self::Subscribe,
                rsip::Method::Message | rsip::Method::PRack | rsip::Method::Publish => Self::NotAllowed,
            },
            Ok(_) | Err(_) => Self::Unknown,
        }
    }

    /// As written on the wire.
    pub(in crate::sip) fn name(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Info => "INFO",
            Self::Update => "UPDATE",
            Self::Refer => "REFER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::NotAllowed | Self::Unknown => "UNKNOWN",
        }
    }
}

/// A request whose must-have fields are there and readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The request URI.
    pub uri: Uri,
    /// The topmost Via.
    pub via: Via,
    /// From.
    pub from: NameAddr,
    /// To.
    pub to: NameAddr,
    /// Call-ID.
    pub call_id: String,
    /// Number of CSeq.
    pub cseq: u32,
    /// All fields.
    pub headers: Headers,
    /// The body; empty if none.
    pub body: Vec<u8>,
}

impl Request {
    /// The method as it stands on the wire, those included that [`Method`] has no name for: digests are made of it.
    pub(in crate::sip) fn method_name(&self) -> &str {
        // The parser has compared it with the request line.
        let cseq = self.headers.get("CSeq").unwrap_or_default();
        words(cseq).nth(1).unwrap_or_default()
    }
}

/// A response whose must-have fields are there and readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100..=699.
    pub status: u16,
    /// For people.
    pub reason: String,
    /// The topmost Via: ours.
    pub via: Via,
    /// To, with the peer's tag.
    pub to: NameAddr,
    /// Method of CSeq.
    pub method: Method,
    /// Number of CSeq.
    pub cseq: u32,
    /// All fields.
    pub headers: Headers,
    /// The body; empty if none.
    pub body: Vec<u8>,
}

/// One datagram, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Box<Request>),
    /// A response.
    Response(Box<Response>),
}

/// Why a datagram is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A keep-alive, noise, or a broken response or ACK: nothing to say to it.
    Silence,
    /// A broken request: it gets this status.
    Refuse {
        /// 400, 501 or 505.
        status: u16,
        /// Says what is wrong; `None`: the status says it.
        reason: Option<&'static str>,
        /// The fields that could be read.
        headers: Box<Headers>,
    },
}

impl Message {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`Malformed`] says how to respond.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let scanned = scan::scan(bytes).ok_or(Malformed::Silence)?;
        match scanned.start.clone() {
            Start::Response {
                status,
                reason,
                version,
            } if version.eq_ignore_ascii_case("SIP/2.0") => {
                let response = response(status, reason, scanned).ok_or(Malformed::Silence)?;
                Ok(Self::Response(Box::new(response)))
            }
            Start::Response { .. } => Err(Malformed::Silence),
            Start::Request { method, uri, version } => {
                let headers = scanned.headers.clone();
                match request(&method, &uri, &version, scanned) {
                    Ok(request) => Ok(Self::Request(Box::new(request))),
                    Err(_) if method == "ACK" => Err(Malformed::Silence),
                    Err((status, reason)) => Err(Malformed::Refuse {
                        status,
                        reason,
                        headers: Box::new(headers),
                    }),
                }
            }
        }
    }
}

type Fault = (u16, Option<&'static str>);

fn request(method: &str, uri: &str, version: &str, scanned: Scanned) -> Result<Request, Fault> {
    let bad = |reason: &'static str| (400, Some(reason));
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return Err((505, None));
    }
    let headers = scanned.headers;
    let via = headers.list("Via").next().ok_or(bad("Missing Via"))?;
    let via = Via::parse(via).ok_or(bad("Bad Via"))?;
    if let Some(fault) = scanned.fault {
        return Err(bad(fault));
    }
    let from: NameAddr = once(&headers, "From", ["Missing From", "Multiple From"])?
        .parse()
        .map_err(|_| bad("Bad From"))?;
    let to: NameAddr = once(&headers, "To", ["Missing To", "Multiple To"])?
        .parse()
        .map_err(|_| bad("Bad To"))?;
    let call_id = once(&headers, "Call-ID", ["Missing Call-ID", "Multiple Call-ID"])?.to_owned();
    if call_id.is_empty() || call_id.len() > 512 {
        return Err(bad("Bad Call-ID"));
    }
    let raw_cseq = once(&headers, "CSeq", ["Missing CSeq", "Multiple CSeq"])?;
    let count = words(raw_cseq).count();
    let number = words(raw_cseq).next().and_then(|n| n.parse::<u32>().ok());
    let number = number.filter(|n| *n < 1 << 31 && count == 2).ok_or(bad("Bad CSeq"))?;
    if words(raw_cseq).nth(1) != Some(method) {
        return Err(bad("CSeq Method Mismatch"));
    }
    let hops: Vec<_> = headers.all("Max-Forwards").map(str::parse::<u8>).collect();
    if hops.len() > 1 || hops.iter().any(Result::is_err) {
        return Err(bad("Bad Max-Forwards"));
    }
    let method = Method::of(method);
    if method == Method::Unknown {
        return Err((501, None));
    }
    let uri: Uri = uri.parse().map_err(|_| bad("Bad Request-URI"))?;
    if from.tag().is_none() && method != Method::Register {
        return Err(bad("Missing From Tag"));
    }
    Ok(Request {
        method,
        uri,
        via,
        from,
        to,
        call_id,
        cseq: number,
        headers,
        body: scanned.body,
    })
}

/// The value of a field that must stand exactly once.
fn once<'a>(headers: &'a Headers, name: &'a str, [missing, multiple]: [&'static str; 2]) -> Result<&'a str, Fault> {
    let mut values = headers.all(name);
    let value = values.next().ok_or((400, Some(missing)))?;
    if values.next().is_some() {
        Err((400, Some(multiple)))
    } else {
        Ok(value)
    }
}

fn response(status: u16, reason: String, scanned: Scanned) -> Option<Response> {
    if scanned.fault.is_some() {
        return None;
    }
    let headers = scanned.headers;
    let via = Via::parse(headers.list("Via").next()?)?;
    let to = headers.get("To")?.parse().ok()?;
    let cseq = headers
        .stored()
        .iter()
        .find_map(|h| if let Header::CSeq(c) = h { c.typed().ok() } else { None })?;
    let method = Method::of(&cseq.method.to_string());
    Some(Response {
        status,
        reason,
        via,
        to,
        method,
        cseq: cseq.seq,
        headers,
        body: scanned.body,
    })
}

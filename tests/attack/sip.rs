//! SIP written and read by hand: an attacker keeps no rules that a machine of ours would keep.

use std::net::SocketAddr;

use md5::{Digest, Md5};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

/// The realm of the gateways of these tests.
const REALM: &str = "quartet";

/// A request; [`Request::text`] writes it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) uri: String,
    /// The value of From, with its tag.
    pub(crate) from: String,
    /// The value of To.
    pub(crate) to: String,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) branch: String,
    /// The host and port of its Via; none: where it is sent from.
    pub(crate) via: Option<SocketAddr>,
    /// Further header fields, each with its line end.
    pub(crate) more: String,
    pub(crate) body: String,
}

impl Request {
    /// A request outside any dialog, from one user of the gateway to another.
    pub(crate) fn new(method: &'static str, gateway: SocketAddr, from: &str, to: &str, rng: &mut ChaCha8Rng) -> Self {
        let drawn = rng.next_u64();
        let user = if method == "REGISTER" {
            String::new()
        } else {
            format!("{to}@")
        };
        Self {
            method,
            uri: format!("sip:{user}{gateway}"),
            from: format!("<sip:{from}@{gateway}>;tag={drawn:x}"),
            to: format!("<sip:{to}@{gateway}>"),
            call_id: format!("{drawn:016x}"),
            cseq: 1,
            branch: branch(rng),
            via: None,
            more: String::new(),
            body: String::new(),
        }
    }

    /// The bytes, as sent from this address.
    pub(crate) fn text(&self, local: SocketAddr) -> String {
        let Self {
            method,
            uri,
            from,
            to,
            call_id,
            cseq,
            branch,
            via,
            more,
            body,
        } = self;
        let via = via.unwrap_or(local);
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: {from}\r\n\
             To: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:attack@{local}>\r\n{more}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// The branch of a new transaction.
pub(crate) fn branch(rng: &mut ChaCha8Rng) -> String {
    format!("z9hG4bK{:016x}", rng.next_u64())
}

/// A response, or a request of the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
}

impl Message {
    /// The status; 0 of a request.
    pub(crate) fn status(&self) -> u16 {
        let rest = self.text.strip_prefix("SIP/2.0 ");
        rest.and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    /// The value of a header field, of the first of them.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let lines = self.text.lines().take_while(|line| !line.is_empty());
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        fields
            .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The nonce that it challenges with.
    pub(crate) fn nonce(&self) -> Option<&str> {
        between(self.field("WWW-Authenticate")?, "nonce=\"", "\"")
    }

    /// Whether it answers this request.
    pub(crate) fn answers(&self, request: &Request) -> bool {
        self.text.contains(&request.branch)
            && self.field("CSeq") == Some(format!("{} {}", request.cseq, request.method).as_str())
    }
}

/// The first text between two others.
pub(crate) fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// An Authorization field with a digest of MD5, right if the password is. RFC 7616.
pub(crate) fn authorization(request: &Request, user: &str, password: &str, nonce: &str, count: u32) -> String {
    let (method, uri) = (request.method, &request.uri);
    let (ha1, ha2) = (
        md5(&format!("{user}:{REALM}:{password}")),
        md5(&format!("{method}:{uri}")),
    );
    let response = md5(&format!("{ha1}:{nonce}:{count:08x}:c:auth:{ha2}"));
    format!(
        "Authorization: Digest username=\"{user}\",realm=\"{REALM}\",nonce=\"{nonce}\",uri=\"{uri}\",\
         response=\"{response}\",algorithm=MD5,qop=auth,nc={count:08x},cnonce=\"c\"\r\n"
    )
}

fn md5(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

//! A request of ours before it is written: kept so that it can be sent again with credentials, cancelled or
//! acknowledged.

use std::net::SocketAddr;

use super::message::{Method, Writer, host_of};
use crate::net::FiveTuple;

/// Hops a request of ours may take, RFC 3261 §8.1.1.6.
const MAX_FORWARDS: &str = "70";

/// A request of ours.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Outgoing {
    pub(in crate::sip) method: Method,
    pub(in crate::sip) uri: String,
    pub(in crate::sip) from: String,
    pub(in crate::sip) to: String,
    pub(in crate::sip) call_id: String,
    pub(in crate::sip) cseq: u32,
    pub(in crate::sip) routes: Vec<String>,
    /// Further fields: Contact, Reason, Authorization and the like.
    pub(in crate::sip) extra: Vec<(&'static str, String)>,
    /// Content type and body.
    pub(in crate::sip) body: Option<(String, Vec<u8>)>,
    /// The way it goes.
    pub(in crate::sip) five_tuple: FiveTuple,
    /// Where its peer takes connections, and datagrams, if it says so itself and may be believed.
    pub(in crate::sip) listens_at: Option<SocketAddr>,
    /// Whose call it is of: what that one is told of where we are.
    pub(in crate::sip) account: Option<String>,
    /// Where we say that we are (RFC 3261 §18.1.1, sent-by): set when it is sent.
    pub(in crate::sip) sent_by: SocketAddr,
}

impl Outgoing {
    /// The request as bytes.
    pub(in crate::sip) fn write(&self, branch: &str, user_agent: &str) -> Vec<u8> {
        let mut writer = Writer::request(self.method.name(), &self.uri);
        let via = self.five_tuple.protocol.name();
        let (host, port) = (host_of(self.sent_by.ip()), self.sent_by.port());
        writer.header("Via", &format!("SIP/2.0/{via} {host}:{port};branch={branch};rport"));
        for route in &self.routes {
            writer.header("Route", route);
        }
        writer.header("Max-Forwards", MAX_FORWARDS);
        writer
            .header("From", &self.from)
            .header("To", &self.to)
            .header("Call-ID", &self.call_id);
        writer.header("CSeq", &format!("{} {}", self.cseq, self.method.name()));
        for (name, value) in &self.extra {
            writer.header(name, value);
        }
        writer.header("User-Agent", user_agent);
        writer.finish(self.body.as_ref().map(|(kind, body)| (kind.as_str(), body.as_slice())))
    }

    /// The request that goes with this INVITE: its CANCEL, or the ACK to a refusal (RFC 3261 §9.1, §17.1.1.3).
    pub(in crate::sip) fn sibling(&self, method: Method, to: &str, extra: Vec<(&'static str, String)>) -> Self {
        Self {
            method,
            to: to.to_owned(),
            extra,
            body: None,
            ..self.clone()
        }
    }
}

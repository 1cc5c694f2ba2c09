//! What every response copies of its request (RFC 3261 §8.2.6), and how it is written.

use std::net::SocketAddr;

use super::message::{Headers, Method, Request, Via, Writer};
use crate::net::{FiveTuple, Receive};

/// The fields of a request that its responses copy, and where they go.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Head {
    pub(in crate::sip) method: Method,
    /// The way the request came.
    pub(in crate::sip) five_tuple: FiveTuple,
    /// Where it began, if it came through proxies that are trusted (port 0: not known); else where it came from.
    pub(in crate::sip) origin: SocketAddr,
    /// The way the response goes.
    pub(in crate::sip) response_to: FiveTuple,
    /// Where its sender says that it listens, if that is the host that the request came from.
    pub(in crate::sip) listens_at: Option<SocketAddr>,
    vias: Vec<String>,
    record_routes: Vec<String>,
    from: Option<String>,
    to: Option<String>,
    has_to_tag: bool,
    from_tag: String,
    pub(in crate::sip) call_id: String,
    cseq: Option<String>,
    pub(in crate::sip) number: u32,
    timestamp: Option<String>,
    /// The request had a body: as INVITE, an offer.
    pub(in crate::sip) has_body: bool,
    /// Bytes of the request.
    pub(in crate::sip) length: usize,
}

/// A response before it is written.
#[derive(Clone, Debug, Default)]
pub(in crate::sip) struct OutgoingResponse<'a> {
    pub(in crate::sip) status: u16,
    pub(in crate::sip) reason: Option<&'a str>,
    /// Our tag, where the request has none.
    pub(in crate::sip) tag: &'a str,
    pub(in crate::sip) extra: Vec<(&'static str, String)>,
    pub(in crate::sip) body: Option<&'a [u8]>,
}

impl Head {
    /// Of a good request that came as `input`.
    pub(in crate::sip) fn of(request: &Request, input: Receive<'_>) -> Self {
        let mut head = Self::of_fields(&request.headers, &request.via, input);
        head.has_body = !request.body.is_empty();
        head.method = request.method;
        head.has_to_tag = request.to.tag().is_some();
        head.from_tag = request.from.tag().unwrap_or_default().to_owned();
        head.number = request.cseq;
        head
    }

    /// Of the fields that could be read of a broken request; `None` if there is nowhere to send a response.
    pub(in crate::sip) fn of_broken(headers: &Headers, input: Receive<'_>) -> Option<Self> {
        let via = Via::first(headers)?;
        let mut head = Self::of_fields(headers, &via, input);
        head.has_to_tag = head
            .to
            .as_deref()
            .is_some_and(|to| to.to_ascii_lowercase().contains(";tag="));
        Some(head)
    }

    fn of_fields(headers: &Headers, via: &Via, input: Receive<'_>) -> Self {
        let five_tuple = input.five_tuple;
        let source = five_tuple.remote;
        let text = |name: &str| headers.get(name).map(str::to_owned);
        let mut vias: Vec<String> = headers.list("Via").map(str::to_owned).collect();
        if let Some(first) = vias.first_mut() {
            *first = via.clone().received_from(source).to_string();
        }
        Self {
            method: Method::Unknown,
            five_tuple,
            origin: source,
            response_to: if five_tuple.protocol.is_reliable() {
                five_tuple
            } else {
                five_tuple.with_remote(via.response_to(source))
            },
            listens_at: via.listens_at(five_tuple),
            vias,
            record_routes: headers.all("Record-Route").map(str::to_owned).collect(),
            from: text("From"),
            to: text("To"),
            has_to_tag: false,
            from_tag: String::new(),
            call_id: text("Call-ID").unwrap_or_default(),
            cseq: text("CSeq"),
            number: 0,
            timestamp: text("Timestamp"),
            has_body: false,
            length: input.payload.len(),
        }
    }

    /// Bytes of all that is kept of the request.
    pub(in crate::sip) fn size(&self) -> usize {
        let lists = self.vias.iter().chain(&self.record_routes);
        let fields = [&self.from, &self.to, &self.cseq, &self.timestamp];
        let texts = lists
            .chain(fields.into_iter().flatten())
            .chain([&self.from_tag, &self.call_id]);
        texts.map(String::len).sum()
    }

    /// Whether it is within a dialog.
    pub(in crate::sip) fn is_in_dialog(&self) -> bool {
        self.has_to_tag && self.method != Method::Register
    }

    /// Whether it opens a call.
    pub(in crate::sip) fn is_initial_invite(&self) -> bool {
        self.method == Method::Invite && !self.has_to_tag
    }

    /// From tag, Call-ID, CSeq: the same for all copies of one request, RFC 3261 §8.2.2.2.
    pub(in crate::sip) fn origin(&self) -> (String, String, u32) {
        (self.from_tag.clone(), self.call_id.clone(), self.number)
    }

    /// What a tag without memory is made from: retransmissions get the same one.
    pub(in crate::sip) fn fingerprint(&self) -> String {
        format!(
            "{}\n{}\n{}",
            self.vias.first().map_or("", |v| v),
            self.call_id,
            self.from_tag
        )
    }

    /// The response as bytes; without `server` nothing is said of us.
    pub(in crate::sip) fn write(&self, response: &OutgoingResponse<'_>, server: Option<&str>) -> Vec<u8> {
        let mut writer = Writer::response(response.status, response.reason);
        for via in &self.vias {
            writer.header("Via", via);
        }
        // A dialog is made by 101..=299 to INVITE, RFC 3261 §12.1.1.
        if self.method == Method::Invite && (101..300).contains(&response.status) {
            for route in &self.record_routes {
                writer.header("Record-Route", route);
            }
        }
        if let Some(from) = &self.from {
            writer.header("From", from);
        }
        if let Some(to) = &self.to {
            let tagless = self.has_to_tag || response.tag.is_empty() || response.status == 100;
            writer.header(
                "To",
                &if tagless {
                    to.clone()
                } else {
                    format!("{to};tag={}", response.tag)
                },
            );
        }
        if !self.call_id.is_empty() {
            writer.header("Call-ID", &self.call_id);
        }
        if let Some(cseq) = &self.cseq {
            writer.header("CSeq", cseq);
        }
        if let Some(timestamp) = &self.timestamp {
            writer.header("Timestamp", timestamp);
        }
        for (name, value) in &response.extra {
            writer.header(name, value);
        }
        if let Some(server) = server {
            writer.header("Server", server);
        }
        writer.finish(response.body.map(|b| ("application/sdp", b)))
    }
}

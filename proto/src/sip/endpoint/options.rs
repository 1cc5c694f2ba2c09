//! OPTIONS of ours outside of calls (RFC 3261 §11.1): whether a server is there.

use std::time::Instant;

use super::Endpoint;
use crate::net::FiveTuple;
use crate::sip::message::{Method, NameAddr, Response, Uri, host_of};
use crate::sip::outgoing::Outgoing;
use crate::sip::transaction::Purpose;
use crate::sip::{SipError, SipEvent};

impl Endpoint {
    /// The TU: asks a server whether it is there.
    pub(super) fn options(
        &mut self,
        now: Instant,
        probe: u64,
        domain: Option<String>,
        five_tuple: FiveTuple,
    ) -> Result<(), SipError> {
        let host = domain.unwrap_or_else(|| host_of(five_tuple.remote.ip()));
        let (tag, call_id) = (self.token(), self.token());
        let own = NameAddr::new(None, Uri::sip_host("", &host_of(five_tuple.local.ip())));
        let request = Outgoing {
            method: Method::Options,
            uri: Uri::sip("", five_tuple.remote).over(five_tuple.protocol).to_string(),
            from: own.with_tag(Some(&tag)).to_string(),
            to: NameAddr::new(None, Uri::sip_host("", &host)).to_string(),
            call_id,
            cseq: 1,
            routes: Vec::new(),
            extra: vec![("Accept", "application/sdp".to_owned())],
            body: None,
            five_tuple,
            listens_at: Some(five_tuple.remote),
            account: None,
            sent_by: five_tuple.local,
        };
        let id = self.start(now, request, Purpose::Options(probe), None, 0)?;
        if let Some(sent) = self.client_transactions.get(id) {
            self.connections.asked(sent.request.five_tuple);
        }
        Ok(())
    }

    /// A response to it; that there is one is the answer.
    pub(super) fn on_options_response(&mut self, probe: u64, response: &Response) {
        if response.status >= 200 {
            let status = response.status;
            self.events.push_back(SipEvent::Probed { probe, status });
        }
    }
}

//! Offers and answers of a phone's leg.

use quartet_proto::sdp::{self, Agreed, Direction, LocalCodec, Origin, SessionDescription, offer_answer};

use super::{PTIME_MS, SipLeg};
use crate::call::Cause;
use crate::plugins::FmtpRole;

impl SipLeg {
    /// Our side, for an offer or an answer.
    pub(super) fn local<'a>(&'a self, lines: &'a str) -> sdp::Local<'a> {
        let address = lines
            .lines()
            .find_map(|line| line.strip_prefix("c:"))
            .unwrap_or("0.0.0.0");
        sdp::Local {
            origin: Origin {
                user: "quartet".into(),
                session_id: self.means.session_id,
                version: self.version,
                address: address.to_owned(),
            },
            codecs: &self.means.codecs,
            lines,
            profiles: sdp::Local::PLAIN,
            direction: Direction::SendRecv,
            ptime_ms: Some(PTIME_MS),
            telephone_event: true,
            comfort_noise: false,
            rtcp_mux: false,
        }
    }

    /// Answers an offer, or says that there is nothing in common.
    pub(super) fn answer_to(&self, offer: &SessionDescription, lines: &str) -> Result<sdp::Answered, Cause> {
        let registry = &self.means.registry;
        let mut fmtp = |codec: &LocalCodec, remote: &str| {
            registry
                .codec_at(&codec.name, codec.clock)?
                .fmtp(FmtpRole::Answer, remote)
                .ok()
        };
        offer_answer::answer(offer, &self.local(lines), &mut fmtp).map_err(|error| {
            tracing::debug!(%error, "offer");
            Cause::Incompatible
        })
    }
}

/// Takes the answer to our offer.
pub(super) fn accept(offer: &SessionDescription, body: Option<&[u8]>) -> Result<Agreed, Cause> {
    let answer = SessionDescription::parse(body.unwrap_or_default());
    let agreed = answer
        .map_err(|error| error.to_string())
        .and_then(|answer| offer_answer::accept(offer, &answer).map_err(|error| error.to_string()));
    agreed.map_err(|error| {
        tracing::debug!(error, "answer");
        Cause::Incompatible
    })
}

//! Offers and answers of a phone's leg.

use quartet_proto::sdp::{
    self, Agreed, Codec, Direction, LocalCodec, OfferAnswerError, Origin, SessionDescription, offer_answer,
};

use super::{PTIME_MS, SipLeg};
use crate::cdr::Cause;
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
                session_id: self.config.session_id,
                version: self.version,
                address: address.to_owned(),
            },
            codecs: &self.config.codecs,
            lines,
            profiles: sdp::Local::PLAIN,
            direction: Direction::SendRecv,
            ptime_ms: Some(PTIME_MS),
            telephone_event: true,
            comfort_noise: false,
            rtcp_mux: false,
            loopback: self.config.signalling_peer_ip.to_canonical().is_loopback(),
        }
    }

    /// Answers an offer, or says that there is nothing in common.
    pub(super) fn answer_to(&self, offer: &SessionDescription, lines: &str) -> Result<sdp::Answered, Cause> {
        let registry = &self.config.registry;
        let mut fmtp = |codec: &LocalCodec, remote: &str| {
            registry
                .codec_at(&codec.name, codec.clock)?
                .fmtp(FmtpRole::Answer, remote)
                .ok()
        };
        offer_answer::answer(offer, &self.local(lines), &mut fmtp).map_err(|error| {
            tracing::debug!(%error, "offer");
            cause(error)
        })
    }

    /// Takes the answer to our offer.
    pub(super) fn accept(&self, offer: &SessionDescription, body: Option<&[u8]>) -> Result<Agreed, Cause> {
        let answer = SessionDescription::parse(body.unwrap_or_default()).map_err(|error| {
            tracing::debug!(%error, "answer");
            Cause::Incompatible
        })?;
        let registry = &self.config.registry;
        let mut fits = |ours: &Codec, theirs: &Codec| {
            let table = registry.codec_at(&ours.name, ours.clock);
            table.is_none_or(|table| table.fmtp(FmtpRole::Accept, &theirs.fmtp).is_ok())
        };
        offer_answer::accept(offer, &answer, self.local("").loopback, &mut fits).map_err(|error| {
            tracing::debug!(%error, "answer");
            cause(error)
        })
    }
}

/// What a description that nothing can be agreed on ends a call with.
fn cause(error: OfferAnswerError) -> Cause {
    if matches!(error, OfferAnswerError::BadAddress | OfferAnswerError::BadPort) {
        Cause::MediaAddress
    } else {
        Cause::Incompatible
    }
}

//! Offers and answers of a phone's leg.

use quartet_proto::sdp::sdes::{Crypto, Suite};
use quartet_proto::sdp::{
    self, Agreed, Codec, Direction, LocalCodec, OfferAnswerError, Origin, SessionDescription, offer_answer,
};

use super::{PTIME_MS, SipLeg};
use crate::call::LegEvent;
use crate::cdr::Cause;
use crate::media::{LegCodec, MediaCommand, Nack};
use crate::plugins::FmtpRole;

/// Numbers that a payload type can have.
const MAX_NUMBERS: usize = 128;

/// What any transport could say of itself, to see whether an offer can be answered at all.
pub(super) fn trial_lines() -> String {
    let keys = Suite::ALL.into_iter().zip(1..).map(|(suite, tag)| {
        let master = vec![0; suite.master_len()].into();
        format!("{}\n", *Crypto { tag, suite, master }.line())
    });
    let lines = ["c:192.0.2.1\nport:9\nice-ufrag:trial\n".to_owned()];
    lines.into_iter().chain(keys).collect()
}

/// Lines, and what has been said since: what belongs to an older generation of ICE is over.
fn merged(before: &str, new: &str) -> String {
    let is_of_ice = |line: &str| {
        ["ice-ufrag:", "ice-pwd:", "candidate:", "end-of-candidates"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    let restarts = ufrag(new).is_some();
    let kept = before.lines().filter(|line| !(restarts && is_of_ice(line)));
    let lines = kept.chain(new.lines()).filter(|line| !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// With ICE there is nothing to tell before there is a candidate.
pub(super) fn has_candidate(lines: &str) -> bool {
    lines.contains("candidate:")
}

/// The name of a generation of ICE.
fn ufrag(lines: &str) -> Option<&str> {
    lines.lines().find_map(|line| line.strip_prefix("ice-ufrag:"))
}

impl SipLeg {
    /// Takes in what our transport says of itself. A generation of ICE that it begins while the phone knows another waits until that is told.
    pub(super) fn note_lines(&mut self, new: &str) {
        let is_next = self.is_dtls && self.sent.is_some() && (ufrag(new).is_some() || self.next.is_some());
        let lines = if is_next { &mut self.next } else { &mut self.lines };
        *lines = Some(merged(lines.as_deref().unwrap_or_default(), new));
    }

    /// Tells the phone of the new generation from now on, if there is one and it can be told.
    pub(super) fn take_next(&mut self) -> bool {
        let next = self.next.take_if(|next| has_candidate(next));
        if let Some(next) = &next {
            self.lines = Some(merged(self.lines.as_deref().unwrap_or_default(), next));
        }
        next.is_some()
    }

    /// True if an agreement is about another generation of ICE than the one in use.
    pub(super) fn is_restart(&self, agreed: &Agreed) -> bool {
        let before = self.agreed.as_ref().and_then(|agreed| ufrag(&agreed.remote_lines));
        self.is_dtls && before != ufrag(&agreed.remote_lines)
    }

    /// What our transport says of itself, with the address that the phone is told where it is now.
    pub(super) fn shown_lines(&self) -> Option<String> {
        let (external, peer) = (&self.config.external, self.config.signalling_peer_ip);
        let shown = |line: &str| match line.strip_prefix("c:").map(str::parse) {
            Some(Ok(local)) => format!("c:{}\n", external.shown(local, peer)),
            _ => format!("{line}\n"),
        };
        let lines = self
            .lines
            .as_ref()
            .filter(|lines| !self.is_dtls || has_candidate(lines))?;
        Some(lines.lines().map(shown).collect())
    }

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
                version: self.sent.as_ref().map_or(1, |sent| sent.origin.version),
                address: address.to_owned(),
            },
            codecs: &self.config.codecs,
            lines,
            profiles: if self.is_dtls {
                sdp::Local::DTLS
            } else {
                sdp::Local::RTP
            },
            srtp: self.config.srtp,
            direction: Direction::SendRecv,
            ptime_ms: Some(PTIME_MS),
            telephone_event: true,
            comfort_noise: false,
            rtcp_mux: true,
            loopback: self.config.signalling_peer_ip.to_canonical().is_loopback(),
        }
    }

    /// An offer of ours: at the beginning, or within the dialog.
    pub(super) fn offer(&mut self, lines: &str) -> SessionDescription {
        let local = self.local(lines);
        // What is in use comes first: who takes the first of a list goes on as before.
        let mut codecs = self.config.codecs.clone();
        let in_use = self.agreed.as_ref().map(|agreed| &agreed.send);
        codecs.sort_by_key(|codec| {
            !in_use.is_some_and(|used| used.same_encoding(&codec.name, codec.clock, codec.channels))
        });
        let local = sdp::Local {
            codecs: &codecs,
            // A phone of old may not know it.
            rtcp_mux: self.is_dtls
                || self
                    .agreed
                    .as_ref()
                    .is_some_and(|agreed| agreed.remote_lines.contains("rtcp-mux\n")),
            ..local
        };
        let offer = match &self.sent {
            Some(before) => offer_answer::offer_again(&local, before, &self.used),
            None => offer_answer::offer(&local),
        };
        self.describe(offer)
    }

    /// A description that goes out: its version grows if it is another than the last (RFC 3264 §8).
    pub(super) fn describe(&mut self, mut ours: SessionDescription) -> SessionDescription {
        if self.sent.as_ref().is_some_and(|sent| *sent != ours) {
            ours.origin.version += 1;
        }
        self.note_used(&ours);
        self.sent = Some(ours.clone());
        ours
    }

    /// Remembers the numbers of a description.
    pub(super) fn note_used(&mut self, description: &SessionDescription) {
        for codec in description.media.iter().flat_map(|media| &media.codecs) {
            let is_known = self.used.iter().any(|used| used.payload_type == codec.payload_type);
            if !is_known && self.used.len() < MAX_NUMBERS {
                self.used.push(codec.clone());
            }
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
            // In a call it may come again and again, and its answer says it.
            if self.agreed.is_none() {
                tracing::info!(%error, "offer");
            } else {
                tracing::debug!(%error, "offer");
            }
            cause(error)
        })
    }

    /// Takes the answer to our offer.
    pub(super) fn accept(&mut self, offer: &SessionDescription, body: Option<&[u8]>) -> Result<Agreed, Cause> {
        let answer = SessionDescription::parse(body.unwrap_or_default()).map_err(|error| {
            tracing::info!(%error, "answer");
            Cause::Description
        })?;
        let registry = &self.config.registry;
        let mut fits = |ours: &Codec, theirs: &Codec| {
            let table = registry.codec_at(&ours.name, ours.clock);
            table.is_none_or(|table| table.fmtp(FmtpRole::Accept, &theirs.fmtp).is_ok())
        };
        let agreed = offer_answer::accept(offer, &answer, self.local("").loopback, &mut fits).map_err(|error| {
            tracing::info!(%error, "answer");
            cause(error)
        })?;
        if self.config.srtp == sdp::Srtp::Required && !self.is_dtls && agreed.suite.is_none() {
            return Err(Cause::NoSrtp);
        }
        self.note_used(&answer);
        Ok(agreed)
    }

    /// Puts an agreement into force.
    pub(super) fn agree(&mut self, agreed: Agreed) {
        let leg = self.config.key;
        let codec = self.leg_codec(&agreed);
        let held = self.holds();
        self.was_secure |= agreed.suite.is_some();
        let before = self.agreed.replace(agreed).map(|before| self.leg_codec(&before));
        if before.as_ref() != Some(&codec) {
            self.media(MediaCommand::Codec { leg, codec });
        }
        // Also if nothing has changed: the phone's NAT may have given it another port since.
        self.tell_remote();
        // A phone that only listens is not on hold: it goes on hearing.
        let on = self.holds();
        if on != held {
            self.media(MediaCommand::Hold { leg, on });
            self.events.push_back(LegEvent::Held);
        }
    }

    /// What an agreement means for media.
    fn leg_codec(&self, agreed: &Agreed) -> LegCodec {
        LegCodec {
            name: agreed.send.name.clone(),
            clock: agreed.send.clock,
            send_pt: agreed.send.payload_type,
            receive_pt: agreed.receive.payload_type,
            send_fmtp: agreed.send.fmtp.clone(),
            local_fmtp: agreed.receive.fmtp.clone(),
            ptime_ms: agreed.ptime_ms,
            telephone_event: agreed.telephone_event,
            events: agreed.events.clone(),
            also: agreed.also.clone(),
            ssrc: self.config.ssrc,
            nack: if agreed.nack { Nack::Agreed } else { Nack::Off },
        }
    }

    /// Tells media where the phone's comes from, as far as is agreed.
    pub(super) fn tell_remote(&mut self) {
        let Some(agreed) = &self.agreed else { return };
        let origin = self.config.signalling_peer_ip;
        let direction = agreed.direction.reversed().name();
        // What was encrypted is so until both say otherwise.
        let off = if self.was_secure && agreed.suite.is_none() {
            "x-srtp:off\n"
        } else {
            ""
        };
        let lines = format!(
            "signalled-from:{origin}\ndirection:{direction}\n{off}{}",
            agreed.remote_lines
        );
        let leg = self.config.key;
        self.media(MediaCommand::Remote { leg, lines });
    }
}

/// What a description that nothing can be agreed on ends a call with.
fn cause(error: OfferAnswerError) -> Cause {
    match error {
        OfferAnswerError::BadAddress | OfferAnswerError::BadPort => Cause::MediaAddress,
        OfferAnswerError::NoAudio => Cause::NoAudio,
        OfferAnswerError::SrtpRequired | OfferAnswerError::UnsupportedProfile => Cause::Srtp,
        OfferAnswerError::NoSrtp => Cause::NoSrtp,
        OfferAnswerError::NoCommonKeys => Cause::SrtpKeys,
        OfferAnswerError::DtlsTerms => Cause::DtlsTerms,
        OfferAnswerError::NoCommonCodec | OfferAnswerError::Refused => Cause::NoCodec,
        OfferAnswerError::Mismatch | _ => Cause::Description,
    }
}

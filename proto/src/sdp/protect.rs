//! Whether media is protected, and by which keys of a description: best-effort SRTP (RFC 8643) as well as the demanded one.

use zeroize::Zeroizing;

use super::offer_answer::OfferAnswerError;
use super::sdes::Crypto;
use super::{Local, MediaDescription, MediaKind, SessionDescription};

/// Whether media is protected by keys in the description (RFC 4568).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    /// Never: a peer that demands it is refused.
    Off,
    /// Where both can: keys stand in a description of plain RTP (RFC 8643), and a peer that demands it gets it.
    #[default]
    Optional,
    /// Always: a peer without it is refused.
    Required,
}

impl Srtp {
    /// The word that a conf file has for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }

    /// The profile to offer, where the transport's is this.
    pub(super) fn offered(self, profile: &str) -> &str {
        match (self, profile) {
            (Self::Required, "RTP/AVP") => "RTP/SAVP",
            (Self::Off | Self::Optional | Self::Required, profile) => profile,
        }
    }
}

impl SessionDescription {
    /// True if the keys of its audio come from a handshake.
    #[must_use]
    pub fn wants_dtls(&self) -> bool {
        let mut open = self.media.iter().filter(|media| media.port != 0);
        open.find(|media| media.kind == MediaKind::Audio)
            .is_some_and(|media| is_dtls(&media.profile))
    }
}

/// True for a profile under which nothing goes in clear.
pub(super) fn is_secure(profile: &str) -> bool {
    profile.to_ascii_uppercase().contains("SAVP")
}

/// True for a profile whose keys come from a handshake.
fn is_dtls(profile: &str) -> bool {
    profile.to_ascii_uppercase().starts_with("UDP/TLS/")
}

/// Our handshake runs over the one way that ICE finds.
fn dtls_terms(theirs: &MediaDescription) -> Result<(), OfferAnswerError> {
    let value = |name: &'static str| {
        let lines = theirs.transport.iter().filter_map(|line| line.split_once(':'));
        lines.filter(move |(of, _)| *of == name).map(|(_, value)| value.trim())
    };
    // RFC 8839 §5.4. Where the callee has been rung for it, it is too late to find that nobody can be heard.
    let has_ice = value("ice-ufrag").any(|name| name.len() >= 4) && value("ice-pwd").any(|key| key.len() >= 22);
    let hash = |value: &str| value.split(' ').next().unwrap_or_default().to_ascii_lowercase();
    let has_hash = value("fingerprint").any(|value| hash(value) == "sha-256");
    if has_ice && has_hash && theirs.has("rtcp-mux") {
        Ok(())
    } else {
        Err(OfferAnswerError::DtlsTerms)
    }
}

/// The lines of our keys in an offer.
pub(super) fn offered_keys(local: &Local<'_>) -> impl Iterator<Item = String> {
    let may = local.srtp != Srtp::Off;
    let lines = local
        .lines
        .lines()
        .filter(move |line| may && line.starts_with("crypto:"));
    lines.map(str::to_owned)
}

/// The peer's keys that an answer takes, the first that both know, and the line of ours that goes with them.
pub(super) fn agree_keys(
    theirs: &MediaDescription,
    local: &Local<'_>,
) -> Result<Option<(Crypto, Zeroizing<String>)>, OfferAnswerError> {
    if is_dtls(&theirs.profile) {
        return dtls_terms(theirs).map(|()| None);
    }
    let is_secure = is_secure(&theirs.profile);
    if local.srtp == Srtp::Off {
        return if is_secure {
            Err(OfferAnswerError::SrtpRequired)
        } else {
            Ok(None)
        };
    }
    let agreed = theirs.transport.iter().find_map(|line| {
        let theirs = Crypto::parse(line)?;
        let mut own = local.lines.lines().filter_map(Crypto::parse);
        let mut ours = own.find(|ours| ours.suite == theirs.suite)?;
        ours.tag = theirs.tag;
        Some((theirs, ours.line()))
    });
    match agreed {
        None if is_secure || theirs.has("crypto") && local.srtp == Srtp::Required => {
            Err(OfferAnswerError::NoCommonKeys)
        }
        None if local.srtp == Srtp::Required => Err(OfferAnswerError::NoSrtp),
        agreed => Ok(agreed),
    }
}

/// The peer's keys in its answer to ours. They are those of a line that we offered, or none where none had to be.
pub(super) fn accepted_keys(
    ours: &MediaDescription,
    theirs: &MediaDescription,
) -> Result<Option<Crypto>, OfferAnswerError> {
    if is_dtls(&ours.profile) || is_dtls(&theirs.profile) {
        if !is_dtls(&ours.profile) || !is_dtls(&theirs.profile) {
            return Err(OfferAnswerError::Mismatch);
        }
        return dtls_terms(theirs).map(|()| None);
    }
    let offered = |answer: &Crypto| {
        let mut ours = ours.transport.iter().filter_map(|line| Crypto::parse(line));
        ours.any(|ours| (ours.tag, ours.suite) == (answer.tag, answer.suite))
    };
    let answered = theirs
        .transport
        .iter()
        .filter_map(|line| Crypto::parse(line))
        .find(offered);
    match answered {
        // What was not offered cannot be opened, nor can an answer in clear be taken for one that is not.
        None if theirs.has("crypto") || is_secure(&theirs.profile) => Err(OfferAnswerError::Mismatch),
        None if is_secure(&ours.profile) => Err(OfferAnswerError::NoSrtp),
        answered => Ok(answered),
    }
}

#[cfg(test)]
mod tests;

//! Why a call ended: the one table between SIP status, network reason and call record.
//!
//! A cause is chosen once, where the fault is seen; every other place reads this table.
//!
//! Size: it is one table.

use std::time::Duration;

use quartet_proto::sip::Reason;

use super::By;

/// Why a call ends, in the words every network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiscardReason {
    /// Nobody answered in time.
    Missed,
    /// The way between the parties is gone: a connection closed, media failed, the key exchange failed.
    Disconnect,
    /// Somebody hung up.
    Hangup,
    /// The callee is in another call.
    Busy,
    /// The callee does not want this call.
    Declined,
    /// The two have no version, key exchange or codec in common.
    Incompatible,
}

/// How far a call with an E2EE user has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is asked for.
    Requested,
    /// It rings.
    Ringing,
    /// It was accepted; the key is being agreed.
    KeyExchange,
    /// There is a key; codecs and addresses are being settled.
    Negotiating,
    /// They are settled; media is on its way.
    Connecting,
    /// The two hear each other.
    Talking,
}

/// Why a call ended, or never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was answered and one side hung up.
    Answered,
    /// Another of the called answered: said to those that stop ringing; in a record, where another device of our account took the call.
    Elsewhere,
    /// The callee is in another call.
    Busy,
    /// The callee refused.
    Declined,
    /// Nobody answered in time.
    Missed,
    /// The callee has no phone registered, or no device online.
    Offline,
    /// The caller gave up before the answer.
    Hangup,
    /// The callee accepted, and hung up before the two could hear each other.
    Abandoned,
    /// The operator ended it, before anybody talked.
    Operator,
    /// The gateway was being stopped, and nobody talked yet.
    Stopped,
    /// Nobody of that name or number.
    Unknown,
    /// The callee's settings, or ours, forbid it.
    Forbidden,
    /// The two ends have no version or key exchange in common.
    Incompatible,
    /// The two ends have no codec in common.
    NoCodec,
    /// The phone's description has no audio, or its audio is disabled.
    NoAudio,
    /// The phone wants SRTP where it is off, or another profile that is not served.
    Srtp,
    /// The phone has no SRTP where it is demanded.
    NoSrtp,
    /// The phone's SRTP is of no kind that is served.
    SrtpKeys,
    /// The phone's DTLS-SRTP comes without ICE or rtcp-mux.
    DtlsTerms,
    /// A description is no SDP, or does not fit the one before.
    Description,
    /// The description wants media at an address or port that nothing is sent to.
    MediaAddress,
    /// The key exchange broke its rules.
    KeyExchange,
    /// The media's certificate is another than was announced.
    Fingerprint,
    /// The media's certificate is not the announced one, or its handshake failed.
    Dtls,
    /// The encrypted signalling failed.
    Signalling,
    /// The network, or the callee's connection to it, is down.
    Network,
    /// No pair of addresses carries media, or none does any more.
    Ice,
    /// Nothing was heard of the phone for too long.
    Timeout,
    /// There was no port for media.
    Ports,
    /// The codec failed, or is not there.
    Codec,
    /// A plugin broke its promise, or none has the transport.
    Plugin,
    /// Media could not be set up or was lost, for another reason.
    Media,
    /// The person with the handset said that the emojis differ.
    Mismatch,
    /// The other one goes on in another call: whoever had both has joined them.
    Transferred,
    /// The gateway crashed while the call stood: said by the next process, in the record alone.
    Crashed,
    /// A limit was reached.
    Limit {
        /// When it may be tried again, if the gateway is full or a network says so; `None`: too many calls in a minute, by
        /// one caller, to one callee or along one route.
        retry_after: Option<Duration>,
    },
}

/// One row of the table.
struct Row {
    /// The word in the call record.
    word: &'static str,
    /// The status that refuses an INVITE.
    status: u16,
    /// What the Reason header says: protocol, cause and text (RFC 3326).
    reason: (&'static str, u16, &'static str),
    /// What the E2EE network is told.
    discard: DiscardReason,
    /// What it means, for the manual.
    meaning: &'static str,
}

const LIMIT: &str = "A limit of `[limits]` was reached, or the gateway was full.";

impl Cause {
    fn row(self) -> Row {
        let row = |word, status, reason, discard, meaning| Row {
            word,
            status,
            reason,
            discard,
            meaning,
        };
        match self {
            Self::Answered => row(
                "answered",
                480,
                ("Q.850", 16, "Normal call clearing"),
                DiscardReason::Hangup,
                "It was answered, and one side hung up.",
            ),
            // A phone is not to show the call as missed (RFC 3326 §2).
            Self::Elsewhere => row(
                "elsewhere",
                480,
                ("SIP", 200, "Call completed elsewhere"),
                DiscardReason::Hangup,
                "Said to phones that stop ringing because another has answered; in a record, where another device of our account took the call.",
            ),
            Self::Transferred => row(
                "transferred",
                480,
                ("SIP", 200, "Call transferred"),
                DiscardReason::Hangup,
                "The person at the phone connected the other one with somebody else: said to a phone whose place another took; in a record, where the call was joined with another, whose record goes on.",
            ),
            Self::Busy => row(
                "busy",
                486,
                ("Q.850", 17, "User busy"),
                DiscardReason::Busy,
                "The callee is in another call.",
            ),
            Self::Declined => row(
                "declined",
                603,
                ("Q.850", 21, "Call rejected"),
                DiscardReason::Declined,
                "The callee refused.",
            ),
            Self::Missed => row(
                "missed",
                480,
                ("Q.850", 19, "No answer"),
                DiscardReason::Missed,
                "Nobody answered in time.",
            ),
            Self::Offline => row(
                "offline",
                480,
                ("Q.850", 20, "Callee is not registered"),
                DiscardReason::Missed,
                "The callee has no phone registered, or no device online.",
            ),
            Self::Hangup => row(
                "hangup",
                487,
                ("Q.850", 16, "Caller gave up"),
                DiscardReason::Hangup,
                "The caller gave up before the answer.",
            ),
            Self::Abandoned => row(
                "abandoned",
                480,
                ("Q.850", 16, "Callee hung up before media came"),
                DiscardReason::Hangup,
                "The callee accepted, and hung up before the two could hear each other.",
            ),
            Self::Operator => row(
                "operator",
                480,
                ("Q.850", 16, "Ended by the operator"),
                DiscardReason::Hangup,
                "`quartet hangup` ended it before anybody talked.",
            ),
            Self::Stopped => row(
                "stopped",
                503,
                ("Q.850", 41, "Gateway is being stopped"),
                DiscardReason::Disconnect,
                "The gateway was being stopped, and nobody talked yet.",
            ),
            Self::Unknown => row(
                "unknown",
                404,
                ("Q.850", 1, "No such number or user"),
                DiscardReason::Disconnect,
                "Nobody has that name or number, or no route leads there.",
            ),
            Self::Forbidden => row(
                "forbidden",
                403,
                ("Q.850", 57, "Not allowed"),
                DiscardReason::Disconnect,
                "The callee's settings, or ours, forbid it.",
            ),
            Self::Incompatible => row(
                "incompatible",
                488,
                ("Q.850", 88, "No version or key exchange in common"),
                DiscardReason::Incompatible,
                "The two ends have no version or key exchange in common.",
            ),
            Self::NoCodec => row(
                "no_codec",
                488,
                ("Q.850", 88, "No codec in common"),
                DiscardReason::Incompatible,
                "The two ends have no codec in common.",
            ),
            Self::NoAudio => row(
                "no_audio",
                488,
                ("Q.850", 88, "No audio in the description"),
                DiscardReason::Disconnect,
                "The phone's description has no audio, or its audio is disabled.",
            ),
            Self::Srtp => row(
                "srtp",
                488,
                ("Q.850", 88, "SRTP is off here, or this media profile is not served"),
                DiscardReason::Disconnect,
                "The phone demands SRTP where its account says srtp = \"off\", or another media profile that is not served.",
            ),
            Self::NoSrtp => row(
                "srtp_required",
                488,
                ("Q.850", 88, "SRTP is required here"),
                DiscardReason::Disconnect,
                "The phone has no SRTP, and its account says srtp = \"required\": turn SRTP (SDES) on in the phone, or take \"optional\".",
            ),
            Self::SrtpKeys => row(
                "srtp_keys",
                488,
                ("Q.850", 88, "No SRTP key that can be used"),
                DiscardReason::Disconnect,
                "The phone demands SRTP and offers no key that is served: without a key identifier (MKI), of AEAD_AES_256_GCM, \
                 AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_80 or AES_CM_128_HMAC_SHA1_32.",
            ),
            Self::DtlsTerms => row(
                "dtls_terms",
                488,
                ("Q.850", 88, "DTLS-SRTP is served with ICE and rtcp-mux"),
                DiscardReason::Disconnect,
                "The phone wants DTLS-SRTP and speaks no ICE or no rtcp-mux: turn both on in the phone, or take SDES.",
            ),
            Self::Description => row(
                "description",
                488,
                ("Q.850", 88, "Description cannot be used"),
                DiscardReason::Disconnect,
                "A description is no SDP, or does not fit the one before.",
            ),
            Self::MediaAddress => row(
                "media_address",
                488,
                ("Q.850", 88, "Media address or port cannot be used"),
                DiscardReason::Disconnect,
                "Media would go to a host name, a group, this machine, or a port below 1024.",
            ),
            Self::KeyExchange => row(
                "key_exchange",
                488,
                ("Q.850", 88, "Key exchange failed"),
                DiscardReason::Disconnect,
                "The key exchange broke its rules, its keys differ, or it did not end in time.",
            ),
            Self::Fingerprint => row(
                "fingerprint",
                500,
                ("Q.850", 127, "Media certificate differs"),
                DiscardReason::Disconnect,
                "The media's certificate is proved, and not the announced one: somebody is in between.",
            ),
            Self::Dtls => row(
                "dtls",
                500,
                ("Q.850", 127, "Media encryption failed"),
                DiscardReason::Disconnect,
                "The handshake of the media's encryption failed.",
            ),
            Self::Signalling => row(
                "signalling",
                500,
                ("Q.850", 127, "Encrypted signalling failed"),
                DiscardReason::Disconnect,
                "The encrypted signalling failed.",
            ),
            Self::Network => row(
                "network",
                503,
                ("Q.850", 38, "Network out of order"),
                DiscardReason::Disconnect,
                "The network, or one side's connection to it, is down.",
            ),
            Self::Ice => row(
                "ice",
                500,
                ("Q.850", 41, "No media path"),
                DiscardReason::Disconnect,
                "No pair of addresses carries media, or none does any more.",
            ),
            Self::Timeout => row(
                "timeout",
                500,
                ("Q.850", 41, "Media timeout"),
                DiscardReason::Disconnect,
                "Media had not come up in time.",
            ),
            Self::Ports => row(
                "ports",
                503,
                ("Q.850", 42, "No media port is free"),
                DiscardReason::Busy,
                "There was no port for media: see `[media] ports`.",
            ),
            Self::Codec => row(
                "codec",
                488,
                ("Q.850", 88, "Codec failed"),
                DiscardReason::Disconnect,
                "The codec failed, or is not there.",
            ),
            Self::Plugin => row(
                "plugin",
                500,
                ("Q.850", 41, "Plugin failed"),
                DiscardReason::Disconnect,
                "A plugin broke its promise, or none has the transport; the log names it.",
            ),
            Self::Media => row(
                "media",
                500,
                ("Q.850", 41, "Media failed"),
                DiscardReason::Disconnect,
                "Media could not be set up, or was lost: also a phone that was silent and did not answer.",
            ),
            Self::Mismatch => row(
                "mismatch",
                488,
                ("Q.850", 88, "Emojis differ"),
                DiscardReason::Disconnect,
                "The person with the handset said that the emojis differ.",
            ),
            Self::Crashed => row(
                "crashed",
                500,
                ("Q.850", 41, "Gateway crashed"),
                DiscardReason::Disconnect,
                "The gateway crashed while the call stood.",
            ),
            Self::Limit { retry_after: Some(_) } => {
                row("limit", 503, ("Q.850", 42, "Limit reached"), DiscardReason::Busy, LIMIT)
            }
            Self::Limit { retry_after: None } => row(
                "limit",
                480,
                ("Q.850", 42, "Too many calls in a minute"),
                DiscardReason::Busy,
                LIMIT,
            ),
        }
    }

    /// What it means, for the manual.
    pub fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// Who has ended a call that the leg of this side ended: that side, if somebody there wanted it; else something failed, or time
    /// was up.
    pub fn by(self, side: By) -> By {
        if self == Self::Network {
            By::Network
        } else if matches!(self, Self::Missed | Self::Offline | Self::Unknown | Self::Forbidden) {
            // A refusal is the callee's; so is a failure to reach it.
            By::Callee
        } else if matches!(
            self,
            Self::Answered
                | Self::Elsewhere
                | Self::Busy
                | Self::Declined
                | Self::Hangup
                | Self::Abandoned
                | Self::Mismatch
                | Self::Transferred
        ) {
            side
        } else {
            By::Gateway
        }
    }

    /// The word in call records and logs.
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// The SIP status that refuses an INVITE for this cause.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// The Reason header of a refusal, a CANCEL or a BYE (RFC 3326).
    pub fn reason(self) -> Reason {
        let (protocol, cause, text) = self.row().reason;
        Reason {
            protocol: protocol.into(),
            cause,
            text: text.into(),
        }
    }

    /// What an E2EE network is told when this ends the call.
    pub fn discard(self) -> DiscardReason {
        self.row().discard
    }

    /// When a phone may try again, for Retry-After.
    pub fn retry_after(self) -> Option<Duration> {
        if let Self::Limit { retry_after } = self {
            retry_after
        } else {
            None
        }
    }

    /// Reads a phone's refusal of our INVITE (status 300 to 699).
    pub fn from_status(status: u16) -> Self {
        match status {
            404 | 410 | 604 => Self::Unknown,
            403 | 401 | 407 => Self::Forbidden,
            408 => Self::Offline,
            480 => Self::Missed,
            486 | 600 => Self::Busy,
            487 => Self::Hangup,
            415 | 488 | 606 => Self::NoCodec,
            500..=599 => Self::Network,
            _ => Self::Declined,
        }
    }

    /// Reads what the E2EE user's side said when it ended the call; `calling` tells whether it was the user who called.
    pub fn from_discard(reason: DiscardReason, calling: bool, phase: Phase) -> Self {
        match reason {
            DiscardReason::Incompatible if matches!(phase, Phase::Requested | Phase::Ringing) => Self::Incompatible,
            DiscardReason::Incompatible => Self::NoCodec,
            DiscardReason::Disconnect => Self::from_disconnect(calling, phase),
            DiscardReason::Missed | DiscardReason::Declined | DiscardReason::Hangup | DiscardReason::Busy
                if phase == Phase::Talking =>
            {
                Self::Answered
            }
            DiscardReason::Missed | DiscardReason::Declined | DiscardReason::Hangup
                if !calling && !matches!(phase, Phase::Requested | Phase::Ringing) =>
            {
                Self::Abandoned
            }
            DiscardReason::Missed | DiscardReason::Busy | DiscardReason::Declined | DiscardReason::Hangup
                if calling =>
            {
                Self::Hangup
            }
            DiscardReason::Missed => Self::Missed,
            DiscardReason::Busy => Self::Busy,
            DiscardReason::Declined | DiscardReason::Hangup => Self::Declined,
        }
    }

    /// What stands behind `disconnect`, the one word for all that fails on the other side: what was being done tells.
    fn from_disconnect(calling: bool, phase: Phase) -> Self {
        match phase {
            // A device that loses its connection has said before that it rings; one that speaks none of our versions has not.
            Phase::Requested if !calling => Self::Incompatible,
            Phase::Requested | Phase::Ringing | Phase::Talking => Self::Network,
            Phase::KeyExchange => Self::KeyExchange,
            Phase::Negotiating => Self::Signalling,
            Phase::Connecting => Self::Ice,
        }
    }

    /// Of the refusal that is known already and another callee's, the one that the caller is told (RFC 3261 §16.7, step 6).
    pub fn best_response(known: Option<Self>, other: Self) -> Self {
        let rank = |cause: Self| match cause {
            Self::Declined => 0,
            Self::Busy => 1,
            Self::Missed => 2,
            Self::Answered
            | Self::Elsewhere
            | Self::Offline
            | Self::Hangup
            | Self::Abandoned
            | Self::Operator
            | Self::Stopped
            | Self::Unknown
            | Self::Forbidden
            | Self::Incompatible
            | Self::NoCodec
            | Self::NoAudio
            | Self::Srtp
            | Self::NoSrtp
            | Self::SrtpKeys
            | Self::DtlsTerms
            | Self::Description
            | Self::MediaAddress
            | Self::KeyExchange
            | Self::Fingerprint
            | Self::Dtls
            | Self::Signalling
            | Self::Network
            | Self::Ice
            | Self::Timeout
            | Self::Ports
            | Self::Codec
            | Self::Plugin
            | Self::Media
            | Self::Mismatch
            | Self::Transferred
            | Self::Crashed
            | Self::Limit { .. } => 3,
        };
        known.filter(|known| rank(*known) <= rank(other)).unwrap_or(other)
    }
}

/// All causes, in the order of the manual.
#[cfg(test)]
pub(super) const ALL: [Cause; 37] = [
    Cause::Answered,
    Cause::Elsewhere,
    Cause::Transferred,
    Cause::Busy,
    Cause::Declined,
    Cause::Missed,
    Cause::Offline,
    Cause::Hangup,
    Cause::Abandoned,
    Cause::Operator,
    Cause::Stopped,
    Cause::Unknown,
    Cause::Forbidden,
    Cause::Incompatible,
    Cause::NoCodec,
    Cause::NoAudio,
    Cause::Srtp,
    Cause::NoSrtp,
    Cause::SrtpKeys,
    Cause::DtlsTerms,
    Cause::Description,
    Cause::MediaAddress,
    Cause::KeyExchange,
    Cause::Fingerprint,
    Cause::Dtls,
    Cause::Signalling,
    Cause::Network,
    Cause::Ice,
    Cause::Timeout,
    Cause::Ports,
    Cause::Codec,
    Cause::Plugin,
    Cause::Media,
    Cause::Mismatch,
    Cause::Crashed,
    Cause::Limit {
        retry_after: Some(Duration::from_secs(5)),
    },
    Cause::Limit { retry_after: None },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_own_word_and_a_final_status() {
        let words: std::collections::BTreeSet<_> = ALL.iter().map(|c| c.word()).collect();
        assert_eq!(words.len() + 1, ALL.len(), "the two rows of the limits have one");
        assert!(ALL.iter().all(|c| (400..=699).contains(&c.status())));
    }

    #[test]
    fn a_security_failure_always_says_why() {
        for cause in [
            Cause::KeyExchange,
            Cause::Fingerprint,
            Cause::Dtls,
            Cause::Mismatch,
            Cause::Signalling,
        ] {
            assert_eq!(cause.discard(), DiscardReason::Disconnect);
        }
    }

    #[test]
    fn busy_and_missed_survive_the_way_through() {
        assert_eq!(Cause::from_status(486).discard(), DiscardReason::Busy);
        let read = Cause::from_discard;
        assert_eq!(read(DiscardReason::Busy, false, Phase::Ringing).status(), 486);
        assert_eq!(read(DiscardReason::Missed, false, Phase::Ringing).status(), 480);
        assert_eq!(
            read(DiscardReason::Missed, true, Phase::Ringing),
            Cause::Hangup,
            "the caller gave up"
        );
        assert_eq!(read(DiscardReason::Hangup, false, Phase::Ringing), Cause::Declined);
        assert_eq!(
            read(DiscardReason::Hangup, false, Phase::KeyExchange),
            Cause::Abandoned,
            "it had been accepted"
        );
        assert_eq!(read(DiscardReason::Hangup, false, Phase::Talking), Cause::Answered);
    }

    #[test]
    fn a_disconnect_is_read_with_the_phase_of_the_call() {
        let read = |calling, phase| Cause::from_discard(DiscardReason::Disconnect, calling, phase);
        assert_eq!(read(false, Phase::Requested).status(), 488, "nothing in common");
        assert_eq!(read(true, Phase::Requested), Cause::Network, "the caller's connection");
        for (phase, cause) in [
            (Phase::Ringing, Cause::Network),
            (Phase::KeyExchange, Cause::KeyExchange),
            (Phase::Negotiating, Cause::Signalling),
            (Phase::Connecting, Cause::Ice),
            (Phase::Talking, Cause::Network),
        ] {
            assert_eq!([read(false, phase), read(true, phase)], [cause; 2]);
        }
    }
}

//! Why a call ended: the one table between SIP status, network reason and call record.
//!
//! A cause is chosen once, where the fault is seen; every other place reads this table.

use std::time::Duration;

use quartet_proto::sip::Reason;

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
}

/// Why a call ended, or never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was answered and one side hung up.
    Answered,
    /// Another of the called answered: said to those that stop ringing, never in a record.
    Elsewhere,
    /// The callee is in another call.
    Busy,
    /// The callee refused.
    Declined,
    /// Nobody answered in time.
    Missed,
    /// The caller gave up before the answer.
    Hangup,
    /// Nobody of that name or number.
    Unknown,
    /// The callee's settings, or ours, forbid it.
    Forbidden,
    /// The two ends have no version, exchange or codec in common.
    Incompatible,
    /// The description wants media at an address or port that nothing is sent to.
    MediaAddress,
    /// The key exchange broke its rules.
    KeyExchange,
    /// The key's fingerprint differs.
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
    /// A plugin broke its promise.
    Plugin,
    /// Media could not be set up or was lost, for another reason.
    Media,
    /// The person with the handset said that the emojis differ.
    Mismatch,
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
    /// What the Reason header says (protocol, cause and text, RFC 3326), where the status alone does not tell.
    reason: Option<(&'static str, u16, &'static str)>,
    /// What the E2EE network is told.
    discard: DiscardReason,
}

impl Cause {
    fn row(self) -> Row {
        let row = |word, status, reason, discard| Row {
            word,
            status,
            reason,
            discard,
        };
        let q850 = |cause, text| Some(("Q.850", cause, text));
        match self {
            Self::Answered => row("answered", 480, None, DiscardReason::Hangup),
            // A phone is not to show the call as missed (RFC 3326 §2).
            Self::Elsewhere => row(
                "elsewhere",
                480,
                Some(("SIP", 200, "Call completed elsewhere")),
                DiscardReason::Hangup,
            ),
            Self::Busy => row("busy", 486, None, DiscardReason::Busy),
            Self::Declined => row("declined", 603, None, DiscardReason::Declined),
            Self::Missed => row("missed", 480, None, DiscardReason::Missed),
            Self::Hangup => row("hangup", 487, None, DiscardReason::Hangup),
            Self::Unknown => row("unknown", 404, None, DiscardReason::Disconnect),
            Self::Forbidden => row("forbidden", 403, None, DiscardReason::Disconnect),
            Self::Incompatible => row(
                "incompatible",
                488,
                q850(88, "No version or codec in common"),
                DiscardReason::Disconnect,
            ),
            Self::MediaAddress => row(
                "media_address",
                488,
                q850(88, "Media address or port cannot be used"),
                DiscardReason::Disconnect,
            ),
            Self::KeyExchange => row(
                "key_exchange",
                488,
                q850(88, "Key exchange failed"),
                DiscardReason::Disconnect,
            ),
            Self::Fingerprint => row(
                "fingerprint",
                488,
                q850(88, "Key fingerprint differs"),
                DiscardReason::Disconnect,
            ),
            Self::Dtls => row(
                "dtls",
                500,
                q850(127, "Media encryption failed"),
                DiscardReason::Disconnect,
            ),
            Self::Signalling => row(
                "signalling",
                500,
                q850(127, "Encrypted signalling failed"),
                DiscardReason::Disconnect,
            ),
            Self::Network => row(
                "network",
                503,
                q850(38, "Network out of order"),
                DiscardReason::Disconnect,
            ),
            Self::Ice => row("ice", 500, q850(41, "No media path"), DiscardReason::Disconnect),
            Self::Timeout => row("timeout", 500, q850(41, "Media timeout"), DiscardReason::Disconnect),
            Self::Ports => row("ports", 503, q850(42, "No media port is free"), DiscardReason::Busy),
            Self::Codec => row("codec", 488, q850(88, "Codec failed"), DiscardReason::Disconnect),
            Self::Plugin => row("plugin", 500, q850(41, "Plugin failed"), DiscardReason::Disconnect),
            Self::Media => row("media", 500, q850(41, "Media failed"), DiscardReason::Disconnect),
            Self::Mismatch => row("mismatch", 488, q850(88, "Emojis differ"), DiscardReason::Disconnect),
            Self::Crashed => row("crashed", 500, q850(41, "Gateway crashed"), DiscardReason::Disconnect),
            Self::Limit { retry_after: Some(_) } => row("limit", 503, q850(42, "Limit reached"), DiscardReason::Busy),
            Self::Limit { retry_after: None } => row(
                "limit",
                480,
                q850(42, "Too many calls in a minute"),
                DiscardReason::Busy,
            ),
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

    /// The Reason header for a refusal or a BYE (RFC 3326), if the cause needs one.
    pub fn reason(self) -> Option<Reason> {
        self.row().reason.map(|(protocol, cause, text)| Reason {
            protocol: protocol.into(),
            cause,
            text: text.into(),
        })
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
            408 | 480 => Self::Missed,
            486 | 600 => Self::Busy,
            487 => Self::Hangup,
            415 | 488 | 606 => Self::Incompatible,
            500..=599 => Self::Network,
            _ => Self::Declined,
        }
    }

    /// Reads what the E2EE user said when it ended a call in which both had heard each other.
    pub fn from_discard(reason: DiscardReason) -> Self {
        if reason == DiscardReason::Disconnect {
            Self::Network
        } else {
            Self::Answered
        }
    }

    /// Reads what the E2EE user said when it ended a call before that; `calling` tells whether it was the user who called.
    pub fn from_early_discard(reason: DiscardReason, calling: bool) -> Self {
        match reason {
            DiscardReason::Disconnect => Self::Network,
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

    /// Of the refusals of two callees, the one that tells the caller more.
    pub fn or_more_telling(self, other: Self) -> Self {
        let rank = |cause: Self| match cause {
            Self::Declined => 0,
            Self::Busy => 1,
            Self::Missed => 2,
            Self::Answered
            | Self::Elsewhere
            | Self::Hangup
            | Self::Unknown
            | Self::Forbidden
            | Self::Incompatible
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
            | Self::Crashed
            | Self::Limit { .. } => 3,
        };
        if rank(other) < rank(self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Cause; 24] = [
        Cause::Answered,
        Cause::Elsewhere,
        Cause::Busy,
        Cause::Declined,
        Cause::Missed,
        Cause::Hangup,
        Cause::Unknown,
        Cause::Forbidden,
        Cause::Incompatible,
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
    ];

    #[test]
    fn every_cause_has_its_own_word_and_a_final_status() {
        let words: std::collections::BTreeSet<_> = ALL.iter().map(|c| c.word()).collect();
        assert_eq!(words.len(), ALL.len());
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
            assert!(cause.reason().is_some(), "{cause:?}");
            assert_eq!(cause.discard(), DiscardReason::Disconnect);
        }
    }

    #[test]
    fn busy_and_missed_survive_the_way_through() {
        assert_eq!(Cause::from_status(486).discard(), DiscardReason::Busy);
        assert_eq!(Cause::from_early_discard(DiscardReason::Busy, false).status(), 486);
        assert_eq!(Cause::from_early_discard(DiscardReason::Missed, false).status(), 480);
        assert_eq!(
            Cause::from_early_discard(DiscardReason::Missed, true),
            Cause::Hangup,
            "the caller gave up"
        );
        assert_eq!(Cause::from_discard(DiscardReason::Hangup), Cause::Answered);
    }
}

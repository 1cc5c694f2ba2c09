//! Who gets SRTP, by which keys, and who is refused.

use super::super::Agreed;
use super::super::offer_answer::{accept, answer, offer, offer_again};
use super::super::sdes::Suite;
use super::super::tests::{keep, local, our_codecs, parse};
use super::*;

const OURS: &str = "c:192.0.2.1\nport:4000\nrtcp-port:4001\n\
    crypto:1 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==\n\
    crypto:2 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\n";
const THEIRS_80: &str = "AES_CM_128_HMAC_SHA1_80 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj";
const THEIRS_MKI: &str = "AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:4";

fn described(profile: &str, crypto: &[&str]) -> SessionDescription {
    let lines: String = (7..)
        .zip(crypto)
        .map(|(tag, rest)| format!("a=crypto:{tag} {rest}\r\n"))
        .collect();
    parse(&format!(
        "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 5000 {profile} 0\r\n{lines}"
    ))
}

fn answered(srtp: Srtp, offer: &SessionDescription) -> Result<(SessionDescription, Agreed), OfferAnswerError> {
    let codecs = our_codecs();
    let local = Local {
        srtp,
        ..local(&codecs, OURS)
    };
    answer(offer, &local, &mut keep).map(|answered| (answered.description, answered.agreed))
}

#[test]
fn an_offer_gets_what_both_can() {
    use OfferAnswerError::{NoCommonKeys, NoSrtp, SrtpRequired};
    use Srtp::{Off, Optional, Required};
    let good: &[&str] = &[THEIRS_MKI, "F8_128_HMAC_SHA1_80 inline:x", THEIRS_80];
    let bad: &[&str] = &[THEIRS_MKI];
    for (srtp, profile, crypto, expected) in [
        (Off, "RTP/AVP", &[][..], Ok(false)),
        (Off, "RTP/AVP", good, Ok(false)),
        (Off, "RTP/SAVP", good, Err(SrtpRequired)),
        (Optional, "RTP/AVP", &[], Ok(false)),
        (Optional, "RTP/AVP", bad, Ok(false)),
        (Optional, "RTP/AVP", good, Ok(true)),
        (Optional, "RTP/AVPF", good, Ok(true)),
        (Optional, "RTP/SAVP", good, Ok(true)),
        (Optional, "RTP/SAVPF", good, Ok(true)),
        (Optional, "RTP/SAVP", bad, Err(NoCommonKeys)),
        (Optional, "RTP/SAVP", &[], Err(NoCommonKeys)),
        (Required, "RTP/AVP", &[], Err(NoSrtp)),
        (Required, "RTP/AVP", bad, Err(NoCommonKeys)),
        (Required, "RTP/AVP", good, Ok(true)),
        (Required, "RTP/SAVP", good, Ok(true)),
        (Required, "UDP/TLS/RTP/SAVP", good, Err(SrtpRequired)),
    ] {
        let what = format!("{srtp:?} {profile} {crypto:?}");
        let answered = answered(srtp, &described(profile, crypto));
        match (answered, expected) {
            (Ok((answer, agreed)), Ok(true)) => {
                let line = "a=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
                let text = answer.to_string();
                assert!(text.contains(line), "{what} {text}");
                assert_eq!(text.matches("a=crypto").count(), 1, "{what} {text}");
                assert!(text.contains(&format!("m=audio 4000 {profile} ")), "{what} {text}");
                assert_eq!(agreed.suite, Some(Suite::AesCm128HmacSha1_80));
                assert!(agreed.remote_lines.ends_with(&format!("\ncrypto:9 {THEIRS_80}\n")));
                assert_eq!(agreed.remote_lines.matches("crypto").count(), 1);
            }
            (Ok((answer, agreed)), Ok(false)) => {
                assert!(!answer.to_string().contains("crypto"), "{what}");
                assert_eq!((agreed.suite, agreed.remote_lines.contains("crypto")), (None, false));
            }
            (answered, expected) => {
                assert_eq!(answered.map(|_| true), expected.map(|_| true), "{what}");
            }
        }
    }
}

#[test]
fn an_answer_brings_keys_of_a_line_that_was_offered() {
    use OfferAnswerError::{Mismatch, NoSrtp};
    use Srtp::{Off, Optional, Required};
    let (codecs, first) = (our_codecs(), format!("1 {THEIRS_80}"));
    let (second, third) = (format!("2 {THEIRS_80}"), format!("3 {THEIRS_80}"));
    for (srtp, profile, crypto, expected) in [
        (Off, "RTP/AVP", None, Ok(None)),
        (Off, "RTP/AVP", Some(&second), Err(Mismatch)),
        (Off, "RTP/SAVP", Some(&second), Err(Mismatch)),
        (Optional, "RTP/AVP", None, Ok(None)),
        (Optional, "RTP/AVP", Some(&second), Ok(Some(Suite::AesCm128HmacSha1_80))),
        (
            Optional,
            "RTP/SAVP",
            Some(&second),
            Ok(Some(Suite::AesCm128HmacSha1_80)),
        ),
        (Optional, "RTP/AVP", Some(&first), Err(Mismatch)),
        (Optional, "RTP/AVP", Some(&third), Err(Mismatch)),
        (Optional, "RTP/SAVP", None, Err(Mismatch)),
        (
            Required,
            "RTP/SAVP",
            Some(&second),
            Ok(Some(Suite::AesCm128HmacSha1_80)),
        ),
        (Required, "RTP/SAVP", None, Err(Mismatch)),
        (Required, "RTP/AVP", None, Err(NoSrtp)),
        (Required, "UDP/TLS/RTP/SAVP", Some(&second), Err(Mismatch)),
    ] {
        let what = format!("{srtp:?} {profile} {crypto:?}");
        let made = offer(&Local {
            srtp,
            ..local(&codecs, OURS)
        });
        let text = made.to_string();
        let lines = if srtp == Off { 0 } else { 2 };
        assert_eq!(text.matches("a=crypto").count(), lines, "{what} {text}");
        assert_eq!(made.media[0].profile == "RTP/SAVP", srtp == Required, "{what} {text}");
        let line = crypto
            .map(|crypto| format!("a=crypto:{crypto}\r\n"))
            .unwrap_or_default();
        let text = format!("v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 5000 {profile} 0\r\n{line}");
        let agreed = accept(&made, &parse(&text), false, &mut |_, _| true);
        if let Ok(agreed) = &agreed {
            assert_eq!(
                agreed.remote_lines.contains("\ncrypto:2 "),
                agreed.suite.is_some(),
                "{what}"
            );
        }
        assert_eq!(agreed.map(|agreed| agreed.suite), expected, "{what}");
    }
}

/// A later offer of ours under plain RTP would have a phone go on in clear, or refuse.
#[test]
fn a_later_offer_keeps_the_profile() {
    let codecs = our_codecs();
    for profile in ["RTP/AVP", "RTP/SAVP", "RTP/SAVPF"] {
        let (before, _) = answered(Srtp::Optional, &described(profile, &[THEIRS_80])).unwrap();
        let local = Local {
            srtp: Srtp::Optional,
            ..local(&codecs, OURS)
        };
        let again = offer_again(&local, &before, &[]);
        assert_eq!(again.media[0].profile, profile);
        assert_eq!(again.to_string().matches("a=crypto").count(), 2);
    }
}

//! An offer from the network, answered; and the same bytes as the answer to ours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::net::is_destination;
use quartet_proto::sdp::offer_answer::{Local, LocalCodec, accept, answer, offer, offer_again};
use quartet_proto::sdp::sdes::Crypto;
use quartet_proto::sdp::{Agreed, Direction, Origin, SessionDescription, Srtp};

/// Nothing is sent to a group, to nowhere or to ourselves; and there is one key where one was agreed.
fn check(agreed: &Agreed) {
    let keys = agreed.remote_lines.lines().filter_map(Crypto::parse);
    assert!(keys.map(|crypto| crypto.suite).eq(agreed.suite));
    assert_eq!(agreed.remote_lines.contains("crypto:"), agreed.suite.is_some());
    for address in agreed.remote_lines.lines().filter_map(|line| line.strip_prefix("c:")) {
        assert!(is_destination(address.parse().expect("an address"), false), "{address}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(theirs) = SessionDescription::parse(bytes) else {
        return;
    };
    let codecs =
        [("opus", 48_000, 2, None), ("PCMA", 8000, 1, Some(8))].map(|(name, clock, channels, payload_type)| {
            LocalCodec {
                name: name.to_owned(),
                clock,
                channels,
                payload_type,
                fmtp: String::new(),
            }
        });
    let local = Local {
        origin: Origin {
            user: "-".to_owned(),
            session_id: 1,
            version: 1,
            address: "192.0.2.1".to_owned(),
        },
        codecs: &codecs,
        lines: "c:192.0.2.1\nport:4000\nrtcp-port:4001\n\
            crypto:1 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==\n\
            crypto:2 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\n",
        profiles: Local::RTP,
        srtp: [Srtp::Off, Srtp::Optional, Srtp::Required][bytes.len() % 3],
        direction: Direction::SendRecv,
        ptime_ms: None,
        telephone_event: true,
        comfort_noise: true,
        rtcp_mux: true,
        loopback: false,
    };
    if let Ok(answered) = answer(&theirs, &local, &mut |_, remote| Some(remote.to_owned())) {
        assert_eq!(answered.description.media.len(), theirs.media.len());
        check(&answered.agreed);
        // A later offer of ours has the same lines, and each number once.
        let used: Vec<_> = theirs.media.iter().flat_map(|media| media.codecs.clone()).collect();
        let again = offer_again(&local, &answered.description, &used);
        assert_eq!(again.media.len(), answered.description.media.len());
        let open = again.media.iter().filter(|media| media.port != 0).collect::<Vec<_>>();
        for media in open {
            let mut numbers: Vec<_> = media.codecs.iter().map(|codec| codec.payload_type).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), media.codecs.len(), "{:?}", media.codecs);
        }
    }
    if let Ok(agreed) = accept(&offer(&local), &theirs, false, &mut |_, _| true) {
        check(&agreed);
    }
});

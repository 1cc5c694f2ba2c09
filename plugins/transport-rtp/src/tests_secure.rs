//! Two sessions with keys of each other, and whoever stands between them.

use core::net::SocketAddr;

use quartet_plugin::{Kind, Role, abi};

use crate::driver::Driver;

const SUITES: [&str; 4] = [
    "AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM",
    "AES_CM_128_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32",
];
const PATHS: [&str; 2] = [
    "path:1 component 1 host 192.0.2.7 40000 mtu 1200\npath:2 component 2 host 192.0.2.7 40001 mtu 1200\n",
    "path:1 component 1 host 192.0.2.8 50000 mtu 1200\npath:2 component 2 host 192.0.2.8 50001 mtu 1200\n",
];
const A: &str = "192.0.2.7:40000";
const B: &str = "192.0.2.8:50000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// One end and its keys.
struct End {
    driver: Driver,
    keys: String,
}

impl End {
    fn new(paths: &str) -> Self {
        let mut driver = Driver::new(&crate::quartet_plugin_transport_rtp.0, Role::Answer, 0);
        driver.tell(0, abi::TELL_PATHS, paths);
        let lines = driver.local(0);
        let keys = lines.split_at(lines.find("crypto:").unwrap()).1.to_owned();
        Self { driver, keys }
    }

    fn key(&self, suite: &str) -> &str {
        self.keys.lines().find(|line| line.contains(suite)).unwrap()
    }

    fn told(&mut self, place: &str, crypto: &str) -> i32 {
        let (ip, port) = place.split_once(':').unwrap();
        let lines = format!("c:{ip}\nport:{port}\n{crypto}\n");
        self.driver.tell(0, abi::TELL_REMOTE, &lines)
    }

    fn sends(&mut self, kind: Kind, bytes: &[u8]) -> Vec<u8> {
        let (code, bytes, ..) = self.driver.send(0, kind, bytes);
        assert_eq!(code, abi::TRANSMIT);
        bytes
    }

    fn hears(&mut self, source: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        let (code, bytes, ..) = self.driver.receive(0, 1, at(source), bytes);
        assert!([abi::RTP, abi::RTCP, abi::NONE].contains(&code), "{code}");
        (code != abi::NONE).then_some(bytes)
    }
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9];
    bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(b"sound in clear");
    bytes
}

fn pair(suite: &str) -> (End, End) {
    let (mut a, mut b) = (End::new(PATHS[0]), End::new(PATHS[1]));
    assert_eq!(a.told(B, b.key(suite)), 0);
    assert_eq!(b.told(A, a.key(suite)), 0);
    (a, b)
}

#[test]
fn each_suite_carries_media_and_reports_and_nothing_altered_replayed_or_in_clear() {
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        assert_eq!(b.hears(A, &rtp(0)), None, "in clear");
        for sequence in 1..40 {
            let wire = a.sends(Kind::Rtp, &rtp(sequence));
            assert!(!wire.windows(5).any(|part| part == b"sound"), "{suite}");
            for at in 0..wire.len() {
                let mut altered = wire.clone();
                altered[at] ^= 1;
                assert_eq!(b.hears(A, &altered), None, "{suite} byte {at}");
            }
            assert_eq!(b.hears(A, &wire), Some(rtp(sequence)), "{suite}");
            assert_eq!(b.hears(A, &wire), None, "a replay");
            assert_eq!(b.hears(B, &wire), None, "our own place");
        }
        let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
        let wire = a.sends(Kind::Rtcp, &report);
        assert_eq!(b.hears(A, &wire), Some(report.to_vec()), "{suite}");
        assert_eq!(b.hears(A, &wire), None, "a replay");
        assert_eq!(b.hears(A, &report), None, "in clear");
    }
}

/// What a stranger sends from where the phone might be is not authentic: the phone is where it was.
#[test]
fn no_stranger_takes_the_place_of_a_phone_with_keys() {
    let (mut a, mut b) = pair(SUITES[2]);
    let (stranger, _) = pair(SUITES[2]);
    let mut stranger = stranger;
    let forged = stranger.sends(Kind::Rtp, &rtp(1));
    for source in ["192.0.2.7:40002", A, "203.0.113.9:9000"] {
        assert_eq!(b.hears(source, &forged), None);
        assert_eq!(b.hears(source, &rtp(1)), None);
    }
    // The phone's NAT gave it another port.
    let wire = a.sends(Kind::Rtp, &rtp(1));
    assert_eq!(b.hears("192.0.2.7:41000", &wire), Some(rtp(1)));
    assert_eq!(b.driver.send(0, Kind::Rtp, &rtp(1)).3, Some(at("192.0.2.7:41000")));
}

/// RFC 4568 §7.1.4: a new key counts at once, and what was on its way under the old one is heard.
#[test]
fn a_new_key_counts_and_the_old_one_until_it_is_used() {
    let (mut a, mut b) = pair(SUITES[0]);
    let wire: Vec<_> = (1..5).map(|sequence| a.sends(Kind::Rtp, &rtp(sequence))).collect();
    assert!(b.hears(A, &wire[0]).is_some());
    let mut later = End::new(PATHS[0]);
    assert_eq!(later.told(B, b.key(SUITES[0])), 0);
    assert_eq!(b.told(A, later.key(SUITES[0])), 0);
    assert_eq!(b.hears(A, &wire[1]), Some(rtp(2)), "on its way");
    assert_eq!(b.hears(A, &wire[1]), None, "a replay");
    // The same again changes nothing; the old one again brings back what was known of it.
    assert_eq!(b.told(A, a.key(SUITES[0])), 0);
    assert_eq!(b.hears(A, &wire[0]), None, "a replay");
    assert_eq!(b.told(A, later.key(SUITES[0])), 0);
    let new = later.sends(Kind::Rtp, &rtp(3));
    assert_eq!(b.hears(A, &new), Some(rtp(3)));
    assert_eq!(b.hears(A, &wire[3]), None, "the old key has had its time");
    // Nothing that was heard counts again, however often keys come and go.
    for crypto in [a.key(SUITES[0]), "x-srtp:off", later.key(SUITES[0]), a.key(SUITES[0])] {
        assert_eq!(b.told(A, crypto), 0);
        if crypto != "x-srtp:off" {
            assert_eq!(
                (b.hears(A, &wire[0]), b.hears(A, &wire[1]), b.hears(A, &new)),
                (None, None, None)
            );
        }
    }
    assert_eq!(b.hears(A, &wire[2]), Some(rtp(3)));
    for _ in 0..40 {
        let other = End::new(PATHS[0]);
        assert_eq!(b.told(A, other.key(SUITES[0])), 0);
    }
    assert_eq!(b.told(A, later.key(SUITES[0])), 0);
    let next = later.sends(Kind::Rtp, &rtp(4));
    assert_eq!(b.hears(A, &next), Some(rtp(4)));
}

/// Two packets under one part of a key's stream would open each other.
#[test]
fn a_suite_that_is_taken_again_goes_on_where_it_was() {
    let (mut a, b) = pair(SUITES[0]);
    // Over a turn of the numbers, so that those after it differ by the rollover counter.
    (65_530..65_536u32).for_each(|sequence| drop(a.sends(Kind::Rtp, &rtp(sequence as u16))));
    let first = a.sends(Kind::Rtp, &rtp(0));
    assert_eq!(a.told(B, b.key(SUITES[2])), 0);
    let other = a.sends(Kind::Rtp, &rtp(1));
    assert_eq!(a.told(B, b.key(SUITES[0])), 0);
    assert_eq!(a.sends(Kind::Rtp, &rtp(0)), first, "the same packet again");
    assert_ne!(a.sends(Kind::Rtp, &rtp(1)).len(), other.len());
}

#[test]
fn keys_that_cannot_be_used_change_nothing() {
    let (mut a, mut b) = pair(SUITES[1]);
    let own = b.key(SUITES[1]).to_owned();
    for crypto in [
        own.as_str(),
        "crypto:1 AEAD_AES_128_GCM inline:AAAA",
        "crypto:1 F8_128_HMAC_SHA1_80 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj",
        "crypto:",
    ] {
        assert_eq!(b.told(A, crypto), abi::E_MALFORMED, "{crypto}");
    }
    let wire = a.sends(Kind::Rtp, &rtp(1));
    assert_eq!(b.hears(A, &wire), Some(rtp(1)));
}

#[test]
fn srtp_ends_when_both_agree_on_it() {
    let (_, mut b) = pair(SUITES[1]);
    assert_eq!(b.hears(A, &rtp(1)), None);
    assert_eq!(b.told(A, "x-srtp:off"), 0);
    assert_eq!(b.hears(A, &rtp(1)), Some(rtp(1)));
    assert_eq!(b.sends(Kind::Rtp, &rtp(7)), rtp(7));
}

/// Whoever has a key's stream twice has what was said under both.
#[test]
fn a_key_that_was_away_for_all_numbers_is_not_used_twice() {
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        let other = if suite == SUITES[0] { SUITES[1] } else { SUITES[0] };
        for meanwhile in ["x-srtp:off", other] {
            let before = a.sends(Kind::Rtp, &rtp(7));
            let (line, theirs) = match meanwhile {
                "x-srtp:off" => (meanwhile.to_owned(), meanwhile.to_owned()),
                other => (b.key(other).to_owned(), a.key(other).to_owned()),
            };
            assert_eq!((a.told(B, &line), b.told(A, &theirs)), (0, 0));
            for number in 8..=65_542_u32 {
                a.sends(Kind::Rtp, &rtp(number as u16));
            }
            let (line, theirs) = (b.key(suite).to_owned(), a.key(suite).to_owned());
            assert_eq!((a.told(B, &line), b.told(A, &theirs)), (0, 0));
            let after = a.sends(Kind::Rtp, &rtp(7));
            assert_ne!(after[12..26], before[12..26], "{suite} after {meanwhile}");
        }
    }
}

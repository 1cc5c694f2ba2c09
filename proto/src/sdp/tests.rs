//! Descriptions as phones write them, and what is agreed on with them.

use std::net::{IpAddr, Ipv4Addr};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::offer_answer::{Receivable, accept, answer, offer};
use super::*;

/// A softphone of the baresip family.
const BARESIP: &str = "v=0\r\n\
o=- 3404189174 622116733 IN IP4 192.0.2.10\r\n\
s=-\r\n\
c=IN IP4 192.0.2.10\r\n\
t=0 0\r\n\
a=tool:baresip 3.9.0\r\n\
m=audio 11298 RTP/AVP 96 0 8 101\r\n\
b=AS:125\r\n\
a=rtpmap:96 opus/48000/2\r\n\
a=fmtp:96 stereo=1;sprop-stereo=1\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-15\r\n\
a=rtcp:11299\r\n\
a=sendrecv\r\n\
a=label:1\r\n\
a=rtcp-rsize\r\n\
a=ssrc:1733218437 cname:sip:100@192.0.2.1\r\n\
a=ptime:20\r\n\
a=minptime:10\r\n";

/// A softphone of the linphone family: video, feedback, static types without rtpmap.
const LINPHONE: &str = "v=0\r\n\
o=100 2391 1021 IN IP4 192.0.2.11\r\n\
s=Talk\r\n\
c=IN IP4 192.0.2.11\r\n\
t=0 0\r\n\
a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics\r\n\
a=record:off\r\n\
m=audio 53798 RTP/AVPF 96 97 98 0 8 18 101 99 100\r\n\
a=rtpmap:96 opus/48000/2\r\n\
a=fmtp:96 useinbandfec=1\r\n\
a=rtpmap:97 speex/16000\r\n\
a=fmtp:97 vbr=on\r\n\
a=rtpmap:98 speex/8000\r\n\
a=fmtp:98 vbr=on\r\n\
a=fmtp:18 annexb=yes\r\n\
a=rtpmap:101 telephone-event/48000\r\n\
a=rtpmap:99 telephone-event/16000\r\n\
a=rtpmap:100 telephone-event/8000\r\n\
a=rtcp:36297\r\n\
a=rtcp-fb:* trr-int 1000\r\n\
m=video 39050 RTP/AVPF 96 97\r\n\
a=rtpmap:96 VP8/90000\r\n\
a=rtpmap:97 H264/90000\r\n\
a=fmtp:97 profile-level-id=42801F\r\n";

/// A PBX of the Asterisk family, on hold, with comfort noise.
const PBX: &str = "v=0\r\n\
o=- 1508 1511 IN IP4 198.51.100.7\r\n\
s=Asterisk\r\n\
c=IN IP4 198.51.100.7\r\n\
t=0 0\r\n\
m=audio 18234 RTP/AVP 9 8 13 101\r\n\
a=rtpmap:9 G722/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:13 CN/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=ptime:20\r\n\
a=maxptime:150\r\n\
a=sendonly\r\n";

/// A browser.
const BROWSER: &str = "v=0\r\n\
o=- 4611731400430051336 2 IN IP4 127.0.0.1\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:BUNDLE 0 1\r\n\
a=extmap-allow-mixed\r\n\
a=msid-semantic: WMS\r\n\
a=fingerprint:sha-256 AA:BB\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0 126\r\n\
c=IN IP4 0.0.0.0\r\n\
a=rtcp:9 IN IP4 0.0.0.0\r\n\
a=ice-ufrag:someufrag\r\n\
a=ice-pwd:someicepasswordsomeicepassword\r\n\
a=ice-options:trickle\r\n\
a=setup:actpass\r\n\
a=mid:0\r\n\
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
a=sendrecv\r\n\
a=msid:- 1f2e\r\n\
a=rtcp-mux\r\n\
a=rtpmap:111 opus/48000/2\r\n\
a=rtcp-fb:111 transport-cc\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:63 red/48000/2\r\n\
a=fmtp:63 111/111\r\n\
a=rtpmap:126 telephone-event/8000\r\n\
a=candidate:1 1 udp 2122260223 192.0.2.20 50000 typ host\r\n\
a=ssrc:3735928559 cname:x\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
c=IN IP4 0.0.0.0\r\n\
a=mid:1\r\n\
a=sctp-port:5000\r\n";

const SAMPLES: [&str; 4] = [BARESIP, LINPHONE, PBX, BROWSER];

pub(super) fn parse(text: &str) -> SessionDescription {
    SessionDescription::parse(text.as_bytes()).unwrap()
}

fn codec(payload_type: u8, name: &str, clock: u32, channels: u8, fmtp: &str) -> Codec {
    Codec {
        payload_type,
        name: name.to_owned(),
        clock,
        channels,
        fmtp: fmtp.to_owned(),
    }
}

fn ours(name: &str, clock: u32, channels: u8, payload_type: Option<u8>) -> LocalCodec {
    LocalCodec {
        name: name.to_owned(),
        clock,
        channels,
        payload_type,
        fmtp: String::new(),
    }
}

pub(super) fn our_codecs() -> Vec<LocalCodec> {
    vec![
        LocalCodec {
            fmtp: "useinbandfec=1".to_owned(),
            ..ours("opus", 48_000, 2, None)
        },
        ours("G722", 8000, 1, Some(9)),
        ours("PCMA", 8000, 1, Some(8)),
        ours("PCMU", 8000, 1, Some(0)),
    ]
}

pub(super) fn local<'a>(codecs: &'a [LocalCodec], lines: &'a str) -> Local<'a> {
    Local {
        origin: Origin {
            user: "quartet".to_owned(),
            session_id: 77,
            version: 1,
            address: "192.0.2.1".to_owned(),
        },
        codecs,
        lines,
        profiles: Local::RTP,
        srtp: Srtp::Off,
        direction: Direction::SendRecv,
        ptime_ms: None,
        telephone_event: true,
        comfort_noise: true,
        rtcp_mux: true,
        loopback: false,
    }
}

const LINES: &str = "c:192.0.2.1\nport:4000\nrtcp-port:4001\n";

pub(super) fn keep(codec: &LocalCodec, _remote: &str) -> Option<String> {
    Some(codec.fmtp.clone())
}

#[test]
fn a_description_is_read() {
    let description = parse(BARESIP);
    assert_eq!(description.origin.version, 622_116_733);
    let [audio] = description.media.as_slice() else {
        panic!()
    };
    assert_eq!(audio.kind, MediaKind::Audio);
    assert_eq!(audio.address, Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10))));
    assert_eq!((audio.port, audio.profile.as_str()), (11298, "RTP/AVP"));
    assert_eq!(
        audio.codecs,
        [
            codec(96, "opus", 48_000, 2, "stereo=1;sprop-stereo=1"),
            codec(0, "PCMU", 8000, 1, ""),
            codec(8, "PCMA", 8000, 1, ""),
            codec(101, "telephone-event", 8000, 1, "0-15"),
        ]
    );
    assert_eq!((audio.ptime_ms, audio.maxptime_ms), (Some(20), None));
    assert_eq!(
        (audio.direction, audio.ssrc),
        (Direction::SendRecv, Some(1_733_218_437))
    );
    assert_eq!(audio.transport, ["rtcp:11299"]);
    assert_eq!(audio.transport_lines(), "c:192.0.2.10\nport:11298\nrtcp-port:11299\n");
}

#[test]
fn static_types_need_no_rtpmap() {
    let audio = &parse(LINPHONE).media[0];
    assert_eq!(audio.codecs[3], codec(0, "PCMU", 8000, 1, ""));
    assert_eq!(audio.codecs[5], codec(18, "G729", 8000, 1, "annexb=yes"));
    assert_eq!(audio.transport_lines(), "c:192.0.2.11\nport:53798\nrtcp-port:36297\n");
}

#[test]
fn the_session_level_holds_for_its_lines() {
    let description = parse(BROWSER);
    let audio = &description.media[0];
    assert_eq!(audio.mid.as_deref(), Some("0"));
    let lines = audio.transport_lines();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        lines,
        [
            "rtcp-mux",
            "ice-ufrag:someufrag",
            "ice-pwd:someicepasswordsomeicepassword",
            "ice-options:trickle",
            "setup:actpass",
            "candidate:1 1 udp 2122260223 192.0.2.20 50000 typ host",
            "fingerprint:sha-256 AA:BB",
            "ssrc:3735928559",
        ]
    );
    let data = &description.media[1];
    assert_eq!(data.kind, MediaKind::Other("application".to_owned()));
    assert_eq!((data.codecs.len(), data.format.as_str()), (0, "webrtc-datachannel"));

    let held =
        parse("v=0\r\no=- 1 1 IN IP4 h\r\ns=x\r\nc=IN IP4 192.0.2.3\r\nt=0 0\r\na=inactive\r\nm=audio 4 RTP/AVP 0\r\n");
    assert_eq!(held.media[0].direction, Direction::Inactive);
}

#[test]
fn what_is_printed_is_read_back() {
    for sample in SAMPLES {
        let description = parse(sample);
        let printed = description.to_string();
        assert_eq!(parse(&printed), description, "{printed}");
        assert_eq!(parse(&printed).to_string(), printed);
        assert!(printed.starts_with("v=0\r\no=") && printed.contains("\r\nt=0 0\r\n"));
    }
    let lines = "c:2001:db8::1\nport:4000\nrtcp-port:4005\n";
    for local_lines in [LINES, lines] {
        let codecs = our_codecs();
        let made = offer(&local(&codecs, local_lines));
        assert_eq!(parse(&made.to_string()), made);
        for sample in [BARESIP, LINPHONE, PBX] {
            let answered = answer(&parse(sample), &local(&codecs, local_lines), &mut keep).unwrap();
            assert_eq!(parse(&answered.description.to_string()), answered.description);
        }
    }
}

#[test]
fn what_phones_get_wrong_is_forgiven() {
    let wrong = [
        "v=0\no=- 1 1 IN IP4 192.0.2.3\ns=\nc=IN IP4 192.0.2.3\nm=audio 4000 RTP/AVP 0\n",
        "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.3\r\n",
        "v=0\r\no=a phone with spaces 1 1 IN IP4 h\r\nc=IN  IP4 192.0.2.3 \r\nm=audio  4000  RTP/AVP  0 \r\n",
        "v=0 \r\nx-unknown\r\nz=0 1 2\r\nk=prompt\r\nc=IN IP4 192.0.2.3\r\nc=IN IP4 192.0.2.4\r\nr=9\r\nm=audio 4000 RTP/AVP 0",
        "v=0\r\no=- x y IN IP4 h\r\nc=IN IP4 192.0.2.3\r\nm=audio 4000/2 RTP/AVP 0 300 x 98\r\na=rtpmap:98\r\na=rtpmap:98 x\r\na=rtpmap:98 x/0\r\na=\r\n",
        "v=0\r\no=- 99999999999999999999 99999999999999999999 IN IP4 h\r\nc=IN IP4 192.0.2.3/127\r\nm=audio 4000 RTP/AVP 0\r\n",
    ];
    for text in wrong {
        let description = SessionDescription::parse(text.as_bytes());
        let description = description.unwrap_or_else(|why| panic!("{why}: {text}"));
        let [audio] = description.media.as_slice() else {
            panic!("{text}")
        };
        assert_eq!((audio.port, audio.codecs.len()), (4000, 1), "{text}");
        assert_eq!(audio.address, Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3))), "{text}");
        assert_eq!(parse(&description.to_string()), description, "{text}");
    }
}

#[test]
fn what_is_no_description_is_refused() {
    for text in [
        "m=audio",
        "m=audio x RTP/AVP 0",
        "m=audio 70000 RTP/AVP 0",
        "m=audio 4000 RTP/AVP",
    ] {
        assert_eq!(
            SessionDescription::parse(text.as_bytes()),
            Err(SdpError::Malformed),
            "{text}"
        );
    }
    assert_eq!(SessionDescription::parse(&[b'a'; 65_536]), Err(SdpError::TooLarge));
    assert_eq!(
        SessionDescription::parse("m=audio 1 RTP/AVP 0\r\n".repeat(33).as_bytes()),
        Err(SdpError::TooLarge)
    );
    let empty = SessionDescription::parse(b"");
    assert!(empty.is_ok_and(|description| description.media.is_empty()));
}

#[test]
fn an_early_offer_is_answered() {
    let codecs = our_codecs();
    let Answered { description, agreed } = answer(&parse(BARESIP), &local(&codecs, LINES), &mut keep).unwrap();
    assert_eq!(agreed.send, codec(96, "opus", 48_000, 2, "stereo=1;sprop-stereo=1"));
    assert_eq!(agreed.receive, codec(96, "opus", 48_000, 2, "useinbandfec=1"));
    assert_eq!(
        agreed.telephone_event,
        Some(TelephoneEvent {
            send_pt: 101,
            receive_pt: 101,
            clock: 8000
        })
    );
    assert_eq!(
        (agreed.comfort_noise, agreed.ptime_ms, agreed.direction),
        (None, 20, Direction::SendRecv)
    );
    assert_eq!(agreed.remote_lines, "c:192.0.2.10\nport:11298\nrtcp-port:11299\n");
    let expected = "v=0\r\no=quartet 77 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 96 101\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
    assert_eq!(description.to_string(), expected);
}

#[test]
fn video_is_refused_and_events_follow_the_clock() {
    let codecs = our_codecs();
    let Answered { description, agreed } = answer(&parse(LINPHONE), &local(&codecs, LINES), &mut keep).unwrap();
    assert_eq!(
        agreed.telephone_event,
        Some(TelephoneEvent {
            send_pt: 101,
            receive_pt: 101,
            clock: 48_000
        })
    );
    assert_eq!(description.media.len(), 2);
    assert_eq!(
        (description.media[0].port, description.media[0].profile.as_str()),
        (4000, "RTP/AVPF")
    );
    assert_eq!(
        (description.media[1].port, &description.media[1].kind),
        (0, &MediaKind::Video)
    );
    assert!(description.to_string().contains("m=video 0 RTP/AVPF 96\r\n"));
    // The same phone with our narrow codecs only.
    let agreed = answer(&parse(LINPHONE), &local(&codecs[2..], LINES), &mut keep)
        .unwrap()
        .agreed;
    assert_eq!(
        (agreed.send.payload_type, agreed.telephone_event.unwrap().send_pt),
        (8, 100)
    );
}

#[test]
fn hold_and_comfort_noise_and_packet_time() {
    let codecs = our_codecs();
    let Answered { description, agreed } = answer(&parse(PBX), &local(&codecs, LINES), &mut keep).unwrap();
    assert_eq!((agreed.send.name.as_str(), agreed.comfort_noise), ("G722", Some(13)));
    assert_eq!(
        (agreed.direction, description.media[0].direction),
        (Direction::RecvOnly, Direction::RecvOnly)
    );
    let quiet = Local {
        comfort_noise: false,
        telephone_event: false,
        ..local(&codecs, LINES)
    };
    let agreed = answer(&parse(PBX), &quiet, &mut keep).unwrap().agreed;
    assert_eq!((agreed.telephone_event, agreed.comfort_noise), (None, None));

    for (attributes, expected) in [
        ("", 20),
        ("a=ptime:60\r\n", 60),
        ("a=ptime:30.0\r\n", 30),
        ("a=ptime:0\r\n", 20),
        ("a=maxptime:10\r\n", 10),
    ] {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.3\r\nm=audio 4000 RTP/AVP 0\r\n{attributes}");
        let agreed = answer(&parse(&text), &local(&codecs, LINES), &mut keep).unwrap().agreed;
        assert_eq!(agreed.ptime_ms, expected, "{attributes}");
    }
}

#[test]
fn the_hold_of_old_is_hold() {
    let codecs = our_codecs();
    let text = "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let agreed = answer(&parse(text), &local(&codecs, LINES), &mut keep).unwrap().agreed;
    assert_eq!(agreed.direction, Direction::RecvOnly);
    assert_eq!(agreed.remote_lines, "", "the old address stays");
}

#[test]
fn directions_meet() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    let codecs = our_codecs();
    for (theirs, wish, expected) in [
        ("sendrecv", SendRecv, SendRecv),
        ("sendrecv", SendOnly, SendOnly),
        ("sendonly", SendRecv, RecvOnly),
        ("recvonly", SendRecv, SendOnly),
        ("recvonly", RecvOnly, Inactive),
        ("inactive", SendRecv, Inactive),
    ] {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.3\r\nm=audio 4000 RTP/AVP 0\r\na={theirs}\r\n");
        let ours = Local {
            direction: wish,
            ..local(&codecs, LINES)
        };
        let answered = answer(&parse(&text), &ours, &mut keep).unwrap();
        assert_eq!(answered.agreed.direction, expected, "{theirs} {wish:?}");
        // The other end, taking our answer to the same offer, sees the reverse.
        let theirs = accept(&parse(&text), &answered.description, false, &mut |_, _| true).unwrap();
        assert_eq!(theirs.direction, expected.reversed());
    }
}

#[test]
fn rtcp_shares_the_port_where_both_can() {
    let codecs = our_codecs();
    let text = "v=0\r\nc=IN IP4 192.0.2.3\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\n";
    let shared = answer(&parse(text), &local(&codecs, LINES), &mut keep).unwrap();
    assert_eq!(shared.agreed.remote_lines, "c:192.0.2.3\nport:4000\nrtcp-mux\n");
    assert_eq!(shared.description.media[0].transport, ["rtcp-mux"]);
    let apart = Local {
        rtcp_mux: false,
        ..local(&codecs, "c:192.0.2.1\nport:4000\nrtcp-port:4011\n")
    };
    let apart = answer(&parse(text), &apart, &mut keep).unwrap();
    assert_eq!(apart.agreed.remote_lines, "c:192.0.2.3\nport:4000\nrtcp-port:4001\n");
    assert_eq!(apart.description.media[0].transport, ["rtcp:4011"]);
    let last = "v=0\r\nc=IN IP4 192.0.2.3\r\nm=audio 65535 RTP/AVP 0\r\n";
    assert_eq!(parse(last).media[0].transport_lines(), "c:192.0.2.3\nport:65535\n");
}

#[test]
fn offers_that_cannot_work_are_refused_with_a_cause() {
    let codecs = our_codecs();
    let cases = [
        ("m=audio 4000 RTP/AVP 3 18", OfferAnswerError::NoCommonCodec),
        ("m=audio 4000 RTP/AVP 13", OfferAnswerError::NoCommonCodec),
        ("m=audio 4000 RTP/AVP 97", OfferAnswerError::NoCommonCodec),
        ("m=audio 0 RTP/AVP 0", OfferAnswerError::NoAudio),
        ("m=video 4000 RTP/AVP 31", OfferAnswerError::NoAudio),
        ("", OfferAnswerError::NoAudio),
        ("m=audio 4000 RTP/SAVP 0", OfferAnswerError::SrtpRequired),
        ("m=audio 4000 UDP/TLS/RTP/SAVPF 0", OfferAnswerError::SrtpRequired),
        ("m=audio 4000 udptl 0", OfferAnswerError::UnsupportedProfile),
        (
            "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 phone.example",
            OfferAnswerError::BadAddress,
        ),
        (
            "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 224.0.0.5/127",
            OfferAnswerError::BadAddress,
        ),
        (
            "m=audio 0 RTP/AVP 0\r\nm=audio 4000 RTP/SAVP 0",
            OfferAnswerError::SrtpRequired,
        ),
    ];
    for (line, expected) in cases {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.3\r\n{line}\r\n");
        assert_eq!(
            answer(&parse(&text), &local(&codecs, LINES), &mut keep).unwrap_err(),
            expected,
            "{line}"
        );
    }
    let nowhere = parse("v=0\r\nm=audio 4000 RTP/AVP 0\r\n");
    assert_eq!(
        answer(&nowhere, &local(&codecs, LINES), &mut keep).unwrap_err(),
        OfferAnswerError::BadAddress
    );
}

#[test]
fn the_second_audio_line_is_taken_where_the_first_cannot_work() {
    let codecs = our_codecs();
    let text = "v=0\r\nc=IN IP4 192.0.2.3\r\nm=audio 4000 RTP/SAVP 0\r\na=crypto:1 X inline:secret\r\n\
        m=audio 4002 RTP/AVP 0\r\nm=audio 4004 RTP/AVP 0\r\n";
    let Answered { description, agreed } = answer(&parse(text), &local(&codecs, LINES), &mut keep).unwrap();
    let ports: Vec<u16> = description.media.iter().map(|media| media.port).collect();
    assert_eq!(ports, [0, 4000, 0]);
    assert!(agreed.remote_lines.contains("port:4002\n"));
    assert!(!format!("{:?}", parse(text)).contains("secret"), "keys are not printed");
}

#[test]
fn a_codec_may_refuse_the_parameters() {
    let codecs = our_codecs();
    let mut asked = Vec::new();
    let mut no_stereo = |codec: &LocalCodec, remote: &str| {
        asked.push((codec.name.clone(), remote.to_owned()));
        (!remote.contains("stereo=1")).then(String::new)
    };
    let agreed = answer(&parse(BARESIP), &local(&codecs, LINES), &mut no_stereo)
        .unwrap()
        .agreed;
    assert_eq!(agreed.send.name, "PCMA");
    assert_eq!(asked[0], ("opus".to_owned(), "stereo=1;sprop-stereo=1".to_owned()));
}

#[test]
fn a_browser_is_answered_by_a_secure_transport() {
    let codecs = our_codecs();
    let lines = "ice-ufrag:ours\nice-pwd:oursoursoursoursoursours\nfingerprint:sha-256 CC:DD\nsetup:passive\n\
        candidate:1 1 udp 1 192.0.2.1 4000 typ host\nx-private:1\nc:192.0.2.1\nport:4000\nssrc:5\n";
    let secure = Local {
        profiles: &["UDP/TLS/RTP/SAVPF"],
        ..local(&codecs, lines)
    };
    let Answered { description, agreed } = answer(&parse(BROWSER), &secure, &mut keep).unwrap();
    assert_eq!((agreed.send.payload_type, agreed.direction), (111, Direction::SendRecv));
    assert!(agreed.remote_lines.starts_with("rtcp-mux\nice-ufrag:someufrag\n"));
    let text = description.to_string();
    for line in [
        "a=mid:0",
        "a=setup:passive",
        "a=rtcp-mux",
        "a=ssrc:5 cname:quartet",
        "a=ice-ufrag:ours",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("x-private"));
    assert!(text.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
}

#[test]
fn a_handshake_that_cannot_be_is_refused_before_anybody_is_rung() {
    let codecs = our_codecs();
    let secure = Local {
        profiles: &["UDP/TLS/RTP/SAVPF"],
        ..local(&codecs, LINES)
    };
    for (good, bad) in [
        ("fingerprint:sha-256 AA", "fingerprint:sha-1 AA"),
        ("a=fingerprint:sha-256 AA:BB\r\n", ""),
        ("ice-pwd:someicepasswordsomeicepassword", "ice-pwd:"),
        ("ice-ufrag:someufrag", "ice-ufrag:abc"),
        ("a=rtcp-mux\r\n", ""),
    ] {
        assert!(BROWSER.contains(good), "{good}");
        let refused = answer(&parse(&BROWSER.replace(good, bad)), &secure, &mut keep);
        assert_eq!(refused.err(), Some(OfferAnswerError::DtlsTerms), "{bad}");
    }
    // Of several hashes one is enough.
    let more = BROWSER.replace("a=fingerprint:", "a=fingerprint:sha-1 AA:BB\r\na=fingerprint:");
    assert!(answer(&parse(&more), &secure, &mut keep).is_ok());
}

#[test]
fn a_late_offer_is_made_and_its_answer_taken() {
    let codecs = our_codecs();
    let made = offer(&Local {
        ptime_ms: Some(20),
        ..local(&codecs, LINES)
    });
    let numbers: Vec<(u8, &str, u32)> = made.media[0]
        .codecs
        .iter()
        .map(|codec| (codec.payload_type, codec.name.as_str(), codec.clock))
        .collect();
    assert_eq!(
        numbers,
        [
            (96, "opus", 48_000),
            (9, "G722", 8000),
            (8, "PCMA", 8000),
            (0, "PCMU", 8000),
            (101, "telephone-event", 8000),
            (97, "telephone-event", 48_000),
            (13, "CN", 8000),
        ]
    );
    let reply = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 5000 RTP/AVP 101 120 0\r\n\
        a=rtpmap:120 opus/48000/2\r\na=fmtp:120 maxplaybackrate=16000\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=rtcp-mux\r\na=ptime:40\r\n";
    let agreed = accept(&made, &parse(reply), false, &mut |_, _| true).unwrap();
    // An answerer that uses another number: sent with its, received with ours.
    assert_eq!(agreed.send, codec(120, "opus", 48_000, 2, "maxplaybackrate=16000"));
    assert_eq!(agreed.receive, codec(96, "opus", 48_000, 2, "useinbandfec=1"));
    assert_eq!(
        agreed.telephone_event,
        Some(TelephoneEvent {
            send_pt: 101,
            receive_pt: 101,
            clock: 8000
        })
    );
    assert_eq!((agreed.ptime_ms, agreed.comfort_noise), (40, None));
    assert_eq!(agreed.remote_lines, "c:192.0.2.9\nport:5000\nrtcp-mux\n");
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let codecs = our_codecs();
    let made = offer(&local(&codecs, LINES));
    for (line, expected) in [
        ("", OfferAnswerError::Mismatch),
        ("m=video 5000 RTP/AVP 31", OfferAnswerError::Mismatch),
        ("m=audio 5000 RTP/SAVP 0", OfferAnswerError::Mismatch),
        ("m=audio 0 RTP/AVP 0", OfferAnswerError::Refused),
        ("m=audio 5000 RTP/AVP 3", OfferAnswerError::NoCommonCodec),
        ("m=audio 5000 RTP/AVP 13", OfferAnswerError::NoCommonCodec),
        (
            "m=audio 5000 RTP/AVP 0\r\nc=IN IP4 phone.example",
            OfferAnswerError::BadAddress,
        ),
    ] {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.9\r\n{line}\r\n");
        assert_eq!(
            accept(&made, &parse(&text), false, &mut |_, _| true).unwrap_err(),
            expected,
            "{line}"
        );
    }
}

#[test]
fn offer_answer_and_accept_see_the_same() {
    let all = our_codecs();
    let mut noise = ChaCha20Rng::seed_from_u64(21);
    for _ in 0..500 {
        let mut some = |codecs: &[LocalCodec]| -> Vec<LocalCodec> {
            let mut some: Vec<LocalCodec> = codecs.iter().filter(|_| noise.next_u32() % 3 != 0).cloned().collect();
            let turn = noise.next_u32() as usize % some.len().max(1);
            some.rotate_left(turn);
            some
        };
        let (a, b) = (some(&all), some(&all));
        let mux = noise.next_u32() % 2 == 0;
        let made = offer(&Local {
            rtcp_mux: mux,
            comfort_noise: noise.next_u32() % 2 == 0,
            ..local(&a, LINES)
        });
        let theirs = Local {
            ptime_ms: Some(40),
            ..local(&b, "c:192.0.2.2\nport:6000\nrtcp-port:6001\n")
        };
        let sent = SessionDescription::parse(&made.to_bytes()).unwrap();
        match answer(&sent, &theirs, &mut keep) {
            Ok(Answered {
                description,
                agreed: callee,
            }) => {
                let caller = accept(&made, &parse(&description.to_string()), false, &mut |_, _| true).unwrap();
                assert_eq!((&caller.send, &caller.receive), (&callee.receive, &callee.send));
                assert_eq!(caller.comfort_noise, callee.comfort_noise);
                assert_eq!(caller.telephone_event, callee.telephone_event);
                assert_eq!(
                    caller.remote_lines.contains("rtcp-mux"),
                    callee.remote_lines.contains("rtcp-mux")
                );
                assert_eq!(caller.ptime_ms, 40);
            }
            Err(why) => {
                assert_eq!(why, OfferAnswerError::NoCommonCodec);
                assert!(!a.iter().any(|codec| b.contains(codec)));
            }
        }
    }
}

#[test]
fn mutated_descriptions_never_panic() {
    let codecs = our_codecs();
    let made = offer(&local(&codecs, LINES));
    let mut noise = ChaCha20Rng::seed_from_u64(22);
    for round in 0..20_000usize {
        let mut bytes = SAMPLES[round % SAMPLES.len()].as_bytes().to_vec();
        for _ in 0..1 + noise.next_u32() % 8 {
            let place = noise.next_u32() as usize % bytes.len();
            match noise.next_u32() % 4 {
                0 => bytes[place] = noise.next_u32() as u8,
                1 => {
                    bytes.remove(place);
                }
                2 => bytes.insert(place, b"\r\n =:/0a\xff"[noise.next_u32() as usize % 9]),
                _ => {
                    let end = (place + noise.next_u32() as usize % 60).min(bytes.len());
                    bytes.extend_from_within(place..end);
                }
            }
            if bytes.is_empty() {
                bytes.push(b'v');
            }
        }
        let Ok(description) = SessionDescription::parse(&bytes) else {
            continue;
        };
        let printed = description.to_bytes();
        let again = SessionDescription::parse(&printed);
        assert_eq!(again.as_ref(), Ok(&description), "{}", String::from_utf8_lossy(&bytes));
        if let Ok(answered) = answer(&description, &local(&codecs, LINES), &mut keep) {
            assert_eq!(answered.description.media.len(), description.media.len());
        }
        let _ = accept(&made, &description, false, &mut |_, _| true);
    }
}

/// What becomes of an offer and of an answer with this audio line and session-level address, and of its hold.
fn judge(connection: &str, lines: &str, loopback: bool) -> Result<Agreed, OfferAnswerError> {
    let codecs = our_codecs();
    let ours = Local {
        loopback,
        ..local(&codecs, LINES)
    };
    let text = format!("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc={connection}\r\nt=0 0\r\n{lines}\r\n");
    let offered = answer(&parse(&text), &ours, &mut keep).map(|answered| answered.agreed);
    let answered = accept(&offer(&ours), &parse(&text), loopback, &mut |_, _| true);
    assert_eq!(
        offered.as_ref().map(|agreed| (&agreed.remote_lines, agreed.direction)),
        answered.as_ref().map(|agreed| (&agreed.remote_lines, agreed.direction)),
        "an offer and an answer are judged alike: {text}"
    );
    offered
}

const GOOD: &str = "IN IP4 192.0.2.3";

#[test]
fn groups_and_other_networks_are_no_place_for_media() {
    for address in [
        "IP4 255.255.255.255",
        "IP4 224.0.0.1/127",
        "IP4 239.255.255.250/1/3",
        "IP4 0.0.0.1",
        "IP6 ff02::1",
        "IP6 ::ffff:255.255.255.255",
        "IP6 ::ffff:224.0.0.1",
        "IP6 ::2",
        "IP4 phone.example",
        "IP4 127.1",
    ] {
        for loopback in [false, true] {
            let connection = format!("IN {address}");
            // At the session level, at that of the line, and for reports.
            let own = format!("m=audio 4000 RTP/AVP 0\r\nc={connection}");
            for (session, lines) in [(connection.as_str(), "m=audio 4000 RTP/AVP 0"), (GOOD, own.as_str())] {
                assert_eq!(
                    judge(session, lines, loopback),
                    Err(OfferAnswerError::BadAddress),
                    "{lines}"
                );
            }
            let own = format!("m=audio 4000 RTP/AVP 0\r\nc={GOOD}");
            assert!(
                judge(&connection, &own, loopback).is_ok(),
                "the line has an address of its own"
            );
        }
    }
}

#[test]
fn loopback_is_for_those_who_come_from_there() {
    for address in ["IP4 127.0.0.1", "IP4 127.9.9.9", "IP6 ::1", "IP6 ::ffff:127.0.0.1"] {
        let connection = format!("IN {address}");
        let refused = judge(&connection, "m=audio 4000 RTP/AVP 0", false);
        assert_eq!(refused, Err(OfferAnswerError::BadAddress), "{address}");
        let agreed = judge(&connection, "m=audio 4000 RTP/AVP 0", true).unwrap();
        assert!(agreed.remote_lines.contains("\nport:4000\n"), "{address}");
    }
    let agreed = judge("IN IP6 ::ffff:192.0.2.3", "m=audio 4000 RTP/AVP 0", false).unwrap();
    assert_eq!(agreed.remote_lines, "c:192.0.2.3\nport:4000\nrtcp-port:4001\n");
}

#[test]
fn reports_have_no_other_place_either() {
    for address in [
        "IP4 255.255.255.255",
        "IP4 224.0.0.1/127",
        "IP4 127.0.0.1",
        "IP6 ff02::1",
        "IP6 ::1",
    ] {
        let lines = format!("m=audio 4000 RTP/AVP 0\r\na=rtcp:4001\r\na=rtcp:4001 IN {address}");
        assert_eq!(
            judge(GOOD, &lines, false),
            Err(OfferAnswerError::BadAddress),
            "{address}"
        );
    }
    for address in ["IP4 192.0.2.4", "IP4 0.0.0.0", "IP4 phone.example"] {
        let lines = format!("m=audio 4000 RTP/AVP 0\r\na=rtcp:4005 IN {address}");
        let agreed = judge(GOOD, &lines, false).unwrap();
        assert_eq!(
            agreed.remote_lines, "c:192.0.2.3\nport:4000\nrtcp-port:4005\n",
            "{address}"
        );
    }
}

#[test]
fn ports_of_services_are_no_place_for_media() {
    for lines in [
        "m=audio 53 RTP/AVP 0",
        "m=audio 123 RTP/AVP 0",
        "m=audio 1023 RTP/AVP 0",
        "m=audio 4000 RTP/AVP 0\r\na=rtcp:53",
        "m=audio 4000 RTP/AVP 0\r\na=rtcp:161 IN IP4 192.0.2.3",
    ] {
        assert_eq!(judge(GOOD, lines, true), Err(OfferAnswerError::BadPort), "{lines}");
    }
    assert!(judge(GOOD, "m=audio 1024 RTP/AVP 0", false).is_ok());
    assert!(
        judge("IN IP4 0.0.0.0", "m=audio 9 RTP/AVP 0", false).is_ok(),
        "held: nothing is sent"
    );
}

#[test]
fn an_unspecified_address_is_hold_and_never_a_destination() {
    for address in ["IP4 0.0.0.0", "IP6 ::", "IP6 ::ffff:0.0.0.0"] {
        for lines in [
            "m=audio 4000 RTP/AVP 0",
            "m=audio 4000 RTP/AVP 0\r\na=sendrecv",
            "m=audio 4000 RTP/AVP 0\r\na=ice-ufrag:abcd",
            "m=audio 4000 RTP/AVP 0\r\na=rtcp:9 IN IP4 0.0.0.0",
        ] {
            let agreed = judge(&format!("IN {address}"), lines, false).unwrap();
            assert_eq!(agreed.direction, Direction::RecvOnly, "{address} {lines}");
            let told: Vec<&str> = agreed
                .remote_lines
                .lines()
                .filter(|line| !line.starts_with("ice-"))
                .collect();
            assert!(told.is_empty(), "{told:?}");
        }
    }
}

#[test]
fn ice_excuses_an_address_where_both_speak_it() {
    let lines = "m=audio 4000 RTP/AVP 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901";
    for connection in ["IN IP4 255.255.255.255", "IN IP4 127.0.0.1", "IN IP6 ff02::1"] {
        assert_eq!(judge(connection, lines, false), Err(OfferAnswerError::BadAddress));
    }
    let codecs = our_codecs();
    let ice = Local {
        profiles: &["UDP/TLS/RTP/SAVPF"],
        ..local(&codecs, "ice-ufrag:ours\nc:192.0.2.1\nport:4000\n")
    };
    let browser = BROWSER.replace("c=IN IP4 0.0.0.0", "c=IN IP4 127.0.0.1");
    assert!(answer(&parse(&browser), &ice, &mut keep).is_ok());
}

fn types(also: &[Receivable]) -> Vec<u8> {
    also.iter().map(|also| also.receive.payload_type).collect()
}

/// Seen: answers with `8 0 101`, sends 0; answers with another event number, and presses keys under it.
#[test]
fn what_else_was_agreed_may_arrive() {
    let codecs = our_codecs();
    let made = offer(&local(&codecs, LINES));
    let accepted = |line: &str| {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 5000 RTP/AVP {line}");
        accept(&made, &parse(&text), false, &mut |_, _| true).unwrap()
    };
    let agreed = accepted("8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n");
    assert_eq!((agreed.receive.payload_type, types(&agreed.also)), (8, vec![0]));
    let agreed = accepted("0 8 110\r\na=rtpmap:110 telephone-event/8000\r\n");
    assert!(
        agreed.events.contains(&101) && agreed.events.contains(&110),
        "{:?}",
        agreed.events
    );
    // Under the number of its answer, but not under one that we gave to something else.
    let agreed = accepted("120 0\r\na=rtpmap:120 opus/48000/2\r\n");
    assert_eq!((agreed.receive.payload_type, types(&agreed.also)), (96, vec![0, 120]));
    let agreed = accepted("0 96\r\na=rtpmap:96 telephone-event/8000\r\n");
    assert!(!agreed.events.contains(&96), "96 is our opus");
    // What the two codecs' parameters do not fit is not agreed on.
    let text = "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 5000 RTP/AVP 8 0\r\n";
    let agreed = accept(&made, &parse(text), false, &mut |ours, _| ours.name != "PCMA").unwrap();
    assert_eq!((agreed.send.payload_type, types(&agreed.also)), (0, vec![]));
    let none = accept(&made, &parse(text), false, &mut |_, _| false);
    assert_eq!(none.unwrap_err(), OfferAnswerError::NoCommonCodec);
    // In an offer: every codec that we know, and events at every clock.
    let text = "v=0\r\nc=IN IP4 192.0.2.3\r\nm=audio 4000 RTP/AVP 0 8 18 100 101 102\r\na=rtpmap:100 telephone-event/8000\r\n\
        a=rtpmap:101 telephone-event/48000\r\na=rtpmap:102 telephone-event/16000\r\n";
    let agreed = answer(&parse(text), &local(&codecs, LINES), &mut keep).unwrap().agreed;
    assert_eq!((agreed.receive.payload_type, types(&agreed.also)), (8, vec![0]));
    assert_eq!(agreed.events, [100, 101, 102]);
}

#[test]
fn nack_is_answered_where_it_is_offered_with_a_profile_of_feedback() {
    let codecs = our_codecs();
    for (profile, feedback, wanted) in [
        ("RTP/AVPF", "a=rtcp-fb:* nack\r\n", true),
        ("RTP/AVPF", "a=rtcp-fb:0 nack\r\n", true),
        ("rtp/avpf", "a=rtcp-fb:*  nack \r\n", true),
        (
            "RTP/AVPF",
            "a=rtcp-fb:* nack pli\r\na=rtcp-fb:* trr-int 1000\r\n",
            false,
        ),
        ("RTP/AVPF", "a=rtcp-fb:nack\r\na=rtcp-fb:*\r\n", false),
        ("RTP/AVP", "a=rtcp-fb:* nack\r\n", false),
        ("RTP/AVPF", "", false),
    ] {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.3\r\nm=audio 4000 {profile} 0\r\n{feedback}");
        let Answered { description, agreed } = answer(&parse(&text), &local(&codecs, LINES), &mut keep).unwrap();
        assert_eq!(agreed.nack, wanted, "{text}");
        assert_eq!(
            description.to_string().contains("a=rtcp-fb:* nack\r\n"),
            wanted,
            "{text}"
        );
    }
    // We do not offer it: many telephones know plain profiles alone.
    let offered = offer(&local(&codecs, LINES));
    assert!(!offered.media[0].nack);
    let answered = parse("v=0\r\nc=IN IP4 192.0.2.3\r\nm=audio 4000 RTP/AVPF 0\r\na=rtcp-fb:* nack\r\n");
    assert!(!accept(&offered, &answered, false, &mut |_, _| true).unwrap().nack);
}

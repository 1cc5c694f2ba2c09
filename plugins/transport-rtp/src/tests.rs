//! The plugin through its exported table.

use core::net::SocketAddr;

use quartet_plugin::{Kind, Role, abi};

use crate::driver::{Driver, Polled};

const RTP: &[u8] = &[0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 9, 1, 2, 3];
const RTCP: &[u8] = &[0x80, 201, 0, 1, 0, 0, 0, 9];
const PATHS: &str =
    "path:1 component 1 host 192.0.2.7 40000 mtu 1200\npath:2 component 2 host 192.0.2.7 40001 mtu 1200\n";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn driver() -> Driver {
    Driver::new(&crate::quartet_plugin_transport_rtp.0, Role::Answer, 0)
}

fn connected(remote: &str) -> Driver {
    let mut driver = driver();
    assert_eq!(driver.tell(0, abi::TELL_PATHS, PATHS), 0);
    assert_eq!(driver.tell(0, abi::TELL_REMOTE, remote), 0);
    driver.poll();
    driver
}

fn code(done: crate::driver::Done) -> i32 {
    done.0
}

#[test]
fn describes_itself_and_connects_when_both_ends_are_known() {
    let mut driver = driver();
    assert_eq!(driver.poll(), (vec![], None));
    driver.tell(0, abi::TELL_PATHS, PATHS);
    assert_eq!(driver.poll().0, [Polled::Event(abi::EVENT_LOCAL, String::new())]);
    let lines = driver.local(0);
    let (place, keys) = lines.split_at(lines.find("crypto:").unwrap());
    assert_eq!(place, "c:192.0.2.7\nport:40000\nrtcp-port:40001\n");
    assert_eq!(keys.lines().count(), 4);
    assert_eq!(driver.local(0), "", "only new lines");
    driver.tell(0, abi::TELL_REMOTE, "c:198.51.100.1\n");
    assert_eq!(driver.poll(), (vec![], None));
    driver.tell(0, abi::TELL_REMOTE, "port:5000\n");
    assert_eq!(
        driver.poll(),
        (vec![Polled::Event(abi::EVENT_CONNECTED, String::new())], None)
    );
    driver.tell(0, abi::TELL_REMOTE, "port:5002\n");
    assert_eq!(driver.poll(), (vec![], None), "once");
}

#[test]
fn one_component_means_rtcp_mux() {
    let mut driver = driver();
    driver.tell(0, abi::TELL_PATHS, "path:7 component 1 host 2001:db8::7 40000 mtu 1200");
    assert!(
        driver
            .local(0)
            .starts_with("c:2001:db8::7\nport:40000\nrtcp-mux\ncrypto:1 ")
    );
    driver.tell(0, abi::TELL_REMOTE, "c:2001:db8::1\nport:5000\nrtcp-mux\n");
    let sent = driver.send(0, Kind::Rtcp, RTCP);
    assert_eq!(sent, (abi::TRANSMIT, RTCP.to_vec(), 7, Some(at("[2001:db8::1]:5000"))));
}

#[test]
fn packets_pass_unchanged_between_the_right_ports() {
    let mut driver = connected("c:198.51.100.1\nport:5000\nrtcp-port:5007\n");
    let (phone, reports) = (at("198.51.100.1:5000"), at("198.51.100.1:5007"));
    assert_eq!(
        driver.send(0, Kind::Rtp, RTP),
        (abi::TRANSMIT, RTP.to_vec(), 1, Some(phone))
    );
    assert_eq!(
        driver.send(0, Kind::Rtcp, RTCP),
        (abi::TRANSMIT, RTCP.to_vec(), 2, Some(reports))
    );
    assert_eq!(driver.receive(0, 1, phone, RTP).0, abi::RTP);
    assert_eq!(driver.receive(0, 1, phone, RTP).1, RTP);
    assert_eq!(code(driver.receive(0, 2, reports, RTCP)), abi::RTCP);
    assert_eq!(
        code(driver.receive(0, 1, phone, RTCP)),
        abi::RTCP,
        "mux is understood even if not agreed"
    );
    assert_eq!(
        code(driver.receive(0, 2, reports, RTP)),
        abi::NONE,
        "no media on the port of reports"
    );
    assert_eq!(
        code(driver.receive(0, 9, phone, RTP)),
        abi::NONE,
        "a path that is not ours"
    );
    assert_eq!(code(driver.send(0, Kind::Data, b"x")), abi::E_UNSUPPORTED);
}

#[test]
fn a_stranger_is_not_first_where_the_signalling_is_known() {
    let mut driver = driver();
    driver.tell(0, abi::TELL_PATHS, PATHS);
    driver.tell(
        0,
        abi::TELL_REMOTE,
        "c:10.0.0.5\nport:5000\nsignalled-from:203.0.113.5\n",
    );
    assert_eq!(code(driver.receive(0, 1, at("203.0.113.66:5000"), RTP)), abi::NONE);
    assert_eq!(code(driver.receive(0, 1, at("203.0.113.5:61000"), RTP)), abi::RTP);
}

#[test]
fn strangers_are_dropped_before_and_after_the_latch() {
    let mut driver = driver();
    driver.tell(0, abi::TELL_PATHS, PATHS);
    let (nat, stranger) = (at("203.0.113.5:61000"), at("203.0.113.66:5000"));
    assert_eq!(code(driver.receive(0, 1, nat, RTP)), abi::NONE, "nobody before REMOTE");
    assert_eq!(code(driver.send(0, Kind::Rtp, RTP)), abi::E_STATE);
    driver.tell(0, abi::TELL_REMOTE, "c:10.0.0.5\nport:5000\n");
    assert_eq!(driver.receive(0, 1, nat, b"\x00\x01stun").0, abi::E_MALFORMED);
    assert_eq!(
        code(driver.receive(0, 1, stranger, RTCP)),
        abi::NONE,
        "a report does not latch"
    );
    assert_eq!(code(driver.receive(0, 1, nat, RTP)), abi::RTP);
    assert_eq!(code(driver.receive(0, 1, stranger, RTP)), abi::NONE);
    assert_eq!(driver.send(0, Kind::Rtp, RTP).3, Some(nat));
    driver.tell(0, abi::TELL_REMOTE, "c:10.0.0.5\nport:5000\n");
    assert_eq!(
        driver.send(0, Kind::Rtp, RTP).3,
        Some(nat),
        "the same description again"
    );
    driver.tell(0, abi::TELL_REMOTE, "c:192.0.2.99\nport:7000\n");
    assert_eq!(
        driver.send(0, Kind::Rtp, RTP).3,
        Some(at("192.0.2.99:7000")),
        "moved by signalling"
    );
    assert_eq!(code(driver.receive(0, 1, stranger, RTP)), abi::NONE);
    assert_eq!(code(driver.receive(0, 1, at("192.0.2.99:7000"), RTP)), abi::RTP);
    assert_eq!(code(driver.receive(0, 1, nat, RTP)), abi::NONE);
}

#[test]
fn reports_come_from_where_they_were_signalled_or_from_who_is_heard() {
    let mut driver = driver();
    driver.tell(0, abi::TELL_PATHS, PATHS);
    driver.tell(
        0,
        abi::TELL_REMOTE,
        "c:10.0.0.5\nport:5000\nsignalled-from:203.0.113.5\n",
    );
    let (phone, neighbour) = (at("203.0.113.5:61001"), at("203.0.113.5:62000"));
    let mut other = RTCP.to_vec();
    other[7] = 66;
    assert_eq!(
        code(driver.receive(0, 2, neighbour, &other)),
        abi::NONE,
        "before anybody"
    );
    assert_eq!(code(driver.receive(0, 1, at("203.0.113.5:61000"), RTP)), abi::RTP);
    assert_eq!(
        code(driver.receive(0, 2, neighbour, &other)),
        abi::NONE,
        "another stream"
    );
    assert_eq!(code(driver.send(0, Kind::Rtcp, &report_on_it())), abi::NONE);
    assert_eq!(code(driver.receive(0, 2, phone, RTCP)), abi::RTCP);
    assert_eq!(driver.send(0, Kind::Rtcp, &report_on_it()).3, Some(phone));
    assert_eq!(code(driver.receive(0, 2, neighbour, RTCP)), abi::NONE);
}

#[test]
fn announced_streams_shut_out_others() {
    let mut driver = connected("c:198.51.100.1\nport:5000\nssrc:9 cname:x\nssrc:nonsense\n");
    let phone = at("198.51.100.1:5000");
    let mut other = RTP.to_vec();
    other[11] = 8;
    assert_eq!(code(driver.receive(0, 1, phone, &other)), abi::NONE);
    assert_eq!(code(driver.receive(0, 1, phone, RTP)), abi::RTP);
    driver.tell(0, abi::TELL_REMOTE, "ssrc:8\n");
    assert_eq!(code(driver.receive(0, 1, phone, &other)), abi::RTP);
}

#[test]
fn hold_and_nonsense_do_not_lose_the_place() {
    let mut driver = connected("c:198.51.100.1\nport:5000\n");
    for lines in [
        "c:0.0.0.0\n",
        "c:IN IP6 ::\n",
        "c:255.255.255.255\n",
        "c:224.0.0.1\n",
        "c:::ffff:224.0.0.1\n",
        "c:ff02::1\n",
        "c:127.0.0.1\nsignalled-from:198.51.100.1\n",
        "signalled-from:198.51.100.1\nc:::ffff:127.0.0.1\n",
        "c:::1\n",
        "port:0\n",
        "port:x\n",
        "c:phone.example\n",
        "c:\n",
        "rtcp-port:-1\n",
        "x-word:1\n\n\r\n",
    ] {
        assert_eq!(driver.tell(0, abi::TELL_REMOTE, lines), 0, "{lines}");
    }
    assert_eq!(driver.send(0, Kind::Rtp, RTP).3, Some(at("198.51.100.1:5000")));
    assert_eq!(driver.send(0, Kind::Rtcp, RTCP).3, Some(at("198.51.100.1:5001")));
    driver.tell(0, abi::TELL_REMOTE, "c:::ffff:198.51.100.3\n");
    assert_eq!(driver.send(0, Kind::Rtp, RTP).3, Some(at("198.51.100.3:5000")));
    driver.tell(0, abi::TELL_REMOTE, "signalled-from:127.0.0.1\nc:127.0.0.1\n");
    assert_eq!(driver.send(0, Kind::Rtp, RTP).3, Some(at("127.0.0.1:5000")));
    driver.tell(0, abi::TELL_REMOTE, "c:IN IP4 198.51.100.2\n");
    assert_eq!(driver.send(0, Kind::Rtp, RTP).3, Some(at("198.51.100.2:5000")));
}

#[test]
fn after_close_there_is_silence() {
    let mut driver = connected("c:198.51.100.1\nport:5000\n");
    driver.tell(0, abi::TELL_CONTROL, "close\n");
    driver.timeout(5);
    assert_eq!(code(driver.receive(0, 1, at("198.51.100.1:5000"), RTP)), abi::NONE);
    assert_eq!(code(driver.send(0, Kind::Rtp, RTP)), abi::E_STATE);
    assert_eq!(driver.poll(), (vec![], None));
}

#[test]
fn random_datagrams_and_lines_never_panic() {
    let mut driver = connected("c:198.51.100.1\nport:5000\nrtcp-mux\n");
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    for _ in 0..100_000 {
        let mut bytes: Vec<u8> = (0..next() % 64).map(|_| next() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x3F | 0x80;
        }
        let result = driver
            .receive(
                0,
                next() % 4,
                SocketAddr::from(([203, 0, 113, next() as u8], 9)),
                &bytes,
            )
            .0;
        assert!([abi::NONE, abi::RTP, abi::RTCP, abi::E_MALFORMED].contains(&result));
    }
    let words = [
        "c:",
        "port:",
        "ssrc:",
        "path:",
        "rtcp-port:",
        "component",
        " 1",
        "host",
        "999999",
        "::",
        "\n",
        "gone",
    ];
    for round in 0..5000u32 {
        let lines: String = (0..next() % 12).map(|_| words[next() as usize % words.len()]).collect();
        driver.tell(0, 1 + round % 2, &lines);
        driver.poll();
    }
}

/// Seen: a report from the named port drew ours, which has the stream's SSRC, while the phone was behind a NAT.
#[test]
fn reports_from_the_named_port_are_nobodys_while_the_phone_is_heard_from_elsewhere() {
    let mut driver = driver();
    driver.tell(0, abi::TELL_PATHS, PATHS);
    let remote = "c:10.0.0.5\nport:5000\nrtcp-port:5001\nsignalled-from:203.0.113.5\n";
    driver.tell(0, abi::TELL_REMOTE, remote);
    let (phone, named) = (at("203.0.113.5:61000"), at("10.0.0.5:5001"));
    assert_eq!(code(driver.receive(0, 1, phone, RTP)), abi::RTP);
    let mut stranger = RTCP.to_vec();
    stranger[4..8].copy_from_slice(&[9; 4]);
    assert_eq!(code(driver.receive(0, 2, named, &stranger)), abi::NONE);
    // Who reports under the stream's own SSRC is the phone.
    let mut own = RTCP.to_vec();
    own[4..8].copy_from_slice(&RTP[8..12]);
    assert_eq!(code(driver.receive(0, 2, at("203.0.113.5:61001"), &own)), abi::RTCP);
    assert_eq!(code(driver.receive(0, 2, named, &stranger)), abi::NONE);
}

/// A receiver report on the stream of [`RTP`].
fn report_on_it() -> Vec<u8> {
    let mut report = vec![0x81, 201, 0, 7, 1, 1, 1, 1];
    report.extend_from_slice(&RTP[8..12]);
    report.extend_from_slice(&[0; 20]);
    report
}

/// Seen: ours told whoever listened at the named port, or at one beside it, the SSRC of a phone; with that he took its place.
#[test]
fn our_reports_name_the_stream_to_nobody_but_the_phone() {
    let remote = "c:10.0.0.5\nport:5000\nrtcp-port:5001\nsignalled-from:203.0.113.5\n";
    let mut own = RTCP.to_vec();
    own[4..8].copy_from_slice(&RTP[8..12]);
    let mut other = RTCP.to_vec();
    other[4..8].copy_from_slice(&[9; 4]);
    let (named, phone) = (at("10.0.0.5:5001"), at("203.0.113.5:61001"));
    // Also if somebody there has reported first, and wherever the phone sends from.
    for (rtp, first) in [
        ("203.0.113.5:61000", false),
        ("203.0.113.5:61000", true),
        ("10.0.0.5:5000", true),
    ] {
        let mut driver = driver();
        driver.tell(0, abi::TELL_PATHS, PATHS);
        driver.tell(0, abi::TELL_REMOTE, remote);
        assert_eq!(driver.send(0, Kind::Rtcp, RTCP).3, Some(named), "it names nobody");
        if first {
            assert_eq!(
                code(driver.receive(0, 2, named, &other)),
                abi::RTCP,
                "a phone that only listens"
            );
        }
        assert_eq!(code(driver.receive(0, 1, at(rtp), RTP)), abi::RTP);
        driver.receive(0, 2, named, &other);
        assert_eq!(code(driver.send(0, Kind::Rtcp, &report_on_it())), abi::NONE, "{rtp}");
        assert_eq!(
            code(driver.receive(0, 2, at("198.51.100.9:61001"), &own)),
            abi::NONE,
            "another host"
        );
        assert_eq!(code(driver.receive(0, 2, phone, &own)), abi::RTCP);
        assert_eq!(driver.send(0, Kind::Rtcp, &report_on_it()).3, Some(phone), "{rtp}");
        // In its silence another is heard: what names the phone goes to neither.
        let mut forged = RTP.to_vec();
        forged[8..12].copy_from_slice(&[9; 4]);
        let source = if rtp == "10.0.0.5:5000" { rtp } else { "10.0.0.5:5000" };
        driver.receive(9_000_000_000, 1, at(source), &forged);
        assert_eq!(code(driver.receive(9_000_000_000, 2, named, &other)), abi::RTCP);
        assert_eq!(
            code(driver.send(9_000_000_000, Kind::Rtcp, &report_on_it())),
            abi::NONE,
            "{rtp}"
        );
    }
}

#[test]
fn reports_that_go_with_the_media_name_nobody_else_either() {
    let mut driver = connected("c:10.0.0.5\nport:5000\nrtcp-mux\nsignalled-from:203.0.113.5\n");
    let phone = at("203.0.113.5:61000");
    assert_eq!(code(driver.receive(0, 1, phone, RTP)), abi::RTP);
    assert_eq!(driver.send(0, Kind::Rtcp, &report_on_it()).3, Some(phone));
    let mut forged = RTP.to_vec();
    forged[8..12].copy_from_slice(&[9; 4]);
    driver.receive(9_000_000_000, 1, at("10.0.0.5:5000"), &forged);
    assert_eq!(code(driver.send(9_000_000_000, Kind::Rtcp, &report_on_it())), abi::NONE);
}

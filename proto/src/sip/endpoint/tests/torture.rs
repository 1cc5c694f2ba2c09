//! Messages as RFC 4475 has them, and worse: each gets the answer it deserves.

use super::*;

/// The answer of the gateway to one datagram; empty if there is none.
fn answer_to(message: &str) -> String {
    let mut world = World::new(50);
    world.inject(GATEWAY, "192.0.2.9:5099", message.as_bytes());
    world.packets.pop().unwrap_or_default()
}

fn status_of(message: &str) -> String {
    answer_to(message)
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("SIP/2.0 ")
        .to_owned()
}

/// A good OPTIONS; each test breaks it in one place.
const GOOD: &str = "OPTIONS sip:200@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5099;branch=z9hG4bK1;rport\r\n\
    From: <sip:100@x>;tag=1\r\nTo: <sip:200@x>\r\nCall-ID: c1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\
    Content-Length: 0\r\n\r\n";

fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

#[test]
fn what_may_be_odd_is_understood() {
    let check = |message: &str| assert_eq!(status_of(message), "200 OK", "{message}");
    check(GOOD);
    check(&format!("\r\n\r\n{GOOD}"));
    check(&GOOD.replace("\r\n", "\n"));
    check(&with(
        "From: <sip:100@x>;tag=1",
        "f :\r\n  \"A \\\" B, <c>\"\r\n\t <sip:100@x> ; tag = 1",
    ));
    check(
        &GOOD
            .replace("Via", "v")
            .replace("From", "f")
            .replace("To", "t")
            .replace("Call-ID", "i"),
    );
    check(&GOOD.replace("Via", "vIA").replace("Content-Length", "l"));
    check(&with("sip:200@192.0.2.1 ", "sip:[2001:db8::1]:5070;transport=udp "));
    check(&with(
        "sip:200@192.0.2.1 ",
        "tel:+1-201-555-0123;phone-context=example.com ",
    ));
    check(&with(
        "sip:200@192.0.2.1 ",
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d@x.y ",
    ));
    check(&with(
        "SIP/2.0/UDP 192.0.2.9:5099;",
        "SIP / 2.0 / UDP 192.0.2.9 : 5099 ; ",
    ));
    check(&with(
        "Via: ",
        "Via: SIP/2.0/UDP [2001:db8::9]:7;branch=z9hG4bK2;received=\"x\", ",
    ));
    check(&with(
        "tag=1\r\n",
        "tag=1;p=\"a;b,c\"\r\nX-Empty:\r\nNewFangled: a\r\n b\r\n",
    ));
    check(&with("Max-Forwards: 70\r\n", ""));
    check(&with("Max-Forwards: 70", "Max-Forwards: 0"));
    check(&with("Content-Length: 0\r\n", ""));
    check(&GOOD.replace("<sip:200@x>", "\"¯\\_(ツ)_/¯ 🐶\" <sip:200@x>"));
    check(&with("To: <sip:200@x>", "To: isbn:2983792873"));
}

#[test]
fn what_is_wrong_is_named() {
    let check = |message: &str, expected: &str| assert_eq!(status_of(message), expected, "{message}");
    check(&with("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), "505 Version Not Supported");
    check(&with("From: <sip:100@x>;tag=1\r\n", ""), "400 Missing From");
    check(&with(";tag=1", ""), "400 Missing From Tag");
    check(&with("To: <sip:200@x>\r\n", ""), "400 Missing To");
    check(&with("Call-ID: c1\r\n", ""), "400 Missing Call-ID");
    check(&with("CSeq: 1 OPTIONS\r\n", ""), "400 Missing CSeq");
    check(
        &with("CSeq: 1 OPTIONS", "CSeq: 36893488147419103232 OPTIONS"),
        "400 Bad CSeq",
    );
    check(&with("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"), "400 CSeq Method Mismatch");
    check(
        &with("Call-ID: c1\r\n", "Call-ID: c1\r\nCall-ID: c2\r\n"),
        "400 Multiple Call-ID",
    );
    check(&with("<sip:100@x>;tag=1", "<sip:100@x;tag=1"), "400 Bad From");
    check(&with("Max-Forwards: 70", "Max-Forwards: 300"), "400 Bad Max-Forwards");
    check(
        &with("Content-Length: 0", "Content-Length: 9"),
        "400 Bad Content-Length",
    );
    check(
        &with("Content-Length: 0", "Content-Length: -1"),
        "400 Bad Content-Length",
    );
    check(
        &with("Content-Length: 0", "Content-Length: 0\r\nContent-Length: 1"),
        "400 Bad Content-Length",
    );
    // Lines that are no fields, and that nothing needs.
    for line in ["no colon here", "X-Two words: 1", ": no name", "X-\u{fc}: 1"] {
        check(
            &with("Call-ID: c1\r\n", &format!("Call-ID: c1\r\n{line}\r\n")),
            "200 OK",
        );
    }
    check(&with("Call-ID: c1\r\n", "Call-ID c1\r\n"), "400 Missing Call-ID");
    check(
        &with("sip:200@192.0.2.1 ", "<sip:200@192.0.2.1> "),
        "400 Bad Request-URI",
    );
    check(
        &with("sip:200@192.0.2.1 ", "sip:200@192.0.2.1; lr "),
        "400 Bad Request-URI",
    );
    check(GOOD.trim_end(), "400 Missing Empty Line");
    check(
        &with("sip:200@192.0.2.1 ", "nobodyKnowsThisScheme:totallyopaquecontent "),
        "416 Unsupported URI Scheme",
    );
    check(&GOOD.replace("OPTIONS", "NEWMETHOD"), "501 Not Implemented");
    check(&GOOD.replace("OPTIONS", "options"), "501 Not Implemented");
    check(&GOOD.replace("OPTIONS", "PUBLISH"), "405 Method Not Allowed");
    check(
        &GOOD.replace("OPTIONS", "INFO").replace("s: 70", "s: 0"),
        "483 Too Many Hops",
    );
    check(&GOOD.replace("OPTIONS", "BYE"), "481 Call/Transaction Does Not Exist");
    check(
        &GOOD.replace("OPTIONS", "CANCEL"),
        "481 Call/Transaction Does Not Exist",
    );
    check(
        &with("To: <sip:200@x>", "To: <sip:200@x>;tag=gw01-no"),
        "481 Call/Transaction Does Not Exist",
    );
    let required = answer_to(&with(
        "Max-Forwards: 70",
        "Require: nothingSupportsThis, 100rel\r\nMax-Forwards: 70",
    ));
    assert!(
        required.starts_with("SIP/2.0 420 Bad Extension")
            && required.contains("Unsupported: nothingSupportsThis, 100rel\r\n")
    );
    assert!(answer_to(&GOOD.replace("OPTIONS", "NOTIFY")).contains("Allow: INVITE, ACK"));
}

#[test]
fn what_deserves_no_answer_gets_none() {
    let check = |message: &str| assert_eq!(answer_to(message), "", "{message}");
    check("");
    check("\r\n\r\n");
    check("\0\0\0\0");
    check("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    check(&GOOD.replace("OPTIONS", "ACK"));
    check(&GOOD.replace("OPTIONS", "ACK").replace("Call-ID: c1\r\n", ""));
    check(&with("Via: SIP/2.0/UDP 192.0.2.9:5099;branch=z9hG4bK1;rport\r\n", ""));
    check("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nCSeq: 1 INVITE\r\nTo: <sip:a@b>\r\n\r\n");
    check("SIP/2.0 4294967301 better not break the receiver\r\n\r\n");
}

#[test]
fn answers_go_back_the_way_the_request_came() {
    let check = |via: &str, expected_to: &str, expected_via: &str| {
        let mut world = World::new(51);
        let local = world.nodes[GATEWAY].address;
        let message = with("192.0.2.9:5099;branch=z9hG4bK1;rport", via);
        let remote = "192.0.2.9:40000".parse().unwrap();
        let input = Receive {
            five_tuple: FiveTuple::new(Protocol::Udp, local, remote),
            payload: message.as_bytes(),
        };
        let now = world.now;
        world.gateway().handle_input(now, input);
        let transmit = world.gateway().poll_transmit().unwrap();
        assert_eq!(
            (transmit.five_tuple.remote, transmit.five_tuple.local),
            (expected_to.parse().unwrap(), local)
        );
        let text = String::from_utf8(transmit.payload).unwrap();
        assert!(text.contains(&format!("Via: SIP/2.0/UDP {expected_via}\r\n")), "{text}");
    };
    check(
        "192.0.2.9:5099;rport;branch=z9hG4bK1",
        "192.0.2.9:40000",
        "192.0.2.9:5099;rport=40000;branch=z9hG4bK1;received=192.0.2.9",
    );
    check(
        "192.0.2.9:5099;branch=z9hG4bK1",
        "192.0.2.9:5099",
        "192.0.2.9:5099;branch=z9hG4bK1",
    );
    check(
        "192.0.2.9;branch=z9hG4bK1",
        "192.0.2.9:5060",
        "192.0.2.9;branch=z9hG4bK1",
    );
    check(
        "10.0.0.1;branch=z9hG4bK1",
        "192.0.2.9:40000",
        "10.0.0.1;branch=z9hG4bK1;received=192.0.2.9",
    );
    check(
        "evil.example;branch=z9hG4bK1;maddr=203.0.113.1;received=1.2.3.4",
        "192.0.2.9:40000",
        "evil.example;branch=z9hG4bK1;maddr=203.0.113.1;received=192.0.2.9",
    );
}

#[test]
fn uris_and_addresses_print_as_they_were_read() {
    let same = |text: &str| assert_eq!(text.parse::<Uri>().unwrap().to_string(), text);
    same("sip:alice@example.com");
    same("sip:+49-30;phone-context=x@[2001:db8::1]:5070;transport=tcp;lr");
    same("sips:a%20b@h?Subject=x%20y");
    same("tel:+1-201-555-0123;ext=5");
    same("urn:service:sos");
    let bad = |text: &str| assert_eq!(text.parse::<Uri>(), Err(SipError::BadUri), "{text}");
    for text in [
        "",
        "sip",
        "sip:",
        "sip:@x",
        "sip:a@",
        "sip:a@[::1",
        "sip:a@h:99999",
        "tel:",
        "tel:abc z",
        "sip:a\r\n@h",
    ] {
        bad(text);
    }
    let same = |text: &str| assert_eq!(text.parse::<NameAddr>().unwrap().to_string(), text);
    same("\"A \\\"q\\\" \\\\ 🐶\" <sip:a@h;x=y>;tag=1;+sip.instance=\"<urn:uuid:1>\"");
    same("<tel:+1>;expires=3");
    let bare: NameAddr = "sip:a@h;tag=7".parse().unwrap();
    assert_eq!((bare.tag(), bare.uri.to_string().as_str()), (Some("7"), "sip:a@h"));
    let unquoted: NameAddr = "Anna  Smith <sip:a@h>".parse().unwrap();
    assert_eq!(unquoted.display.as_deref(), Some("Anna  Smith"));
    for text in ["", "\"open <sip:a@h>", "<sip:a@h", "\"x\" sip:a@h", "<>"] {
        assert_eq!(
            text.parse::<NameAddr>(),
            Err(if text.is_empty() || text == "<>" {
                SipError::BadUri
            } else {
                SipError::BadAddress
            })
        );
    }
    let a: Uri = "sip:a%31@h".parse().unwrap();
    assert!(a.same_as(&"sip:a1@H;transport=udp".parse().unwrap()));
    assert!(!a.same_as(&"sip:a1@h:5060".parse().unwrap()));
    assert_eq!(a.user_unescaped(), "a1");
}

/// RFC 5118, over datagrams and over a stream: each section by its number.
#[test]
fn addresses_of_ipv6_are_read_where_they_may_stand() {
    const REGISTER: &str = "REGISTER sip:[2001:db8::10] SIP/2.0\r\nTo: <sip:100@example.com>\r\nFrom: <sip:100@example.com>;tag=81x2\r\n\
        Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111\r\nCall-ID: SSG9559905523997077@hlau_4100\r\nMax-Forwards: 70\r\n\
        Contact: \"Caller\" <sip:100@[2001:db8::1]>\r\nCSeq: 98176 REGISTER\r\nContent-Length: 0\r\n\r\n";
    let uri = |to: &str| REGISTER.replace("sip:[2001:db8::10] ", to);
    let via = |to: &str| REGISTER.replace("[2001:db8::9:1];", to);
    for (section, message, status) in [
        ("4.1", REGISTER.to_owned(), "401"),
        ("4.2", uri("sip:2001:db8::10 "), "400"),
        ("4.3", uri("sip:[2001:db8::10:5070] "), "401"),
        ("4.4", uri("sip:[2001:db8::10]:5070 "), "401"),
        ("4.5", via("[2001:db8::9:1];received=[2001:db8::9:255];"), "401"),
        ("4.5", via("[2001:db8::9:1];received=2001:db8::9:255;"), "401"),
        (
            "4.7",
            REGISTER.replace(
                "Call-ID",
                "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144\r\nVia: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj\r\nCall-ID",
            ),
            "401",
        ),
        ("4.9", via("[::ffff:192.0.2.10]:19823;"), "401"),
    ] {
        for (protocol, source) in [(Protocol::Udp, "[2001:db8::9:1]:5060"), (Protocol::Tcp, "[2001:db8::9:1]:41000")] {
            let message = message.replace("/UDP [", &format!("/{} [", protocol.name()));
            let mut world = World::new(51);
            world.protocol = protocol;
            world.inject(GATEWAY, source, message.as_bytes());
            let answer = world.packets.pop().unwrap_or_default();
            assert!(
                answer.starts_with(&format!("SIP/2.0 {status} ")),
                "{section} over {protocol:?}: {message}{answer}"
            );
        }
    }
}

//! One association by itself; two ends over a network are in the endpoint's tests.

use super::*;

#[test]
fn fingerprints_are_read_strictly() {
    let good = format!("sha-256 {}", ["aB"; 32].join(":"));
    assert_eq!(parse_fingerprint(&good), Some([0xAB; 32]));
    assert_eq!(parse_fingerprint(&good.replace("sha-256", "SHA-256")), Some([0xAB; 32]));
    for bad in [
        "".to_owned(),
        "sha-256".to_owned(),
        good.replace("sha-256", "sha-1"),
        format!("{good}:00"),
        format!("sha-256 {}", ["ab"; 31].join(":")),
        good.replacen("aB", "+1", 1),
        good.replacen("aB", "é", 1),
    ] {
        assert_eq!(parse_fingerprint(&bad), None, "{bad}");
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can be made in no other way; only differences count"
)]
fn now() -> Instant {
    Instant::now()
}

/// Everything that the machine has to send, and whether it gave out keys.
fn sent(dtls: &mut Dtls) -> (Vec<Vec<u8>>, bool) {
    let (mut packets, mut keys) = (Vec::new(), false);
    while let Some(output) = dtls.poll_output() {
        match output {
            DtlsOutput::Packet(packet) => packets.push(packet),
            DtlsOutput::Keys { .. } => keys = true,
            DtlsOutput::Data(_) | DtlsOutput::Closed => {}
        }
    }
    (packets, keys)
}

#[test]
fn a_flight_is_repeated_as_soon_as_its_answer_must_have_been_lost_and_later_less_often() {
    for (round_trip, pauses) in [
        (None, [300, 300, 300, 600, 600, 600, 600]),
        (Some(1), [100, 100, 100, 200, 200, 200, 400]),
        (Some(100), [150, 150, 150, 300, 300, 300, 600]),
        (Some(580), [300, 600, 600, 600, 600, 600, 600]),
    ] {
        let mut now = now();
        let mut client = Dtls::new(now).unwrap();
        client.expect(&Dtls::new(now).unwrap().fingerprint()).unwrap();
        if let Some(round_trip) = round_trip {
            client.set_round_trip(Duration::from_millis(round_trip));
        }
        client.start(now, true).unwrap();
        let first = sent(&mut client).0;
        let mut found = Vec::new();
        for _ in pauses {
            let due = client.poll_timeout().unwrap();
            found.push((due - now).as_millis());
            now = due;
            client.handle_timeout(now).unwrap();
            assert_eq!(sent(&mut client).0.len(), first.len());
        }
        // The crate draws its own pauses, and the shorter counts.
        let fits = |(found, wanted): (&u128, u128)| (wanted * 2 / 3..=wanted * 4 / 3).contains(found);
        assert!(found.iter().zip(pauses).all(fits), "{round_trip:?}: {found:?}");
    }
}

#[test]
fn a_silent_peer_is_waited_for_as_long_as_the_endpoint_waits() {
    for (is_client, round_trip) in [(true, 300), (true, 1), (false, 300), (false, 1)] {
        let begin = now();
        let (mut dtls, mut peer) = (Dtls::new(begin).unwrap(), Dtls::new(begin).unwrap());
        dtls.expect(&peer.fingerprint()).unwrap();
        peer.expect(&dtls.fingerprint()).unwrap();
        dtls.set_round_trip(Duration::from_millis(round_trip));
        dtls.start(begin, is_client).unwrap();
        if !is_client {
            // It says hello, again and again, and takes no answer.
            peer.start(begin, true).unwrap();
        }
        let hello = sent(&mut peer).0;
        let error = loop {
            let due = dtls.poll_timeout().unwrap();
            hello.iter().for_each(|packet| _ = dtls.receive(due, packet));
            if let Err(error) = dtls.handle_timeout(due) {
                break (due - begin, error);
            }
            sent(&mut dtls);
        };
        assert_eq!(error, (HANDSHAKE, DtlsError::Handshake), "{is_client} {round_trip}");
    }
}

#[test]
fn the_servers_last_flight_is_repeated_until_the_client_shows_that_it_has_it() {
    let now = now();
    let (mut client, mut server) = (Dtls::new(now).unwrap(), Dtls::new(now).unwrap());
    client.expect(&server.fingerprint()).unwrap();
    server.expect(&client.fingerprint()).unwrap();
    client.start(now, true).unwrap();
    server.start(now, false).unwrap();
    while !server.is_connected() {
        let (packets, _) = sent(&mut client);
        assert!(!packets.is_empty(), "it goes on");
        packets
            .iter()
            .for_each(|packet| _ = server.receive(now, packet).unwrap());
        if !server.is_connected() {
            let (packets, _) = sent(&mut server);
            packets
                .iter()
                .for_each(|packet| _ = client.receive(now, packet).unwrap());
        }
    }
    // That flight is lost. The client, left alone, would wait for 300 ms.
    let (lost, keys) = sent(&mut server);
    assert!(keys && !lost.is_empty() && !client.is_connected());
    let later = now + Duration::from_millis(100);
    assert_eq!(server.poll_timeout(), Some(later));
    server.handle_timeout(later).unwrap();
    let (repeated, _) = sent(&mut server);
    assert_eq!(repeated, lost);
    for _ in 0..2 {
        repeated
            .iter()
            .for_each(|packet| _ = client.receive(later, packet).unwrap());
        assert!(client.is_connected());
    }
    assert!(sent(&mut client).1);
    // What comes under the keys ends it.
    client.send(b"hello").unwrap();
    let (packets, _) = sent(&mut client);
    packets
        .iter()
        .for_each(|packet| _ = server.receive(later, packet).unwrap());
    server.handle_timeout(later + Duration::from_secs(1)).unwrap();
    assert_eq!(sent(&mut server).0, [[0; 0]; 0]);
}

#[test]
fn a_server_may_ask_for_a_cookie() {
    let now = now();
    let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
    let fingerprint = format!("sha-256 {}", certificate.fingerprint_str());
    let config = dimpl::Config::builder().use_server_cookie(true).build().unwrap();
    let mut server = dimpl::Dtls::new_12(Arc::new(config), certificate, now);
    server.handle_timeout(now).unwrap();
    let mut client = Dtls::new(now).unwrap();
    client.expect(&fingerprint).unwrap();
    client.start(now, true).unwrap();
    let (mut flights, mut room) = (0, [0; 2000]);
    for _ in 0..5 {
        let (packets, keys) = sent(&mut client);
        if keys {
            assert_eq!(flights, 3, "hello, hello with the cookie, and the rest");
            return;
        }
        flights += 1;
        packets.iter().for_each(|packet| server.handle_packet(packet).unwrap());
        loop {
            let output = server.poll_output(&mut room);
            if let dimpl::Output::Packet(packet) = output {
                client.receive(now, packet).unwrap();
            } else if let dimpl::Output::Timeout(_) = output {
                break;
            }
        }
    }
    panic!("no keys");
}

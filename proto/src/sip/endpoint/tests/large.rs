//! What does not fit a datagram.

use super::trunks::{dial_with, respond, response_to, world as trunk};
use super::*;

/// The transport and the place of each INVITE that was sent.
fn ways(world: &World) -> Vec<(String, String)> {
    let invites = world.packets.iter().filter(|packet| packet.starts_with("INVITE"));
    let way = |packet: &String| {
        let via = packet.split("SIP/2.0/").nth(1).unwrap();
        let contact = packet.lines().find(|line| line.starts_with("Contact")).unwrap();
        assert_eq!(contact.contains("transport=tcp"), via.starts_with("TCP"), "{contact}");
        let place = packet.split([' ', '@']).nth(2).unwrap();
        (via[..3].to_owned(), place.to_owned())
    };
    let mut ways: Vec<_> = invites.map(way).collect();
    ways.dedup();
    ways
}

fn long() -> Vec<(&'static str, String)> {
    vec![("Remote-Party-ID", "x".repeat(900))]
}

#[test]
fn what_does_not_fit_a_datagram_goes_over_a_stream_and_by_datagram_where_nobody_takes_one() {
    let places = ["192.0.2.11:5060", "192.0.2.12:5060"];
    let [first, second] = places.map(str::to_owned);
    let way = |protocol: &str, place: &String| (protocol.to_owned(), place.clone());
    let both = |world: &mut World| {
        let local: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        world
            .gateway()
            .set_local(vec![(Protocol::Udp, local), (Protocol::Tcp, local)]);
    };
    // One that fits, and a gateway that is not heard over TCP: as ever.
    let mut world = trunk();
    both(&mut world);
    dial_with(&mut world, &places, Vec::new());
    assert_eq!(ways(&world), [way("UDP", &first)]);
    let mut world = trunk();
    dial_with(&mut world, &places, long());
    assert_eq!(ways(&world), [way("UDP", &first)]);
    // With a login it will be longer.
    let mut world = trunk();
    both(&mut world);
    dial_with(&mut world, &places, vec![("Remote-Party-ID", "x".repeat(600))]);
    assert_eq!(ways(&world), [way("TCP", &first)]);

    // The connection is refused at the first place; at the second nobody answers it.
    let mut world = trunk();
    both(&mut world);
    let call = dial_with(&mut world, &places, long());
    let wanted = world.gateway().poll_connect().unwrap();
    assert_eq!(
        (wanted.protocol, wanted.remote.to_string()),
        (Protocol::Tcp, first.clone())
    );
    let now = world.now;
    world.gateway().handle_closed(now, wanted.connection.unwrap());
    world.run(Duration::from_millis(500));
    assert_eq!(ways(&world), [way("TCP", &first), way("UDP", &first)]);
    world.run(Duration::from_millis(600));
    assert_eq!(ways(&world)[2..], [way("TCP", &second)]);
    world.run(Duration::from_secs(1));
    assert_eq!(ways(&world)[3..], [way("UDP", &second)]);
    respond(&mut world, &second, "INVITE sip:1@192.0.2.12", "200 OK");
    assert!(world.packets.last().unwrap().starts_with("ACK sip:1@192.0.2.12:5060"));
    world.hangup(GATEWAY, call);
    respond(&mut world, &second, "BYE", "200 OK");
    world.run(Duration::from_secs(100));
    world.assert_empty();
    // Both are known to take datagrams only, for a time.
    world.packets.clear();
    let call = dial_with(&mut world, &places, long());
    assert_eq!(ways(&world), [way("UDP", &first)]);
    world.hangup(GATEWAY, call);
    world.run(Duration::from_secs(3_600));
    world.packets.clear();
    dial_with(&mut world, &places, long());
    assert_eq!(ways(&world), [way("TCP", &first)]);
}

/// A response over the connection that was opened for the request.
fn respond_over(world: &mut World, way: FiveTuple, begin: &str, status: &str) {
    let response = response_to(world, &way.remote.to_string(), begin, status);
    let input = Receive {
        five_tuple: way,
        payload: response.as_bytes(),
    };
    world.nodes[GATEWAY].endpoint.handle_input(world.now, input);
    world.drain(GATEWAY);
}

#[test]
fn who_is_overloaded_over_tcp_is_not_asked_by_datagram() {
    let places = ["192.0.2.11:5060", "192.0.2.12:5060"];
    let mut world = trunk();
    let local: SocketAddr = "192.0.2.1:5060".parse().unwrap();
    world
        .gateway()
        .set_local(vec![(Protocol::Udp, local), (Protocol::Tcp, local)]);
    let mut opened = Vec::new();
    for round in 0..2 {
        world.packets.clear();
        let call = dial_with(&mut world, &places, long());
        opened.extend(world.gateway().poll_connect());
        respond_over(
            &mut world,
            opened[0],
            "INVITE sip:1@192.0.2.11",
            "503 Service Unavailable",
        );
        let seen: Vec<_> = ways(&world)
            .into_iter()
            .map(|(protocol, place)| protocol + " " + &place)
            .collect();
        assert_eq!(seen, ["TCP 192.0.2.11:5060", "TCP 192.0.2.12:5060"], "round {round}");
        opened.extend(world.gateway().poll_connect());
        world.hangup(GATEWAY, call);
        respond_over(
            &mut world,
            opened[1],
            "INVITE sip:1@192.0.2.12",
            "487 Request Terminated",
        );
        world.run(Duration::from_secs(100));
    }
    assert_eq!(opened.len(), 2, "the connections of the first call stand");
}

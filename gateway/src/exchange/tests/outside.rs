//! Behind a NAT: who is told which address of ours.

use super::*;

const INSIDE: &str = "local_networks = [\"192.0.2.0/24\"]";

/// Which addresses stand in Via, Contact and SDP of what a phone gets: a call to it, and the answer to its own.
fn told(world: &mut World) -> [Vec<String>; 2] {
    world.dial("anna");
    world.user_accepts();
    world.drain();
    world.hang_up(0);
    world.drain();
    world.user_dials("100@gw");
    [world.last_ok.clone(), world.last_invite.clone()].map(|message| {
        let ours = |line: &&str| {
            line.starts_with("Contact: ")
                || line.starts_with("c=")
                || (line.starts_with("Via: ") && message.starts_with("INVITE"))
        };
        let address = |line: &str| {
            line.split([' ', '@', ':', '>', ';'])
                .find_map(|word| word.parse::<IpAddr>().ok())
        };
        let lines = message.lines().filter(ours);
        lines.filter_map(|line| Some(address(line)?.to_string())).collect()
    })
}

#[test]
fn a_phone_outside_is_told_the_external_address_and_one_inside_is_not() {
    let external = "external_address = [\"203.0.113.5\", \"2001:db8::5\"]";
    let rows = [
        (format!("[media]\n{external}"), "", "203.0.113.5"),
        (format!("[media]\n{external}\n{INSIDE}"), "", "192.0.2.1"),
        (
            format!("[media]\n{external}"),
            "external_address = [\"203.0.113.9\"]",
            "203.0.113.9",
        ),
        (format!("[media]\n{external}"), "external_address = []", "192.0.2.1"),
        (String::new(), "external_address = \"203.0.113.9\"", "203.0.113.9"),
        // The name is not known yet, then it is.
        (
            "[media]\nexternal_address = \"gw.example.org\"".to_owned(),
            "",
            "192.0.2.1",
        ),
        (
            "[media]\nexternal_address = \"known.example.org\"".to_owned(),
            "",
            "203.0.113.7",
        ),
        (
            "[media]\nexternal_address = \"203.0.113.5\"\nlocal_networks = []".to_owned(),
            "",
            "203.0.113.5",
        ),
    ];
    for (conf, phones, address) in rows {
        let mut world = World::with_all(&conf, phones, ROUTES, Networks::new());
        let names = [("known.example.org".to_owned(), vec!["203.0.113.7".parse().unwrap()])].into();
        let here = Here {
            names,
            ..world.exchange.here.clone()
        };
        world.exchange.set_here(world.now, here);
        let mut world = world.registered();
        let [answer, call] = told(&mut world);
        assert_eq!(
            (answer, call),
            (vec![address.to_owned(); 2], vec![address.to_owned(); 3]),
            "{conf} {phones}"
        );
    }
}

#[test]
fn the_networks_of_the_interfaces_are_inside() {
    let mut world = World::new("[media]\nexternal_address = \"203.0.113.5\"").registered();
    let networks = vec!["192.0.2.0/24".parse().unwrap()];
    let here = Here {
        networks,
        ..world.exchange.here.clone()
    };
    world.exchange.set_here(world.now, here);
    assert_eq!(told(&mut world)[0], ["192.0.2.1"; 2]);
}

#[test]
fn a_user_of_a_network_is_told_both() {
    for (conf, outer) in [
        ("[media]\nexternal_address = \"203.0.113.5\"", "203.0.113.5"),
        (
            "[media]\nexternal_address = \"203.0.113.5\"\n[network.hub]\nexternal_address = \"203.0.113.9\"",
            "203.0.113.9",
        ),
    ] {
        let mut world = World::new(conf).registered();
        world.dial("anna");
        world.user_accepts();
        world.drain();
        assert_eq!(world.outer, [outer.parse::<IpAddr>().unwrap()], "{conf}");
    }
}

#[test]
fn standing_calls_go_on_from_the_addresses_that_there_are() {
    let conf = "[sip]\nlisten = [\"udp:0.0.0.0:5060\"]\n[[ice_server]]\nurls = [\"stun:192.0.2.5\"]";
    let mut world = World::new(conf).registered();
    let at = |addresses: &[&str]| Here {
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        ..Here::default()
    };
    let told = |world: &mut World, addresses: &[&str]| {
        world.exchange.set_here(world.now, at(addresses));
        world.drain();
        std::mem::take(&mut world.rebound)
    };
    told(&mut world, &["192.0.2.1", "127.0.0.1"]);
    world.dial("anna");
    world.user_accepts();
    world.drain();
    assert_eq!(world.servers, 1);
    // Nothing that matters to media.
    assert_eq!(
        told(&mut world, &["192.0.2.1", "127.0.0.1", "127.0.0.2"]),
        [] as [Vec<IpAddr>; 0]
    );
    let moved: Vec<IpAddr> = ["198.51.100.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).into();
    assert_eq!(told(&mut world, &["198.51.100.1", "2001:db8::1", "127.0.0.1"]), [moved]);
    assert_eq!(world.servers, 2, "what stood on the old address is asked for again");
    // Without a network there is nowhere to go; loopback is none.
    assert_eq!(told(&mut world, &["127.0.0.1"]), [Vec::<IpAddr>::new()]);
    assert_eq!(
        told(&mut world, &["192.0.2.1", "127.0.0.1"]),
        [["192.0.2.1".parse::<IpAddr>().unwrap()]]
    );
    world.hang_up(0);
    world.drain();
    assert_eq!(
        told(&mut world, &["198.51.100.1"]),
        [] as [Vec<IpAddr>; 0],
        "it is over"
    );
}

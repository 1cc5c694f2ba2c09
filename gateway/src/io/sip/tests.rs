//! Sockets that come and go, and connections of every kind.

use super::*;
use crate::io::addresses::MachineAddresses;

fn setup(listen: &[SocketAddr]) -> SipSetup {
    let entry = |address: &SocketAddr| format!("udp:{address}").parse().unwrap();
    SipSetup {
        listen: listen.iter().map(entry).collect(),
        connections: 16,
        ..SipSetup::default()
    }
}

fn addresses(sockets: &SipSockets) -> Vec<SocketAddr> {
    sockets.addresses().map(|(_, address)| address).collect()
}

#[tokio::test]
async fn a_wildcard_becomes_real_addresses_and_datagrams_pass() {
    let (sender, mut received) = mpsc::channel(8);
    let machine = MachineAddresses::read().unwrap().all;
    let mut sockets = SipSockets::bind(setup(&["0.0.0.0:0".parse().unwrap()]), &machine, sender).unwrap();
    let addresses = addresses(&sockets);
    let loopback = *addresses.iter().find(|a| a.ip().is_loopback()).unwrap();
    assert!(addresses.iter().all(|a| !a.ip().is_unspecified() && a.port() != 0));
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    peer.send_to(b"ping", loopback).await.unwrap();
    let Some(SipInput::Message(got)) = received.recv().await else {
        panic!("nothing came")
    };
    assert_eq!(
        (got.five_tuple.local, got.five_tuple.remote, got.payload.as_slice()),
        (loopback, peer.local_addr().unwrap(), &b"ping"[..])
    );
    let answer = Transmit {
        five_tuple: got.five_tuple,
        payload: b"pong".to_vec(),
    };
    sockets.send(answer);
    let mut buffer = [0; 16];
    let (length, from) = peer.recv_from(&mut buffer).await.unwrap();
    assert_eq!((&buffer[..length], from), (&b"pong"[..], loopback));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = SipSockets::bind(setup(&[address]), &[], mpsc::channel(8).0)
        .err()
        .unwrap();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn an_address_that_comes_is_bound_one_that_goes_is_closed_and_the_rest_stands() {
    let [one, two, other] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|ip| ip.parse().unwrap());
    let listen = vec!["0.0.0.0:0".parse().unwrap(), SocketAddr::new(other, 0)];
    let mut sockets = SipSockets::bind(setup(&listen), &[], mpsc::channel(8).0).unwrap();
    let named = addresses(&sockets);
    assert_eq!(
        named.iter().map(SocketAddr::ip).collect::<Vec<_>>(),
        [other],
        "before DHCP"
    );
    sockets.follow(&[one, two]);
    let both = addresses(&sockets);
    assert_eq!(both.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [one, two, other]);
    sockets.follow(&[two, one]);
    assert_eq!(addresses(&sockets), both, "the ports are the same");
    sockets.follow(&[two]);
    assert_eq!(addresses(&sockets), both[1..]);
}

#[tokio::test]
async fn other_addresses_are_bound_all_or_none_and_old_ones_stay_while_they_are_used() {
    let all = |sockets: &SipSockets| {
        let ips = |addresses: Vec<Place>| {
            addresses
                .iter()
                .map(|(_, a)| a.ip().to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        (ips(sockets.addresses().collect()), ips(sockets.retired().collect()))
    };
    let pair = |now: &str, retired: &str| (now.to_owned(), retired.to_owned());
    let at = |ips: &str| {
        ips.split(' ')
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0))
            .collect::<Vec<_>>()
    };
    let mut sockets = SipSockets::bind(setup(&at("127.0.0.1 127.0.0.2")), &[], mpsc::channel(8).0).unwrap();
    let before = addresses(&sockets);
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut wrong = at("127.0.0.2 127.0.0.3");
    wrong.push(taken.local_addr().unwrap());
    assert!(sockets.listen_on(setup(&wrong), &[]).is_err());
    assert_eq!(
        (addresses(&sockets), sockets.retired().count()),
        (before.clone(), 0),
        "nothing has changed"
    );
    sockets.listen_on(setup(&at("127.0.0.2 127.0.0.3")), &[]).unwrap();
    assert_eq!(all(&sockets), pair("127.0.0.2 127.0.0.3", "127.0.0.1"));
    sockets.follow(&[]);
    assert!(!sockets.close_unused(|address| address == (Protocol::Udp, before[0])));
    assert_eq!(all(&sockets), pair("127.0.0.2 127.0.0.3", "127.0.0.1"));
    // It is wanted again, at the same port.
    sockets.listen_on(setup(&at("127.0.0.1")), &[]).unwrap();
    assert_eq!(addresses(&sockets), before[..1]);
    assert!(sockets.close_unused(|_| false));
    assert_eq!(all(&sockets), pair("127.0.0.1", ""));
}

/// 192.0.2.0/24 is nobody's (RFC 5737): as a floating address that another machine has now.
#[tokio::test]
async fn an_address_that_is_not_here_yet_is_waited_for() {
    let floating: SocketAddr = "192.0.2.77:5060".parse().unwrap();
    let mut sockets = SipSockets::bind(setup(&[floating]), &[], mpsc::channel(8).0).unwrap();
    assert_eq!(addresses(&sockets), []);
    sockets.follow(&[]);
    assert_eq!(sockets.missing, BTreeSet::from([(Protocol::Udp, floating)]));
}

//! Real sockets on the loopback.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use quartet_plugin::Role;
use quartet_proto::rtp::packet::{Packet as Rtp, is_rtcp};

use super::*;
use crate::media::{
    Bind, MediaFault, Sink,
    dsp::tones::strength,
    testing::{Room, Speaker, codec, registry},
};

const TIMEOUT: Duration = Duration::from_secs(20);

fn start(ports: Option<RangeInclusive<u16>>) -> (Media, Receiver<MediaEvent>) {
    let (sender, events) = channel();
    let media = Media::start(2, registry(), ports, move |event| drop(sender.send(event))).unwrap();
    (media, events)
}

fn open(media: &Media, leg: u64, same_worker_as: Option<u64>) {
    media.command(MediaCommand::Open {
        leg: LegKey(leg),
        same_worker_as: same_worker_as.map(LegKey),
        transport: if leg % 2 == 1 { "rtp" } else { "mux" }.to_owned(),
        sink: Sink::Telephone,
        role: Role::Offer,
        bind: Room::bind(),
        options: String::new(),
        relay_only: false,
    });
}

fn until(events: &Receiver<MediaEvent>, what: impl Fn(&MediaEvent) -> bool) -> MediaEvent {
    loop {
        let event = events.recv_timeout(TIMEOUT).unwrap();
        if what(&event) {
            return event;
        }
    }
}

/// The port of a leg, which the transport of the tests says in its description.
fn port_of(events: &Receiver<MediaEvent>) -> SocketAddr {
    let MediaEvent::Local { lines, .. } = until(events, |event| matches!(event, MediaEvent::Local { .. })) else {
        unreachable!("only a description was waited for");
    };
    let port = lines.split(' ').nth(5).and_then(|port| port.parse().ok());
    SocketAddr::from(([127, 0, 0, 1], port.unwrap()))
}

#[test]
fn a_tone_crosses_two_legs_and_everything_is_freed() {
    a_tone_crosses(true);
}

/// Both are at work already when they are bridged.
#[test]
fn a_leg_moves_to_the_worker_of_the_other() {
    a_tone_crosses(false);
}

fn a_tone_crosses(is_together: bool) {
    let (media, events) = start(None);
    let phones: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let mut ports = Vec::new();
    for (leg, phone) in [(1, &phones[0]), (2, &phones[1])] {
        phone.set_read_timeout(Some(TIMEOUT)).unwrap();
        open(&media, leg, (leg == 2 && is_together).then_some(1));
        ports.push(port_of(&events));
        let lines = format!("port:{}\n", phone.local_addr().unwrap().port());
        media.command(MediaCommand::Remote {
            leg: LegKey(leg),
            lines,
        });
        media.command(MediaCommand::Codec {
            leg: LegKey(leg),
            codec: codec("T-NARROW", leg as u32),
        });
        until(&events, |event| *event == MediaEvent::Connected { leg: LegKey(leg) });
    }
    assert_eq!((media.legs(), media.sockets()), (2, 2));
    media.command(MediaCommand::Bridge {
        a: LegKey(1),
        b: LegKey(2),
    });
    assert_ne!(ports[0], ports[1]);
    let mut speaker = Speaker::new(8_000, 20, 440.0);
    let mut heard = Vec::new();
    let mut bytes = [0; 2_000];
    // A packet goes in every 20 ms, as from a phone; what comes out has a pace of its own.
    phones[1].set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let end = Instant::now() + TIMEOUT;
    // On a busy machine packets come late and are made up for; a steady fifth of a second holds the tone and nothing else.
    let is_tone = |part: &[i16]| strength(part, 8_000, 440.0) > 0.98;
    while heard.len() < 160 * 50 || !heard.chunks_exact(1_600).any(is_tone) {
        assert!(Instant::now() < end, "no tone in {} samples", heard.len());
        phones[0].send_to(&speaker.packet(), ports[0]).unwrap();
        let next = Instant::now() + Duration::from_millis(20);
        while Instant::now() < next {
            let Ok(length) = phones[1].recv(&mut bytes) else { break };
            let speech = Rtp::parse(&bytes[..length])
                .ok()
                .filter(|rtp| !is_rtcp(&bytes) && rtp.payload_type == 96);
            let Some(rtp) = speech else { continue };
            heard.extend(
                rtp.payload
                    .chunks_exact(2)
                    .map(|pair| i16::from_le_bytes([pair[0], pair[1]])),
            );
        }
    }
    for leg in [1, 2] {
        media.command(MediaCommand::Close { leg: LegKey(leg) });
        until(&events, |event| *event == MediaEvent::Closed { leg: LegKey(leg) });
    }
    assert_eq!((media.legs(), media.sockets()), (0, 0));
}

#[test]
fn sockets_follow_the_addresses_of_the_machine() {
    let (media, events) = start(None);
    open(&media, 1, None);
    let before = port_of(&events);
    let rebind = |addresses: &[[u8; 4]]| {
        let addresses = addresses.iter().map(|ip| (*ip).into()).collect();
        let bind = Bind {
            addresses,
            ..Room::bind()
        };
        media.command(MediaCommand::Rebind { leg: LegKey(1), bind });
    };
    let bound = |wanted: usize| {
        let end = Instant::now() + TIMEOUT;
        while media.sockets() != wanted {
            assert!(Instant::now() < end, "{} sockets", media.sockets());
            thread::yield_now();
        }
    };
    rebind(&[[127, 0, 0, 1], [127, 0, 0, 2]]);
    bound(2);
    UdpSocket::bind(before).expect_err("it is in use");
    rebind(&[[127, 0, 0, 2], [203, 0, 113, 9]]);
    bound(1);
    UdpSocket::bind(before).expect("it is free");
    // Over and over, in the same places.
    for round in 0..40 {
        rebind(&[[127, 0, 0, 3 + round % 2]]);
        rebind(&[]);
    }
    bound(0);
    rebind(&[[127, 0, 0, 1]]);
    bound(1);
    media.command(MediaCommand::Close { leg: LegKey(1) });
    until(&events, |event| *event == MediaEvent::Closed { leg: LegKey(1) });
    bound(0);
}

#[test]
fn no_socket_is_a_failure_and_closing_is_still_answered() {
    let (media, events) = start(Some(45_001..=45_000 + 1));
    open(&media, 1, None);
    until(&events, |event| matches!(event, MediaEvent::Local { .. }));
    open(&media, 3, Some(1));
    let failed = MediaEvent::Failed {
        leg: LegKey(3),
        fault: MediaFault::Ports,
    };
    until(&events, |event| *event == failed);
    for leg in [3, 1] {
        media.command(MediaCommand::Close { leg: LegKey(leg) });
        until(&events, |event| *event == MediaEvent::Closed { leg: LegKey(leg) });
    }
    assert_eq!((media.legs(), media.sockets()), (0, 0));
}

#[test]
fn dropping_the_handle_ends_the_threads_and_orders_for_strangers_are_dropped() {
    let (media, events) = start(None);
    media.command(MediaCommand::Close { leg: LegKey(99) });
    media.command(MediaCommand::StopPlay { leg: LegKey(99) });
    open(&media, 1, Some(98));
    until(&events, |event| matches!(event, MediaEvent::Local { .. }));
    drop(media);
    assert!(
        events.iter().all(|event| event.leg() == LegKey(1)),
        "the channel is closed: nobody holds the other end"
    );
}

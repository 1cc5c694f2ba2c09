//! Early media: what a phone hears before anybody takes its call. RFC 3960.

use super::*;

const BETWEEN: &str = "[[route]]\nname = \"one\"\nfrom = \"phones\"\nnumber = \"{n:[0-9]{3}}\"\nto = \"phone:{n}\"\n";

fn is_heard(world: &mut World, body: &str) {
    let body = Some(body.as_bytes().to_vec());
    world.phone(1, |dialog| SipCommand::Ring {
        dialog,
        status: 183,
        body,
    });
    world.drain();
}

/// The descriptions that phone 100 was told before its call was taken, and what it was told then.
fn told(world: &World) -> (Vec<(u16, Option<String>)>, Option<String>) {
    let text = |body: &Option<Vec<u8>>| body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
    let (mut before, mut then) = (Vec::new(), None);
    for event in &world.phones[0].events {
        if let SipEvent::Provisional { status, body, .. } = event {
            before.push((*status, text(body)));
        } else if let SipEvent::Accepted { body, .. } = event {
            then = text(body);
        }
    }
    (before, then)
}

#[test]
fn one_callee_is_heard_and_the_answer_stays_the_same() {
    let mut world = World::with("", BETWEEN, Networks::new()).registered();
    world.dial("101");
    is_heard(&mut world, "no SDP");
    assert_eq!(told(&world).0, [(180, None)], "it rings, at least");
    is_heard(&mut world, SDP);
    let bridged = world.bridged.clone();
    assert_eq!(bridged.len(), 1, "they hear each other");
    let (before, _) = told(&world);
    let [.., (183, Some(early))] = &before[..] else {
        panic!("{before:?}")
    };
    assert!(early.contains("m=audio 40000 RTP/AVP 0"), "{early}");
    world.pick_up(1);
    world.drain();
    assert_eq!(told(&world).1.as_ref(), Some(early));
    assert_eq!(world.bridged.last(), Some(&bridged[0]));
    world.hang_up(0);
    world.drain();
    assert_eq!(world.cause(), "answered");
    world.assert_empty();
}

#[test]
fn whoever_is_heard_may_refuse_or_say_no_more() {
    for status in [Some(404), None] {
        let mut world = World::with("", BETWEEN, Networks::new()).registered();
        world.dial("101");
        is_heard(&mut world, SDP);
        match status {
            Some(status) => world.reject(1, status),
            // A 200 without a description: that was said before.
            None => world.phone(1, |dialog| SipCommand::Accept {
                dialog,
                body: None,
                identity: None,
                headers: Vec::new(),
            }),
        }
        world.drain();
        assert_eq!(world.phones[0].end(), if status.is_some() { "404" } else { "" });
        world.hang_up(0);
        world.drain();
        world.assert_empty();
    }
}

#[test]
fn a_user_who_calls_is_told_that_it_rings() {
    let mut world = World::new("").registered();
    world.user_dials("101@gw");
    is_heard(&mut world, SDP);
    assert_eq!(world.bridged, []);
    world.pick_up(1);
    world.drain();
    assert_eq!(world.bridged.len(), 1);
    world.hang_up(1);
    world.drain();
    world.assert_empty();
}

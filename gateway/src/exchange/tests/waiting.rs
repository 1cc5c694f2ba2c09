//! A handset that is off the hook while the user's media is still on its way.

use super::*;
use crate::cdr::Cause;
use crate::media::MediaFault;

/// The user calls phone 100, which was picked up; media of the user does not come.
fn off_the_hook(conf: &str) -> World {
    let mut world = World::new(conf).registered();
    world.hold_media = true;
    world.user_dials("100@gw");
    world.pick_up(0);
    world.drain();
    assert_eq!((world.bridged.len(), world.plays.len()), (0, 0));
    world
}

fn fail(world: &mut World, transport: &str, fault: MediaFault) {
    let leg = world.leg_over(transport).expect("it is there");
    world
        .exchange
        .handle_media(world.now, MediaEvent::Failed { leg, fault });
    world.drain();
}

fn is_hung_up(world: &World) -> bool {
    !world.phones[0].end().is_empty()
}

#[test]
fn it_is_told_to_wait_after_six_seconds_and_again_until_the_user_is_there() {
    let mut world = off_the_hook("");
    world.run(6 * SECOND - Duration::from_millis(1));
    assert_eq!(world.plays.len(), 0);
    world.run(Duration::from_millis(1));
    assert_eq!(world.plays.len(), 1);
    world.play_out();
    world.run(10 * SECOND);
    assert_eq!(world.plays.len(), 1, "once more");
    let waited = world.plays.clone();
    for leg in std::mem::take(&mut world.waiting) {
        world.exchange.handle_media(world.now, MediaEvent::Connected { leg });
    }
    world.drain();
    assert_eq!(world.bridged.len(), 1);
    assert_ne!(world.plays.last(), waited.last(), "the emojis' words take its place");
    // What was cut off says that it was heard, too late: it counts for nothing.
    let (leg, play) = waited[0];
    world.exchange.handle_media(world.now, MediaEvent::Played { leg, play });
    assert_eq!(world.exchange.calls(world.now)[0].verdict, "unheard");
    world.run(20 * SECOND);
    assert_eq!(world.plays.len(), 2, "and nothing but them is said");
    world.hang_up(0);
    world.drain();
    assert_eq!(world.cause(), "answered");
    world.assert_empty();
}

#[test]
fn it_hears_why_it_has_waited_in_vain_before_it_is_hung_up() {
    for fault in [MediaFault::Timeout, MediaFault::Dtls] {
        let mut world = off_the_hook("");
        fail(&mut world, "webrtc", fault);
        assert_eq!(world.plays.len(), 1);
        assert_eq!(world.records.len(), 1, "the call is over already");
        assert!(!is_hung_up(&world));
        world.run(3 * SECOND);
        assert!(!is_hung_up(&world));
        world.play_out();
        assert!(is_hung_up(&world));
        assert_eq!(world.records.len(), 1);
        world.assert_empty();
    }
    // Its own media says nothing any more; nor is there anything to say to who hung up, or was hung up on.
    let ends: [fn(&mut World); 4] = [
        |world| fail(world, "rtp", MediaFault::Timeout),
        |world| world.hang_up(0),
        |world| world.user_ends(Cause::Answered),
        |world| world.exchange.stop(world.now),
    ];
    for end in ends {
        let mut world = off_the_hook("");
        end(&mut world);
        world.drain();
        assert_eq!(world.plays.len(), 0);
        assert!(is_hung_up(&world));
        world.assert_empty();
    }
}

#[test]
fn the_last_words_end_whatever_becomes_of_them() {
    let ends: [fn(&mut World); 4] = [
        // They are never heard to their end.
        |world| world.run(8 * SECOND),
        |world| world.hang_up(0),
        |world| fail(world, "rtp", MediaFault::Timeout),
        |world| world.exchange.stop(world.now),
    ];
    for end in ends {
        let mut world = off_the_hook("");
        fail(&mut world, "webrtc", MediaFault::Timeout);
        assert!(!is_hung_up(&world));
        end(&mut world);
        world.drain();
        assert!(is_hung_up(&world));
        assert_eq!(world.records.len(), 1);
        world.assert_empty();
    }
    // They cannot be made.
    let mut world = off_the_hook("");
    world.fail_speech = true;
    fail(&mut world, "webrtc", MediaFault::Timeout);
    assert!(is_hung_up(&world));
    world.assert_empty();
}

#[test]
fn how_long_it_waits_is_the_operators() {
    let mut world = off_the_hook("[call]\nconnect_timeout = \"7s\"\n");
    world.run(7 * SECOND - Duration::from_millis(1));
    assert_eq!((world.records.len(), world.plays.len()), (0, 1));
    world.run(Duration::from_millis(1));
    assert_eq!(world.cause(), "media");
    assert_eq!(world.plays.len(), 2);
    world.play_out();
    assert!(is_hung_up(&world));
    world.assert_empty();
}

#[test]
fn media_that_does_not_come_is_begun_anew_until_it_is_there() {
    let mut world = off_the_hook("[[ice_server]]\nurls = [\"stun:192.0.2.5\"]");
    let asked = world.servers;
    assert!(asked > 0);
    world.run(8 * SECOND - Duration::from_millis(1));
    assert_eq!((world.restarts, world.servers), (0, asked));
    world.run(Duration::from_millis(1));
    assert_eq!(
        (world.restarts, world.servers),
        (1, 2 * asked),
        "servers are asked again"
    );
    world.run(8 * SECOND);
    assert_eq!(world.restarts, 2);
    for leg in std::mem::take(&mut world.waiting) {
        world.exchange.handle_media(world.now, MediaEvent::Connected { leg });
    }
    world.drain();
    world.run(60 * SECOND);
    assert_eq!(world.restarts, 2);
    world.hang_up(0);
    world.drain();
    world.assert_empty();
}

//! Every ending of every state, of calls in both directions: the cause in the record, what the phones see, what the user
//! sees. Nothing is left of any.

use super::*;
use crate::media::{MediaFault, Report};

/// What ends the call.
type Ending = (&'static str, fn(&mut World));

const ENDINGS: &[Ending] = &[
    ("phone hangs up", |world| world.hang_up(0)),
    ("user hangs up", |world| world.user_ends(Cause::Answered)),
    ("user is busy", |world| world.user_ends(Cause::Busy)),
    ("operator", |world| {
        let key = *world.exchange.calls.keys().next().expect("a call");
        assert!(world.exchange.hang_up(world.now, key));
    }),
    ("gateway stops", |world| world.exchange.stop(world.now)),
    ("hub goes", |world| {
        world
            .exchange
            .handle_link(world.now, &hub_id(), crate::networks::Link::Down);
    }),
    ("user's link goes", |world| {
        world.rendezvous.disconnect(world.now, THEIRS)
    }),
    ("phone's media fails", |world| fail(world, "rtp", MediaFault::Timeout)),
    ("user's media fails", |world| fail(world, "webrtc", MediaFault::Dtls)),
    ("nobody says a thing", silence),
];

fn fail(world: &mut World, transport: &str, fault: MediaFault) {
    if let Some(leg) = world.leg_over(transport) {
        world
            .exchange
            .handle_media(world.now, MediaEvent::Failed { leg, fault });
    }
}

/// A minute and more in which nothing is heard of the phone, which is out of reach if it was talking.
fn silence(world: &mut World) {
    world.phones[0].is_gone = !world.bridged.is_empty();
    hears_nothing(world, 100);
}

/// Media says once a second that nothing comes from the phone.
fn hears_nothing(world: &mut World, seconds: u32) {
    for second in 1..=seconds {
        world.run(SECOND);
        if let Some(leg) = world.leg_over("rtp") {
            let report = Report {
                silent: second * SECOND,
                ..Report::default()
            };
            world
                .exchange
                .handle_media(world.now, MediaEvent::Report { leg, report });
            world.drain();
        }
    }
}

#[test]
fn a_phone_that_is_muted_keeps_its_call_and_one_that_is_gone_does_not() {
    let (_, talking) = OUTGOING.last().expect("it talks");
    let mut world = talking();
    world.ladder.clear();
    hears_nothing(&mut world, 65);
    assert_eq!(world.exchange.call_count(), 1);
    let asked = world
        .ladder
        .iter()
        .filter(|line| line.ends_with("100: OPTIONS"))
        .count();
    assert_eq!(asked, 6, "after 10 s, and every 10 s: {:?}", world.ladder);
    world.phones[0].is_gone = true;
    hears_nothing(&mut world, 14);
    assert_eq!(world.exchange.call_count(), 1);
    hears_nothing(&mut world, 20);
    assert_eq!(world.cause(), "media");
}

/// A call of the phone, as far as it goes by then.
type State = (&'static str, fn() -> World);

const OUTGOING: &[State] = &[
    ("drawing", || {
        let mut world = World::new("");
        world.hold_jobs = true;
        world.dial("anna");
        world
    }),
    ("requested", || {
        let mut world = World::new("");
        world.user.is_silent = true;
        world.dial("anna");
        world
    }),
    ("ringing", || {
        let mut world = World::new("");
        world.dial("anna");
        world
    }),
    ("agreeing", || {
        let mut world = World::new("");
        world.dial("anna");
        world.hold_jobs = true;
        world.user_accepts();
        world.drain();
        world
    }),
    ("connecting", || {
        let mut world = World::new("");
        world.hold_media = true;
        world.dial("anna");
        world.user_accepts();
        world.drain();
        world
    }),
    ("answering", || {
        let mut world = World::new("");
        world.phones[0].is_mute = true;
        world.dial("anna");
        world.user_accepts();
        world.drain();
        world
    }),
    ("talking", || {
        let mut world = World::new("");
        world.dial("anna");
        world.user_accepts();
        world.drain();
        assert_eq!(world.bridged.len(), 1);
        world
    }),
];

const INCOMING: &[State] = &[
    ("called", || {
        let mut world = World::new("").registered();
        world.user_dials("100@gw");
        world
    }),
    ("ringing", || {
        let mut world = World::new("").registered();
        world.user_dials("100@gw");
        world.ring(0);
        world.drain();
        world
    }),
    ("drawing", || {
        let mut world = World::new("").registered();
        world.user_dials("100@gw");
        world.hold_jobs = true;
        world.pick_up(0);
        world.drain();
        world
    }),
    ("accepted", || {
        let mut world = World::new("").registered();
        world.user.is_coy = true;
        world.user_dials("100@gw");
        world.pick_up(0);
        world.drain();
        world
    }),
    ("connecting", || {
        let mut world = World::new("").registered();
        world.hold_media = true;
        world.user_dials("100@gw");
        world.pick_up(0);
        world.drain();
        world
    }),
    ("talking", || {
        let mut world = World::new("").registered();
        world.user_dials("100@gw");
        world.pick_up(0);
        world.drain();
        assert_eq!(world.bridged.len(), 1);
        world
    }),
];

/// A line for each state and ending: the cause, what the phone saw, what the user's leg said.
fn table(states: &[State]) -> String {
    let mut lines = Vec::new();
    for (state, make) in states {
        for (ending, end) in ENDINGS {
            let mut world = make();
            end(&mut world);
            world.drain();
            // The rest of what a real peer would do: it confirms what it gets.
            (world.phones[0].is_mute, world.phones[0].is_gone) = (false, false);
            world.release_jobs();
            world.assert_empty();
            let phone = world.phones[0].end();
            let user = world
                .user
                .ended
                .iter()
                .map(|cause| cause.word())
                .collect::<Vec<_>>()
                .join(", ");
            lines.push(format!(
                "{state:10} {ending:20} {:12} {:8} | {phone:10} | {user}",
                world.cause(),
                world.records[0].by.word()
            ));
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// Compares a table with the one that is kept; `UPDATE=1` keeps it.
#[track_caller]
fn check(file: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/exchange/tests")
        .join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{table}\n")).expect("written");
    }
    let kept = std::fs::read_to_string(&path).expect("it is kept");
    assert!(kept.trim_end() == table, "{file} should be\n{table}\n");
}

#[test]
fn calls_of_the_phone() {
    check("outgoing.txt", &table(OUTGOING));
}

#[test]
fn calls_of_the_user() {
    check("incoming.txt", &table(INCOMING));
}

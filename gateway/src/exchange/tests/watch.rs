//! What phones are told of other phones, and of the calls that they have missed.

use quartet_proto::sip::{Line, Package, PackageState};

use super::*;

const BOTH: &str = "[[route]]\nname = \"between\"\nfrom = \"phones\"\nnumber = \"{n:[0-9]{3}}\"\nto = \"phone:{n}\"\n";

fn world() -> World {
    World::with("", &format!("{BOTH}{ROUTES}"), Networks::new()).registered()
}

/// Phone 100 wants to be told; what it is told, if anything.
fn watch(world: &mut World, package: Package, target: &str) -> (DialogKey, Option<PackageState>) {
    let subscription = DialogKey(1_000_000 + world.exchange.new_key());
    let event = SipEvent::Subscribe {
        subscription,
        account: "100".to_owned(),
        package,
        target: target.to_owned(),
    };
    world.exchange.on_watch_event(world.now, &event);
    (subscription, world.exchange.watchers.state(subscription))
}

fn lamp(world: &World, subscription: DialogKey) -> Option<Line> {
    match world.exchange.watchers.state(subscription) {
        Some(PackageState::Line(line)) => Some(line),
        Some(PackageState::Missed(_)) | None => None,
    }
}

#[test]
fn a_lamp_follows_a_phone_that_may_be_called_and_nobody_else() {
    let mut world = world();
    let (on_101, first) = watch(&mut world, Package::Dialog, "101");
    assert_eq!(first, Some(PackageState::Line(Line::Free)));
    let (on_100, _) = watch(&mut world, Package::Dialog, "100");
    world.dial("101");
    assert_eq!(lamp(&world, on_101), Some(Line::Ringing));
    assert_eq!(lamp(&world, on_100), Some(Line::Calling));
    world.ring(1);
    world.pick_up(1);
    world.drain();
    for lamp_of in [on_100, on_101] {
        assert_eq!(lamp(&world, lamp_of), Some(Line::Talking));
    }
    world.hang_up(0);
    world.drain();
    assert_eq!(lamp(&world, on_101), Some(Line::Free));
    // A user of a network, and nobody at all.
    for target in ["anna", "9999999"] {
        assert_eq!(watch(&mut world, Package::Dialog, target).1, None, "{target}");
    }
    let event = SipEvent::Unsubscribed { subscription: on_101 };
    world.exchange.on_watch_event(world.now, &event);
    assert_eq!(lamp(&world, on_101), None);
}

#[test]
fn calls_that_rang_in_vain_are_counted_for_their_own_phone() {
    let mut world = world();
    assert_eq!(watch(&mut world, Package::MessageSummary, "101").1, None, "another's");
    let (own, first) = watch(&mut world, Package::MessageSummary, "100");
    assert_eq!(first, Some(PackageState::Missed(0)));
    let told = |world: &World| world.exchange.watchers.state(own);
    for count in 1..=2 {
        world.user_dials_as(70 + u64::from(count), "100@gw");
        world.drain();
        world.ring(0);
        world.user_ends(Cause::Hangup);
        world.drain();
        assert_eq!(told(&world), Some(PackageState::Missed(count)));
    }
    // One that was refused was not missed.
    world.user_dials_as(80, "100@gw");
    world.drain();
    world.reject(0, 486);
    world.drain();
    assert_eq!(told(&world), Some(PackageState::Missed(2)));
    world.dial("anna");
    assert_eq!(told(&world), Some(PackageState::Missed(0)), "somebody was there");
}

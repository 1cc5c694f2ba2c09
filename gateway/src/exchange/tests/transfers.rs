//! Transfers: one takes another's place in a standing call, or does not. Calls that a phone sends on before it takes them.

use quartet_proto::sip::ReferTo;

use super::*;

/// Phones call each other too.
const BOTH: &str = "[[route]]\nname = \"between\"\nfrom = \"phones\"\nnumber = \"{n:[0-9]{3}}\"\nto = \"phone:{n}\"\n";

fn world() -> World {
    World::with("", &format!("{BOTH}{ROUTES}"), Networks::new()).registered()
}

/// Phone 100 talks with Anna; its dialog here.
fn talks_to_anna(world: &mut World) -> DialogKey {
    world.dial("anna");
    world.user_accepts();
    world.drain();
    world.play_out();
    dialog_of(world, "100")
}

/// Phone 100 talks with 101 as well; its dialog here.
fn talks_to_101(world: &mut World) -> DialogKey {
    world.dial("101");
    world.ring(1);
    world.pick_up(1);
    world.drain();
    dialog_of(world, "100")
}

/// The latest dialog of a phone's leg, here.
fn dialog_of(world: &mut World, user: &str) -> DialogKey {
    let exchange = &mut world.exchange;
    let all: Vec<_> = exchange.by_dialog.iter().map(|(dialog, leg)| (*dialog, *leg)).collect();
    let mut its = all.into_iter().rev();
    let mut is_its = |leg| exchange.with_leg(leg, |leg| leg.phone() == Some(user)) == Some(true);
    let (dialog, _) = its.find(|(_, leg)| is_its(*leg)).expect("its leg");
    dialog
}

fn refer(world: &mut World, dialog: DialogKey, to: ReferTo) {
    world.exchange.on_refer(world.now, dialog, Some("100"), to);
    world.drain();
}

fn to_number(world: &mut World, dialog: DialogKey, number: &str) {
    refer(world, dialog, ReferTo::Number(number.to_owned()));
}

fn ends(world: &World) -> [String; 2] {
    [0, 1].map(|at| world.phones[at].end())
}

#[test]
fn another_phone_is_called_and_takes_the_place_of_the_first() {
    let mut world = world();
    let dialog = talks_to_anna(&mut world);
    let old = world.leg_over("rtp").expect("the phone's media");
    to_number(&mut world, dialog, "101");
    assert_eq!(ends(&world), ["", ""], "the first phone talks on");
    assert!(
        world.last_invite.contains("From: \"anna\" <sip:anna@"),
        "{}",
        world.last_invite
    );
    world.ring(1);
    world.pick_up(1);
    world.drain();
    assert_eq!(ends(&world), ["BYE", ""]);
    let user = world.leg_over("webrtc").expect("the user's media");
    let new = world.leg_over("rtp").expect("the new phone's media");
    assert!(new != old && !world.media.contains_key(&old));
    assert_eq!(world.bridged.last(), Some(&(new, user)));
    assert_eq!(world.spoken.len(), 2, "the new handset hears the words");
    assert!(
        world.last_update.contains("P-Asserted-Identity"),
        "and sees the emojis: {}",
        world.last_update
    );
    let call = world.exchange.calls.values().next().expect("a call");
    assert!(call.emojis().is_some());
    world.hang_up(1);
    world.drain();
    assert_eq!(
        (world.cause(), &world.user.ended[..]),
        ("answered", &[Cause::Answered][..])
    );
    assert_eq!(
        (world.records[0].legs.len(), &world.records[0].transfers[..]),
        (2, &["101".to_owned()][..])
    );
    world.assert_empty();
}

#[test]
fn whoever_transfers_need_not_wait() {
    let mut world = world();
    let dialog = talks_to_anna(&mut world);
    to_number(&mut world, dialog, "101");
    world.ring(1);
    world.hang_up(0);
    world.drain();
    assert_eq!(world.exchange.call_count(), 1, "Anna waits");
    assert_eq!(world.user.ended, []);
    world.pick_up(1);
    world.drain();
    let both = (
        world.leg_over("rtp").expect("101"),
        world.leg_over("webrtc").expect("Anna"),
    );
    assert_eq!(world.bridged.last(), Some(&both));
    world.user_ends(Cause::Answered);
    world.drain();
    assert_eq!((ends(&world)[1].as_str(), world.cause()), ("BYE", "answered"));
    world.assert_empty();
}

#[test]
fn a_transfer_that_nobody_takes_changes_nothing_for_who_is_still_there() {
    for by_time in [false, true] {
        let mut world = world();
        let dialog = talks_to_anna(&mut world);
        to_number(&mut world, dialog, "101");
        world.ring(1);
        if by_time {
            world.run(70 * SECOND);
            assert_eq!(ends(&world), ["", "cancelled"]);
        } else {
            world.reject(1, 486);
        }
        world.drain();
        assert_eq!((world.exchange.call_count(), ends(&world)[0].as_str()), (1, ""));
        // And it may be tried again.
        to_number(&mut world, dialog, "101");
        world.ring(1);
        world.pick_up(1);
        world.drain();
        assert_eq!(world.phones[0].end(), "BYE");
        world.hang_up(1);
        world.drain();
        world.assert_empty();
    }
}

#[test]
fn a_transfer_that_nobody_takes_ends_the_call_of_who_was_left() {
    let mut world = world();
    let dialog = talks_to_anna(&mut world);
    to_number(&mut world, dialog, "101");
    world.hang_up(0);
    world.drain();
    world.reject(1, 486);
    world.drain();
    assert_eq!((world.cause(), world.records[0].transfers.len()), ("busy", 0));
    assert_eq!(world.user.ended.len(), 1);
    world.assert_empty();
}

#[test]
fn the_call_ends_while_another_rings() {
    let mut world = world();
    let dialog = talks_to_anna(&mut world);
    to_number(&mut world, dialog, "101");
    world.ring(1);
    world.user_ends(Cause::Answered);
    world.drain();
    assert_eq!(ends(&world), ["BYE", "cancelled"]);
    world.assert_empty();
}

#[test]
fn two_calls_of_one_phone_are_joined_and_the_users_stays() {
    // In whichever of the two the phone asks for it.
    for in_the_users in [true, false] {
        let mut world = world();
        let with_anna = talks_to_anna(&mut world);
        let user = world.leg_over("webrtc").expect("Anna");
        let with_101 = talks_to_101(&mut world);
        let other = world.leg_over("rtp").expect("101");
        assert_eq!(world.exchange.call_count(), 2);
        let (here, there) = if in_the_users {
            (with_anna, with_101)
        } else {
            (with_101, with_anna)
        };
        refer(&mut world, here, ReferTo::Dialog(there));
        assert_eq!(ends(&world), ["BYE, BYE", ""]);
        assert_eq!(world.bridged.last(), Some(&(other, user)));
        assert_eq!((world.exchange.call_count(), world.cause()), (1, "transferred"));
        assert_eq!(world.records[0].to, "101");
        assert_eq!(world.records[0].legs.len(), 2);
        assert_eq!(world.spoken.len(), 2, "the new handset hears the words");
        // What is said in the dialog of 101 goes to the call with Anna now.
        world.hang_up(1);
        world.drain();
        assert_eq!(world.user.ended, [Cause::Answered]);
        assert_eq!((world.records.len(), world.records[1].cause), (2, "answered"));
        assert_eq!(world.records[1].transfers, ["101"]);
        world.assert_empty();
    }
}

#[test]
fn what_cannot_be_transferred_stays_as_it_is() {
    let mut world = world();
    let dialog = talks_to_anna(&mut world);
    // To another user of the hub, to itself, by a trunk, and into a call that only rings.
    to_number(&mut world, dialog, "bert");
    to_number(&mut world, dialog, "100");
    let to = ReferTo::Number("101".to_owned());
    world.exchange.on_refer(world.now, dialog, None, to);
    refer(&mut world, dialog, ReferTo::Dialog(dialog));
    world.dial("101");
    world.ring(1);
    world.drain();
    let ringing = dialog_of(&mut world, "100");
    refer(&mut world, dialog, ReferTo::Dialog(ringing));
    refer(&mut world, ringing, ReferTo::Dialog(dialog));
    to_number(&mut world, ringing, "101");
    assert_eq!(
        (world.exchange.call_count(), ends(&world)),
        (2, [String::new(), String::new()])
    );
    // One that is being transferred is in nobody's hand.
    world.hang_up(0);
    world.drain();
    to_number(&mut world, dialog, "101");
    to_number(&mut world, dialog, "101");
    let invites = world.ladder().matches("gw -> 101: INVITE").count();
    assert_eq!(invites, 2, "one of the call, one of the transfer");
    world.user_ends(Cause::Answered);
    world.drain();
    world.assert_empty();
}

/// What a 302 of this dialog says.
fn redirect(world: &mut World, dialog: DialogKey, number: &str) {
    let event = SipEvent::Rejected {
        dialog,
        status: 302,
        reason: "Moved Temporarily".to_owned(),
        retry_after: None,
        redirect: Some(number.to_owned()),
    };
    let leg = world.exchange.by_dialog[&dialog];
    world.exchange.follow_redirect(world.now, leg, &event);
}

/// Phone 101, which rings, sends the call on.
fn sends_on(world: &mut World, number: &str) {
    let dialog = dialog_of(world, "101");
    redirect(world, dialog, number);
    world.reject(1, 302);
    world.drain();
}

#[test]
fn a_call_that_a_phone_sends_on_goes_where_its_own_would() {
    let mut world = world();
    world.dial("101");
    world.ring(1);
    sends_on(&mut world, "anna");
    assert_eq!(world.phones[0].end(), "", "it rings elsewhere");
    world.user_accepts();
    world.drain();
    let both = (
        world.leg_over("rtp").expect("100"),
        world.leg_over("webrtc").expect("Anna"),
    );
    assert_eq!(world.bridged, [both]);
    assert_eq!(world.spoken.len(), 1, "the words");
    assert_eq!(world.user.caller, "100@gw", "who calls is who called");
    world.hang_up(0);
    world.drain();
    assert_eq!(world.cause(), "answered");
    world.assert_empty();
}

#[test]
fn a_call_that_cannot_be_sent_on_is_refused() {
    // To itself, to nobody, to another user for one; and where the operator does not want it.
    for (conf, number) in [
        ("", "101"),
        ("", "+1"),
        ("", "anna"),
        ("[call]\nredirects = \"refuse\"", "100"),
    ] {
        let mut world = World::with(
            conf,
            &format!("{BOTH}{}", ROUTES.replace("{user}", "anna")),
            Networks::new(),
        )
        .registered();
        world.user_dials("101@gw");
        world.ring(1);
        sends_on(&mut world, number);
        assert_eq!(
            (world.exchange.call_count(), world.user.ended.len()),
            (0, 1),
            "{number}"
        );
        world.assert_empty();
    }
}

#[test]
fn a_call_is_sent_on_five_times_and_to_each_number_once() {
    let mut world = world();
    world.dial("101");
    world.ring(1);
    world.drain();
    let dialog = dialog_of(&mut world, "101");
    let mut rung = Vec::new();
    for number in ["u1", "u1", "u2", "101", "u3", "u4", "u4", "u5", "u6"] {
        redirect(&mut world, dialog, number);
        world.drain();
        let legs: usize = world.exchange.legs.values().map(Vec::len).sum();
        rung.push(legs - 2);
    }
    assert_eq!(rung, [1, 1, 2, 2, 3, 4, 4, 5, 5]);
    // Two that send it to each other end it.
    world.hang_up(0);
    world.drain();
    world.user_dials_as(5, "101@gw");
    for (user, at, to, left) in [("101", 1, "100", 1), ("100", 0, "101", 1), ("101", 1, "100", 0)] {
        world.ring(at);
        world.drain();
        let dialog = dialog_of(&mut world, user);
        redirect(&mut world, dialog, to);
        world.reject(at, 302);
        world.drain();
        assert_eq!(world.exchange.call_count(), left, "{user}");
    }
}

#[test]
fn who_only_rings_presses_no_keys_in_the_call() {
    let mut world = world();
    let dialog = talks_to_anna(&mut world);
    to_number(&mut world, dialog, "101");
    world.ring(1);
    world.drain();
    let ringing = dialog_of(&mut world, "101");
    // They would say that the emojis differ.
    for digit in ['*', '9'] {
        world
            .exchange
            .on_sip(world.now, SipEvent::Dtmf { dialog: ringing, digit });
        world.drain();
    }
    assert_eq!((world.exchange.call_count(), world.user.ended.len()), (1, 0));
    for digit in ['*', '9'] {
        world.exchange.on_sip(world.now, SipEvent::Dtmf { dialog, digit });
        world.drain();
    }
    assert_eq!((world.cause(), world.exchange.call_count()), ("mismatch", 0));
    world.assert_empty();
}

#[test]
fn who_hides_its_number_hides_it_in_the_next_call_too() {
    for is_private in [false, true] {
        let mut world = world();
        let privacy: &[_] = if is_private { &[("Privacy", "id")] } else { &[] };
        world.dial_as("101", "<sip:100@quartet>", privacy);
        world.ring(1);
        world.pick_up(1);
        world.drain();
        let with_100 = dialog_of(&mut world, "101");
        world.phones.swap(0, 1);
        world.dial_as("anna", "<sip:101@quartet>", &[]);
        world.user_accepts();
        world.drain();
        let with_anna = dialog_of(&mut world, "101");
        let to = ReferTo::Dialog(with_100);
        world.exchange.on_refer(world.now, with_anna, Some("101"), to);
        world.drain();
        let user = world.leg_over("webrtc").expect("Anna");
        let (_, partner) = world.exchange.partner(user).expect("100 talks with her");
        let shown = if is_private { "anonymous" } else { "100" };
        assert_eq!((partner.is_private, partner.shown()), (is_private, shown));
    }
}

#[test]
fn an_account_that_is_gone_transfers_nothing() {
    let mut world = world();
    let dialog = talks_to_anna(&mut world);
    let mut settings = (*world.exchange.settings).clone();
    settings.phones.retain(|phone| phone.user != "100");
    world.exchange.reload(world.now, Arc::new(settings));
    world.drain();
    world.ladder();
    to_number(&mut world, dialog, "101");
    assert!(!world.ladder().contains("gw -> 101: INVITE"));
    assert_eq!(world.exchange.call_count(), 1, "its call goes on");
}

//! Single calls, told step by step: what goes well, what crosses, what limits refuse, and what is spoken.

use std::net::IpAddr;

use quartet_proto::e2ee::fingerprint::Emoji;
use quartet_proto::e2ee::{self, MediaState};

use super::*;
use crate::exchange::here::ice_addresses;

#[test]
fn users_get_no_socket_on_loopback_unless_all_is_there() {
    let machine: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"]
        .map(|ip| ip.parse().unwrap())
        .to_vec();
    let sip = |text: &str| {
        let ips = text
            .split(' ')
            .map(|address| address.parse::<SocketAddr>().unwrap().ip());
        ips.collect::<Vec<_>>().into_iter()
    };
    let served = ice_addresses(&machine, sip("192.0.2.1:5060 127.0.0.1:5060"));
    assert_eq!(served, machine[..2]);
    assert_eq!(ice_addresses(&machine, sip("127.0.0.1:5060 [::1]:5060")), machine);
    assert_eq!(ice_addresses(&machine[2..], sip("192.0.2.1:5060")), machine[2..]);
}

#[test]
fn a_phone_calls_a_user() {
    let mut world = World::new("");
    assert!(world.exchange.is_idle());
    world.dial("anna");
    world.user_accepts();
    world.drain();
    assert!(!world.exchange.is_idle());
    assert_eq!(world.spoken, ["en: 10 lines"], "the announcement");
    let call = world.exchange.calls.values().next().expect("a call");
    let words = call.emojis().expect("four").map(Emoji::word).join(", ");
    world.play_out();
    world.hang_up(0);
    world.drain();
    let expected = "\
100 -> gw: INVITE
gw -> 100: 401 Unauthorized
100 -> gw: ACK
100 -> gw: INVITE
gw -> 100: 100 Trying
gw -> hub: call.request
anna -> hub: call.received
gw -> 100: 180 Ringing
anna -> hub: call.accept
gw -> hub: call.confirm
gw -> 100: 200 OK
100 -> gw: ACK
media: bridged
100 -> gw: BYE
gw -> hub: call.discard hangup
gw -> 100: 200 OK";
    assert_eq!(world.ladder(), expected);
    assert_eq!(world.cause(), "answered");
    let header = format!("\r\nX-Quartet-Call: {}\r\n", world.records[0].call);
    assert!(world.last_ok.contains(&words), "{words} in {}", world.last_ok);
    assert!(world.last_ok.contains(&header), "{}", world.last_ok);
    assert_eq!(world.user.ended, [Cause::Answered]);
    world.assert_empty();
}

#[test]
fn calls_are_made_in_each_version_both_ways() {
    for version in e2ee::versions() {
        let mut world = World::new("").registered();
        world.user.versions = vec![version.into()];
        world.dial("anna");
        world.user_accepts();
        world.drain();
        world.run(SECOND);
        world.play_out();
        assert_eq!(world.bridged.len(), 1, "{version}");
        world.hang_up(0);
        world.run(SECOND);
        world.user_dials("100@gw");
        world.pick_up(0);
        world.run(SECOND);
        assert_eq!(world.bridged.len(), 2, "{version}");
        world.hang_up(0);
        world.run(SECOND);
        let causes: Vec<_> = world.records.iter().map(|record| record.cause).collect();
        assert_eq!(causes, ["answered", "answered"], "{version}");
        world.assert_empty();
    }
}

#[test]
fn who_has_nothing_in_common_with_us_is_refused_with_the_words() {
    let pcmu = || Codec {
        payload_type: 0,
        name: "PCMU".into(),
        clock: 8000,
        channels: 1,
        fmtp: String::new(),
    };
    type Change = fn(&mut User, Codec);
    let cases: [(Change, &str); 2] = [
        (
            |user, _| user.versions = vec!["10.0.0".into(), "14.0.0".into()],
            "incompatible",
        ),
        (|user, codec| user.codecs = vec![codec], "no_codec"),
    ];
    for (change, cause) in cases {
        let mut world = World::new("").registered();
        change(&mut world.user, pcmu());
        world.dial("anna");
        world.user_accepts();
        world.drain();
        world.run(2 * SECOND);
        assert_eq!((world.cause(), world.phones[0].end().as_str()), (cause, "488"));
        world.run(40 * SECOND);
        world.assert_empty();
    }
}

/// What the user was told of our sound: whether it is muted, and the language of the words.
fn said(world: &World) -> Vec<(bool, Option<String>)> {
    let said = |text: &String| {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let muted = value["muted"].as_bool().expect("muted");
        (muted, value["x-spoken"].as_str().map(str::to_owned))
    };
    world.states.iter().map(said).collect()
}

#[test]
fn the_user_is_told_when_the_phone_hears_the_words_and_says_when_it_is_muted() {
    let mut world = World::new("");
    world.dial("anna");
    world.user_accepts();
    world.drain();
    assert_eq!(said(&world), [(true, Some("en".to_owned()))]);
    let row = world.exchange.calls(world.now).remove(0);
    assert_eq!(
        (row.phone_muted, row.spoken.as_deref(), row.user_muted),
        (true, Some("en"), false)
    );
    world.play_out();
    world.run(SECOND);
    assert_eq!(said(&world).last(), Some(&(false, None)));
    let leg = world.leg_over("webrtc").expect("it talks");
    for (muted, spoken) in [(true, Some("de".to_owned())), (false, None)] {
        let text = MediaState {
            muted,
            spoken: spoken.clone(),
        }
        .to_text();
        world.exchange.handle_media(world.now, MediaEvent::State { leg, text });
        world.drain();
        let row = world.exchange.calls(world.now).remove(0);
        assert_eq!((row.user_muted, row.user_spoken), (muted, spoken));
    }
    // What is no MediaState changes nothing.
    for text in [
        "",
        "nonsense",
        r#"{"@type":"Candidates"}"#,
        r#"{"@type":"MediaState","muted":1}"#,
    ] {
        let text = text.to_owned();
        world.exchange.handle_media(world.now, MediaEvent::State { leg, text });
    }
    world.drain();
    assert!(!world.exchange.calls(world.now)[0].user_muted);
    world.hang_up(0);
    world.drain();
    world.assert_empty();
}

#[test]
fn the_user_is_told_too_when_words_begin_by_themselves_or_cannot_be_made() {
    let spoken = (true, Some("en".to_owned()));
    let mut world = World::new("[call]\nverify = \"confirm\"\nconfirm_timeout = \"5s\"\n");
    world.dial("anna");
    world.user_accepts();
    world.drain();
    world.play_out();
    world.run(SECOND);
    assert_eq!(said(&world), [spoken.clone(), (false, None)]);
    // Nobody has confirmed; the words that say so come from no leg.
    world.run(5 * SECOND);
    assert_eq!(said(&world).len(), 3);
    assert_eq!(said(&world).last(), Some(&spoken));

    let mut world = World::new("");
    world.dial("anna");
    world.fail_speech = true;
    world.user_accepts();
    world.drain();
    assert_eq!(said(&world), [spoken, (false, None)]);
}

#[test]
fn a_user_calls_two_phones_and_one_picks_up() {
    let mut world = World::new("").registered();
    world.user_dials("gw");
    world.ring(1);
    world.drain();
    world.pick_up(1);
    world.drain();
    let expected = "\
anna -> hub: call.request
gw -> hub: call.received
gw -> 100: INVITE
gw -> 101: INVITE
100 -> gw: 100 Trying
101 -> gw: 100 Trying
101 -> gw: 180 Ringing
101 -> gw: 200 OK
gw -> 101: ACK
gw -> 100: CANCEL
100 -> gw: 200 OK
100 -> gw: 487 Request Terminated
gw -> hub: call.accept
gw -> 100: ACK
anna -> hub: call.confirm
gw -> 101: UPDATE
101 -> gw: 200 OK
media: bridged";
    assert_eq!(world.ladder(), expected);
    let call = world.exchange.calls.values().next().expect("a call");
    let words = call.emojis().expect("four").map(Emoji::word).join(", ");
    let shown = world
        .last_update
        .lines()
        .find(|line| line.starts_with("P-Asserted-Identity:"));
    assert!(
        shown.is_some_and(|shown| shown.contains(&words)),
        "{words} in {}",
        world.last_update
    );
    assert!(!world.last_update.contains("application/sdp"));
    assert_eq!(world.phones[0].end(), "cancelled");
    world.user_ends(Cause::Answered);
    world.drain();
    assert_eq!((world.cause(), world.phones[1].end().as_str()), ("answered", "BYE"));
    world.assert_empty();
}

#[test]
fn signalling_packets_that_are_lost_are_sent_again() {
    let mut world = World::new("");
    world.dial("anna");
    world.lose_signals = 100;
    world.user_accepts();
    world.drain();
    let knows = |world: &World| world.user.leg.as_ref().and_then(E2eeLeg::codec).is_some();
    assert!(!knows(&world), "the user knows nothing of our media");
    world.lose_signals = 0;
    world.run(6 * SECOND);
    assert!(knows(&world));
    world.hang_up(0);
    world.drain();
    world.assert_empty();
}

#[test]
fn media_that_is_not_closed_in_time_is_forgotten() {
    let mut world = World::new("");
    world.dial("anna");
    world.user_accepts();
    world.drain();
    world.hold_close = true;
    world.hang_up(0);
    world.drain();
    assert_eq!(world.cause(), "answered");
    world.run(4 * SECOND);
    assert_eq!(world.exchange.call_count(), 1, "its sockets may still be open");
    world.run(2 * SECOND);
    world.assert_empty();
}

/// Both say something at the same moment; neither has seen the other's word.
#[test]
fn what_crosses() {
    let outgoing = |first: fn(&mut World), second: fn(&mut World)| {
        let mut world = World::new("");
        world.dial("anna");
        first(&mut world);
        second(&mut world);
        world.drain();
        world.assert_empty();
        (world.cause(), world.phones[0].end())
    };
    let said = |cause: &'static str, phone: &str| (cause, phone.to_owned());
    // The phone gives up while the user accepts, and while it declines.
    assert_eq!(outgoing(|w| w.hang_up(0), World::user_accepts), said("hangup", "487"));
    assert_eq!(
        outgoing(|w| w.hang_up(0), |w| w.user_ends(Cause::Declined)),
        said("declined", "603")
    );
    // Both hang up.
    let both = |world: &mut World| {
        world.hang_up(0);
        world.user_ends(Cause::Answered);
    };
    let mut world = World::new("");
    world.dial("anna");
    world.user_accepts();
    world.drain();
    both(&mut world);
    world.drain();
    world.assert_empty();
    assert_eq!(world.cause(), "answered");
    // Two phones pick up at once: one has the call, the other is told that it was answered elsewhere.
    let mut world = World::new("").registered();
    world.user_dials("gw");
    world.pick_up(0);
    world.pick_up(1);
    world.drain();
    let ends = [world.phones[0].end(), world.phones[1].end()];
    assert!(ends == ["", "BYE"] || ends == ["BYE", ""], "{ends:?}");
    world.user_ends(Cause::Answered);
    world.drain();
    world.assert_empty();
    // The user gives up while the phone picks up.
    let mut world = World::new("").registered();
    world.user_dials("100@gw");
    world.user_ends(Cause::Hangup);
    world.pick_up(0);
    world.drain();
    world.assert_empty();
    assert_eq!((world.cause(), world.phones[0].end().as_str()), ("hangup", "BYE"));
}

/// Of two phones that do not take the call the caller hears what tells the most.
#[test]
fn refusals_of_several_phones() {
    for (first, second, cause) in [
        (486, 603, "declined"),
        (603, 486, "declined"),
        (480, 486, "busy"),
        (404, 480, "missed"),
        (500, 503, "network"),
    ] {
        let mut world = World::new("").registered();
        world.user_dials("gw");
        world.reject(0, first);
        world.drain();
        assert_eq!(world.exchange.call_count(), 1, "the other rings on");
        world.reject(1, second);
        world.drain();
        assert_eq!(world.cause(), cause, "{first} {second}");
        world.assert_empty();
    }
}

#[test]
fn limits_refuse_with_a_cause_each() {
    let refused = |conf: &str, dials: usize| {
        let mut world = World::new(conf);
        for _ in 0..dials {
            world.dial("anna");
        }
        let ends = world.phones[0].end();
        let causes: Vec<_> = world.records.iter().map(|record| record.cause).collect();
        (ends, causes)
    };
    let (none, limit) = (String::new(), "limit");
    assert_eq!(refused("", 1), (none.clone(), vec![]));
    assert_eq!(refused("[limits]\ncalls = 1\n", 2), ("503".into(), vec![limit]));
    assert_eq!(
        refused("[limits]\ncalls_per_phone = 1\n", 2),
        ("486".into(), vec!["busy"])
    );
    assert_eq!(
        refused("[limits]\ncalls_per_minute_phone = 2\n", 2),
        ("480".into(), vec![limit])
    );
    assert_eq!(
        refused("[limits]\ncalls_per_minute_callee = 2\n", 2),
        ("480".into(), vec![limit])
    );
    assert_eq!(
        refused("[limits]\ncalls_per_minute_route = 2\n", 2),
        ("480".into(), vec![limit])
    );
    // The last phone that a user may ring has had its calls.
    let mut world = World::new("[limits]\ncalls_per_minute_callee = 2\n").registered();
    for seed in 0..2 {
        world.user_dials_as(seed, "100@gw");
        world.user_ends(Cause::Hangup);
        world.drain();
    }
    let causes: Vec<_> = world.records.iter().map(|record| record.cause).collect();
    assert_eq!(causes, ["hangup", limit]);
    // A phone that others ring may call: it has not done that itself.
    let mut world = World::new("[limits]\ncalls_per_phone = 1\n").registered();
    world.user_dials("100@gw");
    world.dial("anna");
    assert_eq!(world.phones[0].end(), "");
    assert_eq!(world.exchange.call_count(), 2);
    // One that has as many calls as it may is busy.
    let mut world = World::new("[limits]\ncalls_per_phone = 1\n").registered();
    world.dial("anna");
    world.user_dials("100@gw");
    assert_eq!(world.cause(), "busy");
    // Who rings a phone unanswered has half of its places, and others reach it.
    let mut world = World::new("[limits]\ncalls_per_minute_callee = 100\n").registered();
    let mut rings = |seed: u64| {
        world.user.leg = None;
        world.user_dials_as(seed, "100@gw");
        world.drain();
        world.exchange.call_count()
    };
    assert_eq!((0..4).map(&mut rings).collect::<Vec<_>>(), [1, 2, 2, 2]);
    assert_eq!(world.records[0].cause, "busy");
    // A key exchange that the machine has no room for.
    let mut world = World::new("");
    world.overload = true;
    world.dial("anna");
    world.assert_empty();
    assert_eq!((world.cause(), world.phones[0].end().as_str()), (limit, "503"));
    // No route, nobody of that name, no phone registered.
    for (number, cause) in [("a%20b", "unknown"), ("nobody", "unknown")] {
        let mut world = World::new("");
        world.dial(number);
        world.drain();
        assert_eq!(world.cause(), cause, "{number}");
        world.assert_empty();
    }
    for (to, cause) in [("100@gw", "offline"), ("999@gw", "declined"), ("x@gw", "declined")] {
        let mut world = World::new("");
        world.user_dials(to);
        assert_eq!(world.cause(), cause, "{to}");
        world.assert_empty();
    }
}

#[test]
fn the_exchanges_are_offered_in_the_order_of_the_network() {
    let mut world = World::new("");
    world.user.is_silent = true;
    world.dial("anna");
    let requested = world.user.requested.as_ref().expect("a request");
    let offered: Vec<_> = requested.offers.iter().map(|offer| offer.exchange).collect();
    assert_eq!(offered, world.user.adapter.terms().key_exchanges);
}

#[test]
fn a_user_who_reveals_another_value_than_announced_is_not_connected() {
    let mut world = World::new("").registered();
    world.user.is_lying = true;
    world.user_dials("100@gw");
    world.pick_up(0);
    world.drain();
    // Who picked up hears why.
    world.play_out();
    assert_eq!((world.cause(), world.phones[0].end().as_str()), ("key_exchange", "BYE"));
    assert_eq!(world.bridged, []);
    world.assert_empty();
}

#[test]
fn wrong_logins_are_slowed_as_the_settings_say() {
    let mut world = World::new("[limits]\nlogin_failures = 2\nlogin_interval = \"3s\"\n");
    world.phones[0].password = "battery-staple";
    for failures in 0..2 {
        assert_eq!(world.exchange.locked(world.now).len(), 0, "{failures}");
        world.dial("anna");
    }
    assert_eq!(world.exchange.locked(world.now).len(), 1);
    world.phones[0].password = PASSWORD;
    world.dial("anna");
    assert_eq!(world.exchange.call_count(), 0, "not judged");
    world.run(4 * SECOND);
    world.dial("anna");
    assert_eq!(world.exchange.call_count(), 1);
}

#[test]
fn the_operator_unlocks_a_source_and_is_told_whether_it_was_locked() {
    let mut world = World::new("[limits]\nlogin_failures = 1\n");
    world.phones[0].password = "battery-staple";
    world.dial("anna");
    let source = world.exchange.locked(world.now).remove(0).source.expect("a source");
    world.phones[0].password = PASSWORD;
    assert!(!world.exchange.unlock(world.now, "203.0.113.9"), "it was not locked");
    world.dial("anna");
    assert_eq!(world.exchange.call_count(), 0);
    assert!(world.exchange.unlock(world.now, &source.to_string()));
    world.dial("anna");
    assert_eq!(world.exchange.call_count(), 1);
}

#[test]
fn what_was_only_counted_is_told_after_a_minute_or_at_the_end() {
    let refused = || {
        let mut world = World::new("[limits]\ncalls_per_minute_phone = 2\n");
        for _ in 0..10 {
            world.dial("anna");
        }
        world
    };
    let count = |world: &World| {
        let refused = world.records.iter().filter(|record| record.cause == "limit");
        refused.map(|record| record.count).sum::<u32>()
    };
    let mut world = refused();
    assert_eq!(count(&world), 1, "the others are counted");
    world.run(61 * SECOND);
    assert_eq!(count(&world), 9);
    let mut world = refused();
    world.exchange.stop(world.now);
    world.drain();
    world.exchange.tell_all_summaries(world.now);
    world.drain();
    assert_eq!(count(&world), 9);
}

/// The keys of the handset, by RFC 4733 through media: `*1` speaks once more, `*9` ends the call as a mismatch.
#[test]
fn the_emojis_are_spoken_and_checked() {
    let press = |world: &mut World, keys: &str| {
        let leg = world.leg_over("rtp").expect("the phone's media");
        for digit in keys.chars() {
            world.exchange.handle_media(world.now, MediaEvent::Dtmf { leg, digit });
            world.drain();
        }
    };
    let talking = |conf: &str| {
        let mut world = World::new(conf);
        world.dial("anna");
        world.user_accepts();
        world.drain();
        world
    };
    let mut world = talking("");
    world.play_out();
    press(&mut world, "*1");
    assert_eq!(world.spoken.len(), 2);
    world.play_out();
    press(&mut world, "*9");
    world.assert_empty();
    assert_eq!((world.cause(), world.phones[0].end().as_str()), ("mismatch", "BYE"));
    assert_eq!(world.records[0].verdict.word(), "mismatch");

    // However often it is asked for, one is made at a time, and begun once a second.
    let mut world = talking("");
    world.hold_jobs = true;
    press(&mut world, &"*1".repeat(1_000));
    assert_eq!(
        (world.held.len(), world.spoken.len()),
        (0, 1),
        "the first is being spoken"
    );
    world.run(SECOND);
    press(&mut world, &"*1".repeat(1_000));
    assert_eq!(world.held.len(), 1);
    world.release_jobs();
    assert_eq!((world.spoken.len(), world.plays.len()), (2, 2), "and played");
    assert_ne!(
        world.plays[0].1, world.plays[1].1,
        "the end of one is not that of the other"
    );
    world.play_out();
    world.hang_up(0);
    world.drain();
    assert_eq!(world.records[0].verdict.word(), "announced");

    let mut world = talking("[call]\nverify = \"confirm\"\n");
    world.play_out();
    press(&mut world, "1");
    world.play_out();
    world.hang_up(0);
    world.drain();
    assert_eq!(
        (world.cause(), world.records[0].verdict.word()),
        ("answered", "verified")
    );

    let mut world = talking("[call]\nverify = \"confirm\"\nconfirm_timeout = \"5s\"\n");
    world.play_out();
    world.run(6 * SECOND);
    world.hang_up(0);
    world.drain();
    assert_eq!(world.records[0].verdict.word(), "unverified");

    // What could not be made sound of was not announced.
    let mut world = World::new("");
    world.dial("anna");
    world.fail_speech = true;
    world.user_accepts();
    world.drain();
    assert_eq!(
        (world.exchange.call_count(), world.plays.len()),
        (1, 0),
        "the call goes on"
    );
    world.hang_up(0);
    world.drain();
    assert_eq!(world.records[0].verdict.word(), "unheard");

    // Nor can anybody confirm words that he has not heard.
    let mut world = World::new("[call]\nverify = \"confirm\"\n");
    world.dial("anna");
    world.fail_speech = true;
    world.user_accepts();
    world.drain();
    press(&mut world, "1");
    assert_eq!(world.spoken.len(), 0);
    world.hang_up(0);
    world.drain();
    assert_eq!(world.records[0].verdict.word(), "unheard");
}

/// What is asked for while sound is being made is said after that, and nothing is played to a call that is over.
#[test]
fn what_is_asked_for_meanwhile_is_not_lost() {
    let asked = || {
        let mut world = World::new("[call]\nverify = \"confirm\"\n");
        world.dial("anna");
        world.user_accepts();
        world.hold_speech = true;
        world.drain();
        let leg = world.leg_over("rtp").expect("the phone's media");
        world
            .exchange
            .handle_media(world.now, MediaEvent::Dtmf { leg, digit: '1' });
        world.drain();
        assert_eq!(
            (world.held.len(), world.plays.len()),
            (1, 0),
            "the question is being made"
        );
        world
    };
    let mut world = asked();
    world.hold_speech = false;
    world.release_jobs();
    assert_eq!(
        (world.spoken.len(), world.plays.len()),
        (2, 1),
        "the question is out of date"
    );
    world.hang_up(0);
    world.drain();
    assert_eq!(world.records[0].verdict.word(), "verified");
    let mut world = asked();
    world.hang_up(0);
    world.drain();
    world.hold_speech = false;
    world.release_jobs();
    assert_eq!(world.plays.len(), 0);
    world.assert_empty();
}

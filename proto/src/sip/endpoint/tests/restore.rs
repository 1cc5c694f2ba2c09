//! A gateway that was killed and started again knows its phones.

use super::*;
use crate::sip::registrar::SavedBinding;

/// The bindings of account 100 after its phone has registered, and what was seen on the way.
fn registered() -> (World, Vec<SavedBinding>) {
    let mut world = World::new(1);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let saved = world.gateway().bindings("100");
    (world, saved)
}

/// The gateway is another process now, with the same accounts and addresses.
fn restart(world: &mut World) {
    let mut fresh = World::new(2);
    world.nodes[GATEWAY] = fresh.nodes.swap_remove(GATEWAY);
}

fn restore(world: &mut World, user: &str, saved: Vec<SavedBinding>) -> usize {
    let now = world.now;
    world.gateway().restore_bindings(now, user, saved);
    assert_eq!(world.gateway().poll_event(), None, "nothing has changed");
    world.gateway().contacts(now, user).len()
}

#[test]
pub(super) fn a_restored_phone_rings_and_expires_as_it_would_have() {
    let (mut world, saved) = registered();
    assert_eq!(saved.len(), 1);
    restart(&mut world);
    assert_eq!(world.gateway().bindings("100"), []);
    assert_eq!(restore(&mut world, "100", saved.clone()), 1);
    assert_eq!(world.gateway().bindings("100"), saved, "all fields are as they were");
    world.ring_phone(Some(b"offer"));
    world.second();
    world.incoming(PHONE);
    world.run(Duration::from_secs(597));
    let now = world.now;
    assert_eq!(world.gateway().contacts(now, "100").len(), 1);
    world.run(Duration::from_secs(2));
    assert!(
        world.events(GATEWAY).iter().any(
            |e| matches!(e, SipEvent::ContactChanged { change: ContactChange::Expired, user, .. } if user == "100")
        )
    );
}

#[test]
pub(super) fn a_restored_phone_refreshes_its_binding_and_takes_it_back() {
    let (mut world, saved) = registered();
    restart(&mut world);
    restore(&mut world, "100", saved.clone());
    for (expires, contacts) in [(600, 1), (0, 0)] {
        world.register(PHONE, "100", "secret", expires);
        world.second();
        let now = world.now;
        assert_eq!(world.gateway().contacts(now, "100").len(), contacts);
    }
    let changes = world.events(GATEWAY).into_iter().filter_map(|e| {
        if let SipEvent::ContactChanged { change, .. } = e {
            Some(change)
        } else {
            None
        }
    });
    let expected = [ContactChange::Refreshed, ContactChange::Removed];
    assert_eq!(changes.collect::<Vec<_>>(), expected);
    // Bindings that are there are newer than what was stored.
    world.register(PHONE, "100", "secret", 300);
    world.second();
    let current = world.gateway().bindings("100");
    restore(&mut world, "100", saved);
    assert_eq!(world.gateway().bindings("100"), current);
}

#[test]
pub(super) fn an_older_register_stays_refused_after_a_restart() {
    let (mut world, mut saved) = registered();
    restart(&mut world);
    // As if a later REGISTER of the same Call-ID had been the last that was stored.
    saved[0].cseq += 10;
    restore(&mut world, "100", saved);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let events = world.events(PHONE);
    assert!(
        matches!(events.last(), Some(SipEvent::RegisterFailed { status: 500, .. })),
        "{events:?}"
    );
}

#[test]
pub(super) fn what_no_longer_holds_is_not_restored() {
    let (world, saved) = registered();
    let changed = |change: &dyn Fn(&mut SavedBinding)| {
        let mut saved = saved.clone();
        change(&mut saved[0]);
        saved
    };
    let now = world.now;
    let stale: [(&str, &str, Vec<SavedBinding>); 4] = [
        ("the account is gone", "109", saved.clone()),
        ("it has expired", "100", changed(&|b| b.contact.expires = now)),
        ("no URI", "100", changed(&|b| b.contact.uri = "sip".into())),
        ("not SIP", "100", changed(&|b| b.contact.uri = "tel:100".into())),
    ];
    for (why, user, saved) in stale {
        let (mut world, _) = registered();
        restart(&mut world);
        assert_eq!(restore(&mut world, user, saved), 0, "{why}");
        world.run(Duration::from_secs(10_000));
    }
}

/// Seen when a clock that was years ahead was set right: a binding would have stood for those years.
#[test]
pub(super) fn no_restored_binding_outlives_the_longest_registration() {
    let (mut world, mut saved) = registered();
    restart(&mut world);
    saved[0].contact.expires += Duration::from_secs(10 * 365 * 86_400);
    assert_eq!(restore(&mut world, "100", saved), 1);
    world.run(Limits::default().max_expires + Duration::from_secs(1));
    let now = world.now;
    assert_eq!(world.gateway().contacts(now, "100").len(), 0);
}

#[test]
pub(super) fn an_account_that_may_have_fewer_contacts_keeps_the_latest() {
    let (mut world, saved) = registered();
    restart(&mut world);
    let many: Vec<_> = (0..5)
        .map(|n| {
            let mut saved = saved[0].clone();
            saved.contact.uri = format!("sip:phone{n}@192.0.2.2:5060");
            saved
        })
        .collect();
    assert_eq!(restore(&mut world, "100", many.clone()), 3);
    assert_eq!(world.gateway().bindings("100"), many[2..]);
}

/// Seen with an address that came by DHCP, or went with its Wi-Fi: what was registered at it rang no more.
#[test]
pub(super) fn a_phone_that_came_to_an_address_that_is_gone_is_called_from_another() {
    let (mut world, saved) = registered();
    let gone = saved[0].contact.five_tuple.local;
    let bound = |texts: &str| -> Vec<(Protocol, SocketAddr)> {
        texts
            .split_whitespace()
            .map(|text| (Protocol::Udp, text.parse().unwrap()))
            .collect()
    };
    let here = format!("{gone} 198.51.100.9:5060");
    let rows = [
        // Nothing is there before DHCP: it stays as it was.
        ("", gone.to_string()),
        ("[2001:db8::1]:5060 127.0.0.1:5060", gone.to_string()),
        (
            "198.51.100.8:5070 198.51.100.9:5060 [2001:db8::1]:5060",
            "198.51.100.9:5060".to_owned(),
        ),
        ("198.51.100.8:5070", "198.51.100.8:5070".to_owned()),
        // It is back.
        (here.as_str(), gone.to_string()),
    ];
    for (addresses, from) in rows {
        // A gateway that starts with these, and one that comes to have them.
        for restarted in [true, false] {
            if restarted {
                restart(&mut world);
                world.gateway().set_local(bound(addresses));
                restore(&mut world, "100", saved.clone());
            }
            world.gateway().set_local(bound(addresses));
            let now = world.now;
            let contacts = world.gateway().contacts(now, "100");
            assert_eq!(contacts[0].five_tuple.local.to_string(), from, "{addresses}");
            assert_eq!(
                world.gateway().bindings("100"),
                saved,
                "what is stored is what the phone did"
            );
        }
    }
}

/// After a reload that moved `listen`.
#[test]
pub(super) fn an_address_that_is_retired_serves_its_calls_and_nothing_new() {
    let mut world = World::new(1);
    let (ours, theirs) = world.confirmed();
    let old = world.nodes[GATEWAY].address;
    let retired = (Protocol::Udp, old);
    let new: SocketAddr = "192.0.2.1:5070".parse().unwrap();
    world.gateway().set_local(vec![(Protocol::Udp, new)]);
    world.gateway().set_retired([retired]);
    assert!(world.gateway().is_used(retired));
    // No register, no call, no sign of life.
    world.register(PHONE, "100", "secret", 600);
    let call = world.dial("200", Some(b"offer"));
    world.run(Duration::from_secs(3));
    let now = world.now;
    assert_eq!(
        (world.gateway().contacts(now, "100"), world.called(GATEWAY)),
        (Vec::new(), None)
    );
    world.hangup(PHONE, call);
    // The call that stands is asked and ended where it began.
    world.packets.clear();
    world.command(GATEWAY, SipCommand::Probe { dialog: theirs }).unwrap();
    world.second();
    let via = format!("Via: SIP/2.0/UDP {old}");
    assert!(
        world.packets[0].starts_with("OPTIONS ") && world.packets[0].contains(&via),
        "{:?}",
        world.packets
    );
    assert!(world.packets[1].starts_with("SIP/2.0 200 "), "{:?}", world.packets);
    world.hangup(PHONE, ours);
    world.second();
    let ended = |event: &SipEvent| matches!(event, SipEvent::Bye { .. });
    assert!(world.events(GATEWAY).iter().any(ended));
    world.run(Duration::from_secs(40));
    assert!(!world.gateway().is_used(retired));
}

#[test]
pub(super) fn another_password_ends_what_was_registered_with_the_old_one() {
    for (password, contacts) in [("secret", 1), ("another", 0)] {
        let (mut world, _) = registered();
        world.gateway().set_accounts(vec![account("100", password)]);
        let now = world.now;
        assert_eq!(world.gateway().contacts(now, "100").len(), contacts, "{password}");
    }
}

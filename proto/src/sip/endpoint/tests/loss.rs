//! Calls over a bad net: every one is told its end, and nothing remains of it.

use super::*;

#[test]
fn under_heavy_loss_every_call_is_told_its_end_and_nothing_remains() {
    let mut world = World::new(36);
    (world.loss, world.doubled, world.jitter) = (30, 10, 300);
    let (mut answered, mut confirmed) = (0, 0);
    for round in 0..1000_u64 {
        let ours = world.dial("200", if round % 5 == 0 { None } else { Some(b"offer") });
        world.run(Duration::from_millis(100 + round % 7 * 300));
        let theirs = world.called(GATEWAY);
        if let Some(dialog) = theirs {
            // Commands may cross events here: that they are refused then is right.
            let _ = match round % 4 {
                0 => world.command(
                    GATEWAY,
                    SipCommand::Reject {
                        dialog,
                        status: 486,
                        reason: None,
                        retry_after: None,
                    },
                ),
                _ => world.command(
                    GATEWAY,
                    SipCommand::Accept {
                        dialog,
                        body: Some(b"a".to_vec()),
                        identity: None,
                        headers: Vec::new(),
                    },
                ),
            };
        }
        world.run(Duration::from_millis(round % 3 * 500));
        let _ = world.command(
            PHONE,
            SipCommand::Ack {
                dialog: ours,
                body: None,
            },
        );
        let _ = world.command(
            PHONE,
            SipCommand::Hangup {
                dialog: ours,
                reason: None,
            },
        );
        if let Some(dialog) = theirs.filter(|_| round % 2 == 0) {
            let _ = world.command(GATEWAY, SipCommand::Hangup { dialog, reason: None });
        }
        answered += world
            .events(PHONE)
            .iter()
            .filter(|e| matches!(e, SipEvent::Accepted { .. }))
            .count();
        confirmed += world
            .events(GATEWAY)
            .iter()
            .filter(|e| matches!(e, SipEvent::Confirmed { .. }))
            .count();
        world.packets.clear();
        world.ladder.clear();
    }
    // Calls whose INVITE came after its caller had given up wait for the TU: it refuses.
    world.run(Duration::from_secs(70));
    for dialog in 0..3000 {
        let _ = world.command(
            GATEWAY,
            SipCommand::Hangup {
                dialog: DialogKey(dialog),
                reason: None,
            },
        );
    }
    assert!(
        answered > 50 && confirmed > 50,
        "{answered} answered, {confirmed} confirmed"
    );
    world.assert_empty();
}

#[test]
fn most_calls_succeed_under_thirty_percent_loss() {
    let mut world = World::new(37);
    world.loss = 30;
    let mut good = 0;
    for _ in 0..200 {
        world.events(GATEWAY);
        let ours = world.dial("200", Some(b"offer"));
        world.run(Duration::from_secs(20));
        let incoming = world.events(GATEWAY);
        if let [SipEvent::Incoming { dialog: theirs, .. }] = incoming[..] {
            world.accept(GATEWAY, theirs);
            world.run(Duration::from_secs(20));
            let confirmed = SipEvent::Confirmed {
                dialog: theirs,
                body: None,
            };
            good += usize::from(world.events(GATEWAY) == [confirmed]);
        }
        // It may have ended already: then the command is refused.
        let _ = world.command(
            PHONE,
            SipCommand::Hangup {
                dialog: ours,
                reason: None,
            },
        );
        world.run(Duration::from_secs(70));
        let ends = |e: &&SipEvent| {
            matches!(
                e,
                SipEvent::Ended { .. } | SipEvent::Rejected { .. } | SipEvent::Bye { .. }
            )
        };
        assert_eq!(
            world.events(PHONE).iter().filter(ends).count(),
            1,
            "every call is told its end, once"
        );
    }
    assert!(good >= 180, "{good} of 200");
    world.loss = 0;
    world.assert_empty();
}

//! What is left, and what is told, when something ends in the middle of something else.

use super::*;

/// The INVITE of the confirmed call once more, within its dialog.
fn reinvite(world: &World, cseq: u32) -> String {
    let invite = world.packets.iter().rfind(|p| p.starts_with("INVITE")).unwrap();
    let ack = world.packets.iter().rfind(|p| p.starts_with("ACK")).unwrap();
    let to = ack.lines().find(|l| l.starts_with("To: ")).unwrap();
    let lines = invite.lines().take_while(|l| !l.is_empty()).map(|line| match line {
        line if line.starts_with("To: ") => to.to_owned(),
        line if line.starts_with("CSeq") => format!("CSeq: {cseq} INVITE"),
        line if line.starts_with("Via") => format!("Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKre{cseq}"),
        line if line.starts_with("Content-Length") => "Content-Length: 0".to_owned(),
        line => line.to_owned(),
    });
    format!("{}\r\n\r\n", lines.collect::<Vec<_>>().join("\r\n"))
}

#[test]
pub(super) fn a_call_whose_ack_is_lost_ends_once_although_no_bye_fits_in() {
    let mut world = World::new(81);
    world.filter = Some(Box::new(|packet| packet.starts_with("ACK")));
    world.dial("200", Some(b"offer"));
    world.second();
    let theirs = world.incoming(GATEWAY);
    world.accept(GATEWAY, theirs);
    world.second();
    world.events(GATEWAY);
    world.gateway().config.limits.client_transactions = 0;
    world.run(Duration::from_secs(40));
    assert_eq!(world.events(GATEWAY), [SipEvent::Lost { dialog: theirs }]);
    assert!(
        world.ladder().contains("gateway -> phone: BYE"),
        "it is said once, at least"
    );
    world.assert_empty();
}

#[test]
pub(super) fn a_reinvite_that_is_open_when_the_peer_forgets_the_call_is_answered() {
    let mut world = World::new(82);
    let (_, theirs) = world.confirmed();
    world.filter = Some(Box::new(|packet| packet.starts_with("INFO")));
    let (content_type, body) = ("application/dtmf-relay".to_owned(), b"Signal=1".to_vec());
    let info = SipCommand::Info {
        dialog: theirs,
        content_type,
        body,
    };
    world.command(GATEWAY, info).unwrap();
    let again = reinvite(&world, 10);
    world.inject(GATEWAY, "192.0.2.2:5060", again.as_bytes());
    world.run(Duration::from_secs(40));
    let events = world.events(GATEWAY);
    let reinvited = SipEvent::Reinvite {
        dialog: theirs,
        body: None,
    };
    assert_eq!(events, [reinvited, SipEvent::Lost { dialog: theirs }]);
    let answered = |p: &String| p.starts_with("SIP/2.0 481") && p.contains("CSeq: 10 INVITE");
    assert!(world.packets.iter().any(answered));
    world.run(Duration::from_secs(200));
    assert_eq!(
        world.gateway().server_transactions.len(),
        0,
        "transactions of the gateway"
    );
}

#[test]
pub(super) fn a_peer_is_asked_whether_it_is_there() {
    let mut world = World::new(84);
    let (_, theirs) = world.confirmed();
    world.command(GATEWAY, SipCommand::Probe { dialog: theirs }).unwrap();
    world.run(Duration::from_secs(40));
    assert_eq!(world.events(GATEWAY), [], "it is");
    world.filter = Some(Box::new(|packet| packet.starts_with("OPTIONS")));
    world.command(GATEWAY, SipCommand::Probe { dialog: theirs }).unwrap();
    world.run(Duration::from_millis(4_900));
    assert_eq!(world.events(GATEWAY), []);
    world.run(Duration::from_millis(200));
    assert_eq!(world.events(GATEWAY), [SipEvent::Lost { dialog: theirs }]);
    // Only the OPTIONS was lost: the phone must not stand in a call that is over.
    world.second();
    assert!(matches!(world.events(PHONE)[..], [SipEvent::Bye { .. }]));
}

#[test]
pub(super) fn a_registration_that_was_taken_back_is_forgotten() {
    let mut world = World::new(83);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    assert_eq!(world.nodes[PHONE].endpoint.outbound_registrations.len(), 1);
    world.register(PHONE, "100", "secret", 0);
    world.second();
    assert_eq!(world.nodes[PHONE].endpoint.outbound_registrations.len(), 0);
    world.events(PHONE);
    world.register(PHONE, "100", "secret", 600);
    world.second();
    let expires = Duration::from_secs(600);
    let registered = SipEvent::Registered {
        registration: 1,
        expires,
    };
    assert_eq!(world.events(PHONE), [registered]);
}

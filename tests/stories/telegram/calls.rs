//! Calls between accounts, and what can go wrong with them.

use std::time::{Duration, Instant};

use quartet::networks::telegram::frame::Report;
use quartet::networks::{DiscardReason, KeyExchange, Network as _, NetworkCall, NetworkCommand, NetworkEvent, Refusal};
use quartet_tests::telegram::{DataCentre, Fault, Served, User, auth_key};
use tokio::time::timeout;

use super::party::{Folder, Party, SOON};

/// A data centre with two accounts that are logged in.
async fn two(folder: &Folder) -> (Served, Party, Party) {
    let users = vec![User::new(1_001, "Alice"), User::new(1_003, "Gateway")];
    two_at(folder, DataCentre::new(users, 2)).await
}

async fn two_at(folder: &Folder, mut centre: DataCentre) -> (Served, Party, Party) {
    centre.log_in(auth_key("alice"), 1_001);
    centre.log_in(auth_key("main"), 1_003);
    let served = Served::start(centre, [127, 0, 0, 1].into()).await.expect("it listens");
    folder.prepare("alice", served.address(), Some(1_001));
    folder.prepare("main", served.address(), Some(1_003));
    let (mut gateway, mut alice) = (Party::start(folder, "main"), Party::start(folder, "alice"));
    gateway.up().await;
    alice.up().await;
    (served, gateway, alice)
}

#[tokio::test]
async fn two_accounts_call_each_other_step_by_step() {
    let folder = Folder::new("call");
    let (served, mut gateway, mut alice) = two(&folder).await;
    let (ours, theirs) = (vec![3; 256], vec![2; 256]);
    let call = gateway.call(1, "main/@alice", &ours);
    // The account's own name is the one of the settings.
    let NetworkEvent::Requested(request) = both(&mut gateway, &mut alice).await else {
        panic!("it is told");
    };
    let there = request.call;
    assert_eq!((request.from.as_str(), request.to.as_str()), ("@gateway", "main"));
    alice.command(NetworkCommand::Received { call: there });
    assert_eq!(both(&mut alice, &mut gateway).await, NetworkEvent::Received { call });
    alice.command(NetworkCommand::Accept {
        call: there,
        exchange: KeyExchange::Dh2048,
        public: theirs.clone(),
        version: "13.0.0".to_owned(),
    });
    let accepted = both(&mut alice, &mut gateway).await;
    assert!(
        matches!(&accepted, NetworkEvent::Accepted { public, version, .. } if *public == theirs && version == "13.0.0")
    );
    let fingerprint = -7;
    gateway.command(NetworkCommand::Confirm {
        call,
        public: ours.clone(),
        fingerprint,
    });
    assert!(matches!(gateway.event().await, NetworkEvent::Servers { .. }));
    let confirmed = alice.event().await;
    assert!(matches!(&confirmed, NetworkEvent::Confirmed { public, fingerprint: -7, .. } if *public == ours));
    assert!(matches!(alice.event().await, NetworkEvent::Servers { .. }));
    let packet = vec![9; 100];
    gateway.command(NetworkCommand::Signal {
        call,
        packet: packet.clone(),
    });
    let signal = both(&mut gateway, &mut alice).await;
    assert_eq!(signal, NetworkEvent::Signal { call: there, packet });
    alice.command(NetworkCommand::Discard {
        call: there,
        reason: DiscardReason::Hangup,
        duration: Duration::from_secs(3),
    });
    let reason = DiscardReason::Hangup;
    assert_eq!(
        both(&mut alice, &mut gateway).await,
        NetworkEvent::Discarded { call, reason }
    );
    assert_eq!(served.count(1_003, "phone.requestCall"), 1);
    assert!(served.centre().closed.is_empty());
}

/// Lets the first say what it has to, and waits for what the second tells.
async fn both(first: &mut Party, second: &mut Party) -> NetworkEvent {
    tokio::select! {
        event = second.event() => event,
        told = first.event() => panic!("{told:?}"),
    }
}

#[tokio::test]
async fn each_fault_of_the_service_ends_a_call_with_its_reason_and_one_request() {
    let folder = Folder::new("faults");
    let (served, mut gateway, _alice) = two(&folder).await;
    for (number, (fault, why)) in [
        ("USER_PRIVACY_RESTRICTED", Refusal::Forbidden),
        ("USER_IS_BLOCKED", Refusal::Forbidden),
        ("CALL_OCCUPY_FAILED", Refusal::Busy),
        ("PARTICIPANT_VERSION_OUTDATED", Refusal::Incompatible),
    ]
    .into_iter()
    .enumerate()
    {
        let error = Fault::Error("phone.requestCall", 400, fault.to_owned());
        served.centre().service.faults.push_back(error);
        let before = served.count(1_003, "phone.requestCall");
        let call = gateway.call(number as u8 + 1, "main/@alice", &[1]);
        assert_eq!(gateway.event().await, NetworkEvent::Refused { call, why }, "{fault}");
        assert_eq!(served.count(1_003, "phone.requestCall"), before + 1, "{fault}");
    }
    let call = gateway.call(90, "main/@nobody", &[1]);
    let why = Refusal::UnknownUser;
    assert_eq!(gateway.event().await, NetworkEvent::Refused { call, why });
    // A pause is honoured without a further request.
    let flood = Fault::Error("phone.requestCall", 420, "FLOOD_WAIT_50".to_owned());
    served.centre().service.faults.push_back(flood);
    gateway.call(91, "main/@alice", &[1]);
    let retry_after = Duration::from_secs(50);
    assert!(matches!(
        gateway.event().await,
        NetworkEvent::Refused { why: Refusal::RateLimited { retry_after: said }, .. } if said == retry_after
    ));
    let before = served.centre().service.requests.len();
    gateway.call(92, "main/@alice", &[1]);
    assert!(matches!(
        gateway.event().await,
        NetworkEvent::Refused {
            why: Refusal::RateLimited { .. },
            ..
        }
    ));
    assert_eq!(served.centre().service.requests.len(), before);
}

#[tokio::test]
async fn a_connection_that_is_gone_comes_back_and_a_session_that_is_revoked_does_not() {
    let folder = Folder::new("gone");
    let (served, mut gateway, mut alice) = two(&folder).await;
    served.open(false);
    served.open(true);
    // The next call arrives over a new connection.
    let end = Instant::now() + SOON;
    loop {
        let call = alice.call(1, "main/@gateway", &[1]);
        let told = timeout(Duration::from_secs(3), both(&mut alice, &mut gateway)).await;
        if let Ok(NetworkEvent::Requested(request)) = told {
            gateway.command(NetworkCommand::Discard {
                call: request.call,
                reason: DiscardReason::Hangup,
                duration: Duration::ZERO,
            });
            break;
        }
        alice.command(NetworkCommand::Discard {
            call,
            reason: DiscardReason::Hangup,
            duration: Duration::ZERO,
        });
        assert!(Instant::now() < end, "it does not come back");
    }
    served.centre().revoke(1_003);
    gateway.call(2, "main/@alice", &[1]);
    let out = |party: &mut Party, _| {
        let gone = party
            .said
            .iter()
            .any(|word| matches!(word, Report::Out(why) if why == "AUTH_KEY_UNREGISTERED"));
        gone.then_some(())
    };
    gateway.wait(out).await;
    assert!(!gateway.phone.is_up());
}

/// The call of a that b is told of.
async fn requested(a: &mut Party, b: &mut Party) -> NetworkCall {
    let told = both(a, b).await;
    let NetworkEvent::Requested(request) = told else {
        panic!("{told:?}")
    };
    request.call
}

fn discard(party: &mut Party, call: NetworkCall) {
    party.command(NetworkCommand::Discard {
        call,
        reason: DiscardReason::Hangup,
        duration: Duration::ZERO,
    });
}

#[tokio::test]
async fn updates_that_come_twice_are_told_once_and_one_that_is_lost_ends_the_call_in_time() {
    let folder = Folder::new("updates");
    let mut centre = DataCentre::new(vec![User::new(1_001, "Alice"), User::new(1_003, "Gateway")], 6);
    centre.service.timers = (2_000, 3_000);
    let (served, mut gateway, mut alice) = two_at(&folder, centre).await;
    served.centre().service.faults.push_back(Fault::Twice(3));
    let call = gateway.call(1, "main/@alice", &[1]);
    let there = requested(&mut gateway, &mut alice).await;
    alice.command(NetworkCommand::Received { call: there });
    assert_eq!(both(&mut alice, &mut gateway).await, NetworkEvent::Received { call });
    discard(&mut alice, there);
    let reason = DiscardReason::Declined;
    assert_eq!(
        both(&mut alice, &mut gateway).await,
        NetworkEvent::Discarded { call, reason }
    );
    // It rings, and that somebody has taken it is not told.
    let call = gateway.call(2, "main/@alice", &[1]);
    let there = requested(&mut gateway, &mut alice).await;
    alice.command(NetworkCommand::Received { call: there });
    assert_eq!(both(&mut alice, &mut gateway).await, NetworkEvent::Received { call });
    served.centre().service.faults.push_back(Fault::Drop(1));
    alice.command(NetworkCommand::Accept {
        call: there,
        exchange: KeyExchange::Dh2048,
        public: vec![2; 256],
        version: "9.0.0".to_owned(),
    });
    let reason = DiscardReason::Missed;
    let told = with_time(&mut alice, &mut gateway).await;
    assert_eq!(told, NetworkEvent::Discarded { call, reason });
    assert_eq!(served.count(1_003, "phone.requestCall"), 2);
    // Whoever took it has waited for the value in vain.
    let why = Refusal::Lost;
    assert_eq!(
        with_time(&mut gateway, &mut alice).await,
        NetworkEvent::Refused { call: there, why }
    );
    until(&mut alice, &mut gateway, || {
        served.count(1_001, "phone.discardCall") == 2
    })
    .await;
    // That there is a call is not told: nobody has it.
    served.centre().service.faults.push_back(Fault::Drop(1));
    let call = gateway.call(3, "main/@alice", &[1]);
    let why = Refusal::Offline;
    assert_eq!(
        with_time(&mut alice, &mut gateway).await,
        NetworkEvent::Refused { call, why }
    );
    assert_eq!(served.count(1_003, "phone.requestCall"), 3);
}

/// Lets both say what they have to until that is so; nothing is told.
async fn until(first: &mut Party, second: &mut Party, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        let told = timeout(Duration::from_millis(20), both(first, second)).await;
        assert!(told.is_err() && Instant::now() < end, "{told:?}");
    }
}

/// As [`both`], with time that passes for the second.
async fn with_time(first: &mut Party, second: &mut Party) -> NetworkEvent {
    let end = Instant::now() + SOON;
    loop {
        second.phone.handle_timeout(Instant::now());
        let told = timeout(Duration::from_millis(200), both(first, second)).await;
        if let Ok(told) = told {
            return told;
        }
        assert!(Instant::now() < end, "nothing is told");
    }
}

#[tokio::test]
async fn a_call_that_another_device_takes_is_over_here_and_quiet() {
    let folder = Folder::new("elsewhere");
    let mut centre = DataCentre::new(vec![User::new(1_001, "Alice"), User::new(1_003, "Gateway")], 7);
    centre.log_in(auth_key("app"), 1_003);
    let (served, mut gateway, mut alice) = two_at(&folder, centre).await;
    folder.prepare("app", served.address(), Some(1_003));
    let mut app = Party::start(&folder, "app");
    app.up().await;
    alice.call(1, "main/@gateway", &[1]);
    let here = requested(&mut alice, &mut gateway).await;
    let NetworkEvent::Requested(there) = app.event().await else {
        panic!("it rings in the app as well")
    };
    gateway.command(NetworkCommand::Received { call: here });
    app.command(NetworkCommand::Received { call: there.call });
    app.command(NetworkCommand::Accept {
        call: there.call,
        exchange: KeyExchange::Dh2048,
        public: vec![2; 256],
        version: "9.0.0".to_owned(),
    });
    let why = Refusal::Elsewhere;
    assert_eq!(
        both(&mut app, &mut gateway).await,
        NetworkEvent::Refused { call: here, why }
    );
    assert_eq!(
        (served.count(1_003, "phone.discardCall"), gateway.phone.calls()),
        (0, 0)
    );
}

#[tokio::test]
async fn both_hang_up_at_once_and_the_next_call_goes_well() {
    let folder = Folder::new("once");
    let (served, mut gateway, mut alice) = two(&folder).await;
    for number in 1..4 {
        let call = gateway.call(number, "main/@alice", &[1]);
        let there = requested(&mut gateway, &mut alice).await;
        discard(&mut gateway, call);
        discard(&mut alice, there);
        // Both say so; one of the two is too late, and nobody minds.
        let said = || served.count(1_003, "phone.discardCall") + served.count(1_001, "phone.discardCall");
        until(&mut gateway, &mut alice, || said() == 2 * usize::from(number)).await;
        assert_eq!((gateway.phone.calls(), alice.phone.calls()), (0, 0));
    }
}

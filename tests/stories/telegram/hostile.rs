//! A service that sends what nobody can read: it costs the client's process, and nothing else.

use std::time::{Duration, Instant};

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet_tests::house::{House, HouseSetup, hears, write_secret};
use quartet_tests::telegram::{DataCentre, Poison, Served, User, auth_key};

use super::party::{Folder, SOON};
use crate::PROGRAM;

const GATEWAY: i64 = 1_003;

async fn account_is(house: &House, word: &str) -> String {
    let end = Instant::now() + SOON;
    loop {
        let status = house.status().await;
        if status["telegram"]["main"] == word {
            return house.gateway.log();
        }
        assert!(Instant::now() < end, "{status}\n{}", house.gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hostile_service_sends_ends_a_client_and_no_call() {
    let folder = Folder::new("hostile");
    let mut centre = DataCentre::new(vec![User::new(GATEWAY, "Gateway")], 8);
    centre.log_in(auth_key("main"), GATEWAY);
    let served = Served::start(centre, [127, 0, 0, 1].into()).await.expect("it listens");
    folder.prepare("main", served.address(), Some(GATEWAY));
    let (session, key, hash) = (folder.session("main"), folder.key(), folder.session("hash"));
    write_secret(&hash, "0123456789abcdef").expect("written");
    let more = format!(
        "[call]\nverify = \"off\"\n[network.telegram.main]\napi_id = 1\napi_hash_file = {hash:?}\nsession_file = {session:?}\n\
         session_key_file = {key:?}\n"
    );
    let setup = HouseSetup {
        more: &more,
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    account_is(&house, "up").await;
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    House::talk(&mut desk, &mut anna).await;
    let pid = house.gateway.pid();
    for (count, poison) in [(1, Poison::Nested), (2, Poison::Packed)] {
        served.poison(GATEWAY, poison);
        let log = account_is(&house, "away").await;
        assert_eq!(
            log.matches("the client has ended and is started again").count(),
            count,
            "{log}"
        );
        // Until it is back the call has gone on.
        account_is(&house, "up").await;
        hears(desk.line(), 600.0).await;
        assert_eq!(house.gateway.pid(), pid);
    }
    let record = house.gateway.records();
    assert!(record.is_empty(), "{record:#?}");
    desk.hang_up();
    assert_eq!(house.record(1).await["cause"], "answered");
}

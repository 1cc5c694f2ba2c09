//! A desk phone registers, or is refused.

use std::sync::Arc;
use std::time::Instant;

use quartet::demo::line::Source;
use quartet::demo::phone::{self, Phone};
use quartet_tests::house::{House, PASSWORD, SOON};

use crate::PROGRAM;

async fn try_password(house: &House, password: &str) -> phone::Event {
    let setup = phone::Setup {
        gateway: house.gateway.sip().expect("the SIP address"),
        user: "100".into(),
        password: password.into(),
        codecs: vec!["pcmu".into()],
        source: Source::Silent,
        answers: false,
    };
    let mut phone = Phone::start(Arc::clone(&house.registry), setup).await.expect("the phone starts");
    phone.next(SOON).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_refused_then_slowed_then_locked() {
    let house = House::new(PROGRAM, "").await;
    let mut slow = 0;
    for failure in 1..=12 {
        let start = Instant::now();
        let event = try_password(&house, "wrong").await;
        let status = if failure < 10 { 401 } else { 403 };
        assert_eq!(event, phone::Event::Refused(status), "failure {failure}");
        if start.elapsed().as_millis() >= 1000 {
            slow += 1;
        }
    }
    assert!(slow >= 4, "failures 5 to 9 are answered after a second; {slow} were");
    assert_eq!(try_password(&house, PASSWORD).await, phone::Event::Refused(403), "locked for the right password too");
    let log = house.gateway.log();
    assert!(log.contains("login failed: user=\"100\" source=127.0.0.1 why=WrongPassword failures=1"), "{log}");
    assert!(!log.contains("wrong\""), "no password in a log");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_registers_and_the_phone_is_listed() {
    let house = House::new(PROGRAM, "").await;
    assert_eq!(try_password(&house, PASSWORD).await, phone::Event::Registered);
    let _desk = house.phone("101", false).await;
    let phones = house.gateway.ask(&quartet::io::control::Question::Phones).await.expect("phones");
    let users: Vec<_> = phones.as_array().expect("a list").iter().map(|row| row["user"].clone()).collect();
    assert!(users.contains(&"101".into()), "{phones}");
}

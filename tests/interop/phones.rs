//! Real SIP phones register.

use std::time::Duration;

use quartet_tests::peers;

use crate::calls::{desk, house};

#[tokio::test(flavor = "multi_thread")]
async fn baresip_registers_with_md5_and_is_refused_with_a_wrong_password() {
    let Some((house, _namespace)) = house("").await else { return };
    let _desk = desk(&house, "100", "pcmu", false);
    let phones = house.gateway.ask(&quartet::io::control::Question::Phones).await.expect("phones");
    assert_eq!(phones[0]["user"], "100", "{phones}");
    let wrong = quartet_tests::baresip::Setup {
        user: "101",
        password: "wrong",
        gateway: house.gateway.sip().expect("the SIP address"),
        codecs: "pcmu",
        auto_answer: false,
        tone_hz: 440,
    };
    let mut phone = quartet_tests::baresip::Baresip::start(&wrong).expect("baresip is installed");
    phone.wait_for("REGISTER_FAIL", Duration::from_secs(10));
    assert!(house.gateway.log().contains("login failed: user=\"101\""));
    peers::program("baresip");
}

//! What a user could tell: one file for each story, a real gateway process in each.
#![allow(missing_docs, reason = "tests")]

mod call_between_phones;
mod call_over_trunks;
mod check_the_conf_files;
mod crowd_at_the_hub;
mod dial_e2ee_user;
mod e2ee_user_calls;
mod encrypt_a_phones_media;
mod hostile_peer;
mod hub_elsewhere;
mod keep_secrets;
mod leave_nothing;
mod load_custom_plugin;
mod look_at_a_call;
mod lose_the_websocket;
mod many_calls;
mod register_desk_phone;
mod reload_the_conf_files;
mod repair_a_phones_media;
mod sip_over_streams;
mod survive_a_crash;
mod take_over_from_tg2sip;
mod telegram;
mod tell_of_sound;
mod verify_emoji;
mod why_it_ended;

/// The product, as cargo built it for these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quartet-under-test");

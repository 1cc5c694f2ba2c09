//! Calls that never ring, any number of them.

use quartet_proto::hub::{CallId, Event, ServerFrame};

use super::*;

/// Seen: a hostile hub had a record and a line of the log written for each of 65,000 calls a second.
#[test]
fn calls_of_any_number_of_callers_to_nobody_are_summed_up() {
    let mut world = World::new("");
    let mut kept = 0;
    for n in 0..20_000_u32 {
        let text = format!(
            r#"{{"verb":"call.request","call":"AAAAAAAAAAAAAAAAAAAAAA","from":"c{n}","to":"101@gw",
                "exchanges":[{{"name":"x25519","commitment":"{}"}}],"library_versions":["9.0.0"]}}"#,
            "A".repeat(43)
        );
        let Ok(ServerFrame::Event {
            event: Event::CallRequest(mut body),
            ..
        }) = ServerFrame::parse(&text)
        else {
            panic!("a request is one: {text}");
        };
        body.call = CallId(u128::from(n).to_be_bytes());
        let frame = ServerFrame::Event {
            event: Event::CallRequest(body),
            seq: None,
        };
        let text = frame.to_text();
        world.exchange.handle_frame(world.now, &hub_id(), text.as_bytes());
        while world.exchange.poll_frame().is_some() {}
        while let Some(change) = world.exchange.poll_change() {
            kept += usize::from(matches!(change, Change::Ended(_)));
        }
    }
    assert!((200..=1_400).contains(&kept), "{kept} records");
}

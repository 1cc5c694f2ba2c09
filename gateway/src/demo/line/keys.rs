//! Keys that are pressed on a line, as RFC 4733 events between its frames.

use quartet_proto::rtp::dtmf::Press;

use super::{Session, wire::send};

/// Puts a key in the line of those to press.
pub(super) fn press(session: Option<&mut Session>, key: char) {
    if let Some(stream) = session.and_then(|session| session.stream.as_mut())
        && let Some(event) = stream.codec.telephone_event
    {
        let interval = u16::try_from(event.clock / 50).unwrap_or(160);
        stream.keys.extend(Press::new(key, interval, interval * 5));
    }
}

/// Sends the next packet of the key that is pressed.
pub(super) fn press_on(session: &mut Session) {
    let Some(stream) = &mut session.stream else { return };
    let Some(event) = stream.codec.telephone_event else {
        return;
    };
    let stamp = *stream.key_stamp.get_or_insert(stream.sender.timestamp());
    let Some(step) = stream.keys[0].next() else {
        let scale = stream.clock / event.clock.max(1);
        stream.sender.skip(stream.keys[0].total() * scale.max(1));
        stream.keys.remove(0);
        stream.key_stamp = None;
        return;
    };
    send(session, &step.payload, |sender, packet| {
        sender.event(stamp, event.send_pt, step.marker, packet).is_ok()
    });
}

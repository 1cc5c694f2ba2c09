//! Any bytes as a stream of SIP, cut anywhere: the messages are the same as when all came at once, nothing panics, and no more is kept than
//! one message and what was read at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet_proto::sip::stream::{Broken, Piece, StreamBuffer};

fn take(buffer: &mut StreamBuffer, pieces: &mut Vec<Piece>) -> Option<Broken> {
    loop {
        match buffer.next_piece() {
            Ok(Some(piece)) => pieces.push(piece),
            Ok(None) => return None,
            Err(why) => return Some(why),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((step, bytes)) = data.split_first() else { return };
    let mut whole = StreamBuffer::default();
    whole.push(bytes);
    let mut expected = Vec::new();
    let end = take(&mut whole, &mut expected);
    let mut cut = StreamBuffer::default();
    let mut pieces = Vec::new();
    let mut broken = None;
    for part in bytes.chunks(usize::from(*step).max(1)) {
        cut.push(part);
        broken = take(&mut cut, &mut pieces);
        if broken.is_some() {
            break;
        }
    }
    assert_eq!(broken, end);
    assert_eq!(pieces, expected);
});

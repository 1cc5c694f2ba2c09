//! Handshake messages made by hand, for the tests of this folder. RFC 6347 §4.2.2.

/// A part of a handshake message: its type, its number, the length of the whole, where the part begins, its bytes.
pub(in crate::webrtc) fn fragment(kind: u8, number: u16, length: usize, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    message.extend_from_slice(&number.to_be_bytes());
    message.extend_from_slice(&(offset as u32).to_be_bytes()[1..]);
    message.extend_from_slice(&(bytes.len() as u32).to_be_bytes()[1..]);
    message.extend_from_slice(bytes);
    message
}

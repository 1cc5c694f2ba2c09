//! Reflectors: relays for media that know tags instead of users. They see what DTLS-SRTP has sealed, and tags.
//!
//! Both parties of a call are told the same sixteen bytes. Twelve of them ([`SHARED`]) are the call's; each party puts four of its own
//! behind them, and that is its [`Tag`]. It says hello with it until the reflector answers, and from then on the reflector passes to it
//! what begins with it:
//!
//! ```text
//! hello   tag(16) ‖ ff × 12 ‖ fe ff ff ff ‖ 8 bytes
//! answer  tag(16) ‖ ff × 12 ‖ fd ff ff ff ‖ 8 bytes [‖ zeros]
//! data    tag of the receiver(16) ‖ own four bytes of the sender ‖ u32 BE length ‖ datagram, padded to a multiple of 4
//! stream  ee ee ee ee once, by the client; then each way u32 LE length ‖ one of the above; some say tag(16) ‖ 00 × 4 as their hello
//! ```
//!
//! Other reflectors give the 8 bytes of the hello back, and other clients do not read them. Ours answers over UDP with 8 bytes that only
//! the address gets to see that the hello came from; a client that says hello with them has shown that it is there.
//!
//! Candidates name a reflector's address as `reflector-NUMBER-FOUR.reflector`; [`names`] makes socket addresses of these.

mod client;
pub mod names;
mod server;
mod stream;
mod tag;
#[cfg(test)]
mod tests;

pub use client::{Client, Frame, Options, Output};
pub use server::{Counters, MAX_PACKET, Place, Server, Verdict, Why};
pub use stream::{Broken, Framing, OPENING};
pub use tag::{Issuer, SHARED, TAG, Tag};

/// What stands before a datagram.
pub const HEADER: usize = TAG + 4 + 4;
/// What stands before it on a stream.
pub const STREAM_HEADER: usize = 4 + HEADER;
/// The length of a hello, and of our answer: whoever gives a false address draws no more than it sent.
pub const HELLO: usize = TAG + 16 + 8;

const IS_HELLO: [u8; 16] = mark(0xfe);
const IS_ANSWER: [u8; 16] = mark(0xfd);

const fn mark(kind: u8) -> [u8; 16] {
    let mut mark = [0xff; 16];
    mark[12] = kind;
    mark
}

//! Signalling under the key: [`cipher`] seals, and a [`Link`] makes a reliable exchange of messages out of packets that may be
//! lost, repeated and reordered: by [`framing`] of our own in versions 8 and 9, over SCTP in 12 and 13.

pub mod cipher;
pub mod framing;
mod link;
mod replay;
mod stream;

pub use cipher::{Cipher, CipherError};
pub use framing::{Framing, FramingError, Message, PacketError};
pub use link::{Link, Received};
pub use stream::decompress;

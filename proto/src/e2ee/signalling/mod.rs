//! Signalling under the key: [`cipher`] seals packets, [`framing`] makes a reliable exchange of messages out of packets
//! that may be lost, repeated and reordered.

pub mod cipher;
pub mod framing;

pub use cipher::{Cipher, CipherError};
pub use framing::{Framing, FramingError, Message, PacketError};

//! Signalling under the key: [`cipher`] seals packets, [`framing`] makes a reliable exchange of messages of packets that
//! may be lost, repeated and reordered.

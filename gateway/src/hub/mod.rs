//! Our rendezvous: it introduces callers to each other and relays opaque packets.

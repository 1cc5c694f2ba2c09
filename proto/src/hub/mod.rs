//! The messages of the hub protocol: one definition for server, adapter and demo peer.

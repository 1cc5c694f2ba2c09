//! The hub as a network.

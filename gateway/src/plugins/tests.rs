//! Tests over plugins built on the spot.

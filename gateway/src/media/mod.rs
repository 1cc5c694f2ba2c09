//! Media, sans-IO: legs, flows, bridges.

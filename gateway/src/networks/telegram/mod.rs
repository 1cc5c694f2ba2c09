//! The telegram network: accounts of the operator call users of the service and are called by them.
//!
//! [`Phone`] is the machine: it knows the order of a call's requests and updates, whom an account may call, and how often. It
//! writes and reads TL objects and holds no connection; [`frame`] is what passes between it and the client of each account, which
//! carries them.

pub mod client;
pub mod frame;
mod phone;

pub use phone::{Account, Phone, PhoneConfig, Plan, plan};

/// The name of this network.
pub const NAME: &str = "telegram";

//! Support for the stories and for the tests with real peers: namespaces, phones, E2EE clients, recordings.
//!
//! Everything that is started here ends when its value is dropped, also when the test fails.
#![allow(missing_docs, reason = "test support; names say what it is")]

pub mod authority;
pub mod baresip;
pub mod browser;
pub mod framed;
pub mod house;
pub mod kamailio;
pub mod lanes;
pub mod linphone;
pub mod name_server;
pub mod namespace;
pub mod network;
pub mod ntgcalls;
pub mod peers;
pub mod pjsua;
pub mod plugin;
pub mod recording;
pub mod sip_stream;
pub mod speech;
pub mod telegram;
pub mod tone;
pub mod turnserver;
pub mod usage;
pub mod wait;
pub mod wire;
pub mod wrapper;

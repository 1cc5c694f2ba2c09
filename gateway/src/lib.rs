//! The product: what Quartet does about what the wire says.
//!
//! The way of a call runs through [`io`] (sockets and threads, nothing else), [`exchange`] (one signalling thread, every
//! call by its key), [`call`] (the core), [`networks`] (where end-to-end encrypted users live) and back through the same
//! rooms. The way of a packet runs through [`io`] and [`media`] and never enters [`call`].
//!
//! Sans-IO, fed and polled: [`exchange`], [`call`], [`route`], [`ivr`], [`media`], `hub::rendezvous`, `networks::hub`.

pub mod call;
pub mod cdr;
pub mod cli;
pub mod config;
pub mod demo;
pub mod exchange;
pub mod hub;
pub mod io;
pub mod ivr;
pub mod log;
pub mod media;
pub mod networks;
pub mod permissions;
pub mod plugins;
pub mod process;
pub mod route;
pub mod store;

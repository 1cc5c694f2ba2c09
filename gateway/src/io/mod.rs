//! The only place of sockets and threads.

pub mod media_worker;
pub mod websocket;

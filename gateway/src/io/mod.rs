//! The only place of sockets and threads.
//!
//! [`signalling`] is the one task that owns the exchange; [`sip`], [`websocket`] and [`control`] bring it what arrives;
//! [`compute`] does its slow sums; [`media_worker`] carries all media, on threads of its own.

pub mod compute;
pub mod control;
pub mod media_worker;
pub mod signalling;
pub mod sip;
pub mod websocket;

/// Waits for a machine's deadline; for ever if it has none.
pub async fn sleep_until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

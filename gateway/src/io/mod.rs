//! The only place of sockets and threads.
//!
//! [`signalling`] is the one task that owns the exchange; [`sip`], [`websocket`] and [`control`] bring it what arrives;
//! [`compute`] does its slow sums; [`store`] writes what outlives the process; [`media_worker`] carries all media, on
//! threads of its own.

use std::io;
use std::net::SocketAddr;

pub mod compute;
pub mod control;
pub mod media_worker;
pub mod signalling;
pub mod sip;
pub mod store;
pub mod websocket;

/// The sentence for a socket that cannot be bound: what was tried, why not, and what to change.
fn cannot_listen(scheme: &str, address: SocketAddr, error: &io::Error, option: &str) -> anyhow::Error {
    let is = |kind| error.kind() == kind;
    let advice = if is(io::ErrorKind::AddrInUse) {
        "another program has this port; stop it, or choose another port"
    } else if is(io::ErrorKind::AddrNotAvailable) {
        "this machine does not have that address; choose one of its own"
    } else if is(io::ErrorKind::PermissionDenied) {
        "ports below 1024 need a right; choose a higher one"
    } else {
        "choose another address"
    };
    anyhow::anyhow!("cannot listen on {scheme}:{address} ({error}): {advice} in {option}")
}

/// Waits for a machine's deadline; for ever if it has none.
pub async fn sleep_until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

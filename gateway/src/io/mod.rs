//! The only place of sockets and threads.
//!
//! [`signalling`] is the one task that owns the exchange; [`sip`], [`websocket`] and [`control`] bring it what arrives;
//! [`compute`] does its slow sums; [`store`] writes what outlives the process; [`media_worker`] carries all media, on
//! threads of its own.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub mod addresses;
pub mod compute;
pub mod control;
mod door;
mod hasten;
mod hub;
pub mod hub_alone;
pub mod machine;
pub mod media_worker;
mod names;
mod origin;
mod pending;
mod pieces;
pub mod reflector;
mod relays;
mod reload;
pub mod signalling;
pub mod sip;
pub mod startup;
mod status;
pub mod store;
pub(crate) mod telegram;
mod tls;
pub mod unserved;
pub mod watchdog;
pub mod websocket;

/// Whether a socket could not be bound because the machine lacks the address, or IPv6 at all: it may come, by DHCP or as a
/// floating address.
fn is_not_there_yet(error: &io::Error) -> bool {
    let no_such_family = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
    no_such_family || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// The sentence for a socket that cannot be bound: what was tried, why not, and what to change.
fn cannot_listen(scheme: &str, address: SocketAddr, error: &io::Error, option: &str) -> anyhow::Error {
    let is = |kind| error.kind() == kind;
    let advice = if is(io::ErrorKind::AddrInUse) {
        "another program has this port; stop it, or choose another port"
    } else if is_not_there_yet(error) {
        "this machine does not have that address; choose one of its own"
    } else if is(io::ErrorKind::PermissionDenied) {
        "ports below 1024 need a right; choose a higher one"
    } else {
        "choose another address"
    };
    anyhow::anyhow!("cannot listen on {scheme}:{address} ({error}): {advice} in {option}")
}

/// How long accepting rests after a failure that is not the peer's.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// How often the same complaint is made.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Something that is said once a minute, however often there is reason to.
#[derive(Debug, Default)]
struct Complaint(Option<Instant>);

impl Complaint {
    /// Whether to say it now.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|at| now.saturating_duration_since(at) >= COMPLAINT);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

/// What a listener does about errors of `accept`. Most mean that descriptors or memory are short, for a while: to try
/// again at once would take a whole core, and to log each time would fill the disk.
#[derive(Debug)]
struct AcceptErrors {
    listener: &'static str,
    complaint: Complaint,
}

impl AcceptErrors {
    /// For the listener of this name, as a sentence calls it.
    fn new(listener: &'static str) -> Self {
        Self {
            listener,
            complaint: Complaint::default(),
        }
    }

    /// Logs the error, unless one was logged within the minute, and waits before the next try.
    async fn wait_out(&mut self, error: &io::Error) {
        let (pause, say) = self.handle_error(Instant::now(), error.kind());
        if say {
            tracing::warn!(%error, "{} cannot take connections now", self.listener);
        }
        tokio::time::sleep(pause).await;
    }

    /// How long to wait, and whether to say so.
    fn handle_error(&mut self, now: Instant, error: io::ErrorKind) -> (Duration, bool) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(
            error,
            ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
        ) {
            // The peer was gone before we came: the next one is another matter.
            return (Duration::ZERO, false);
        }
        (ACCEPT_PAUSE, self.complaint.is_due(now))
    }
}

/// Waits for a machine's deadline; for ever if it has none.
pub async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_failure_to_accept_is_waited_out_and_said_once_a_minute() {
        let mut errors = AcceptErrors::new("a test");
        let start = Instant::now();
        // EMFILE, ENFILE, ENOBUFS, ENOMEM
        for (second, code) in [24, 23, 105, 12].into_iter().cycle().take(241).enumerate() {
            let kind = io::Error::from_raw_os_error(code).kind();
            let (pause, say) = errors.handle_error(start + Duration::from_secs(second as u64), kind);
            assert_eq!((pause, say), (ACCEPT_PAUSE, second % 60 == 0), "{second}");
        }
        // ECONNABORTED
        let kind = io::Error::from_raw_os_error(103).kind();
        assert_eq!(errors.handle_error(start, kind), (Duration::ZERO, false));
    }
}

//! Options of a TCP connection that carries small messages over networks that lose packets.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// How long something that was sent may stay unacknowledged: two of the pings that notice a dead peer. Without this, it would be 15
/// repeats, which are soon over here.
const USER_TIMEOUT: Duration = Duration::from_secs(40);

/// Options that Linux knows since 6.15, and `libc` not yet, with their values.
const OPTIONS: [(libc::c_int, libc::c_int); 3] = [
    // TCP_RTO_MAX_MS: a repeat waits no longer, however many were lost before it. This is the least that it takes; without, it is 120 s.
    (44, 1000),
    // TCP_RTO_MIN_US: what a repeat waits beyond the round trip. Without, it is 200 ms, as long as peers may hold acknowledgements back.
    (45, 50_000),
    // TCP_DELACK_MAX_US: how long we hold ours back: so little that a peer's repeats may come as early.
    (46, 20_000),
];

/// Lets a connection carry small frames as fast as its network can: they do not wait for each other, and on a bad network what was
/// lost is repeated soon, and at even intervals. Without the options it works, only slower.
pub(super) fn hasten(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_thin_linear_timeouts(true);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    for (option, value) in OPTIONS {
        set(stream.as_raw_fd(), option, value);
    }
}

/// Sets an option that an older kernel may not know.
#[allow(unsafe_code, reason = "neither socket2 nor rustix has these options")]
fn set(socket: RawFd, option: libc::c_int, value: libc::c_int) {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one int, which outlives the call, and the caller's borrow keeps the socket open.
    unsafe {
        libc::setsockopt(socket, libc::IPPROTO_TCP, option, (&raw const value).cast(), size);
    }
}

//! The hub's door: connections of one source that never read, never finish their headers, or drip them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::ensure;
use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet_tests::house::{House, SOON};
use rand_chacha::ChaCha8Rng;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::options::{Options, below};
use crate::source::attacker;
use crate::{PROGRAM, Verdict};

/// Connections of each kind.
const PIPELINED: u32 = 400;
const UNFINISHED: u32 = 800;
const DRIPPING: u32 = 200;
/// Written to one connection that never reads: the responses are five times as much.
const MAX_WRITTEN: usize = 512 << 10;
/// What a connection may cost the gateway: what is read at once, what waits to be written, and its task, 4 KiB each, and as
/// much again that the allocator keeps.
const KIB_PER_CONNECTION: u64 = 16;
/// What the gateway may grow by for other reasons.
const SLACK_KIB: u64 = 8 * 1024;

pub(crate) async fn run(options: Options) -> Verdict {
    let house = House::new(PROGRAM, "").await;
    let hub = house.gateway.hub()?;
    let first = house.user("first", Answering::Busy, Fault::None).await;
    let before = house.memory_kib();
    let mut rng = options.rng(30);
    let source = attacker(below(&mut rng, options.sources)).into();
    let mut connections = Vec::new();
    let mut refused = 0;
    // The kinds in drawn order; each is tried whatever became of the one before.
    let mut left = [PIPELINED, UNFINISHED, DRIPPING];
    while left.iter().any(|number| *number > 0) {
        let kind = below(&mut rng, 3) as usize;
        if left[kind] == 0 {
            continue;
        }
        left[kind] -= 1;
        match connect(source, hub, kind, &mut rng).await {
            Ok(connection) => connections.push((kind, connection)),
            Err(_) => refused += 1,
        }
    }
    let mut peak = house.memory_kib();
    let begin = Instant::now();
    let mut joined = Duration::ZERO;
    let mut users = Vec::new();
    while begin.elapsed() < options.duration() {
        for (_, connection) in connections.iter_mut().filter(|(kind, _)| *kind == 2) {
            connection.try_write(b"x").ok();
        }
        if users.len() < 3 {
            let asked = Instant::now();
            let name = format!("anna{}", users.len());
            let user = tokio::time::timeout(SOON, house.user(&name, Answering::Busy, Fault::None)).await;
            ensure!(
                user.is_ok(),
                "a user from elsewhere cannot join beside {} connections",
                connections.len()
            );
            users.extend(user);
            joined = joined.max(asked.elapsed());
        }
        peak = peak.max(house.memory_kib());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let number = connections.len() as u64 + refused;
    let (grown, bound) = (peak.saturating_sub(before), number * KIB_PER_CONNECTION + SLACK_KIB);
    ensure!(
        grown <= bound,
        "{} connections ({refused} refused) make the gateway grow by {grown} KiB, more than {bound}",
        connections.len()
    );
    ensure!(!first.is_gone(), "a user that was there before has lost the hub");
    drop(connections);
    house.user("last", Answering::Busy, Fault::None).await;
    Ok(format!(
        "{number} connections ({refused} refused), +{grown} KiB of {bound}; users join in {} ms",
        joined.as_millis()
    ))
}

/// A connection of the attacker's, with what its kind writes at first.
async fn connect(source: IpAddr, hub: SocketAddr, kind: usize, rng: &mut ChaCha8Rng) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let limit = Duration::from_secs(1);
    let mut stream = tokio::time::timeout(limit, socket.connect(hub))
        .await
        .map_err(std::io::Error::other)??;
    match kind {
        0 => pipeline(&stream).await,
        1 => {
            let header = format!("GET /hub/v1 HTTP/1.1\r\nX-{}: {}", below(rng, 1000), "a".repeat(4000));
            tokio::time::timeout(limit, stream.write_all(header.as_bytes())).await??;
        }
        _ => stream.write_all(b"GET / HTTP/1.1\r\nX: ").await?,
    }
    Ok(stream)
}

/// Requests until the way is full; the responses are never read.
async fn pipeline(stream: &TcpStream) {
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(500);
    let (mut written, mut idle) = (0, 0);
    while written < MAX_WRITTEN && idle < 3 {
        match stream.try_write(requests.as_bytes()) {
            Ok(length) => (written, idle) = (written + length, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                idle += 1;
                // The way may be full for good: that is what is wanted.
                tokio::time::timeout(Duration::from_millis(5), stream.writable())
                    .await
                    .ok();
            }
            Err(_) => return,
        }
    }
}

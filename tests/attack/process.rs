//! What a process uses, from /proc: CPU time, and its UDP sockets.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// CPU time of all threads so far, in steps of a clock tick (10 ms).
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold spaces; times are fields 14 and 15 of all.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// The IPv4 addresses of its UDP sockets: what an attacker finds who tries all ports.
pub(crate) fn udp_sockets(pid: u32) -> Vec<SocketAddr> {
    let own: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| {
            let text = link.to_str()?.strip_prefix("socket:[")?;
            Some(text.trim_end_matches(']').to_owned())
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/udp")).unwrap_or_default();
    let address = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_le_bytes());
        let port = u16::from_str_radix(port, 16).ok()?;
        own.contains(*fields.get(9)?).then(|| SocketAddr::from((ip, port)))
    };
    table.lines().skip(1).filter_map(address).collect()
}

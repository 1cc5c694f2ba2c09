//! What bridged calls cost: a telephone and a second party over plain RTP on the loopback, both speaking, real time.
//!
//! Prints the CPU time of the media workers alone (from /proc, so Linux only), sockets included, per call-minute.
//! Build the plugins first: `cargo build --release -p codec-g711 -p codec-opus -p transport-rtp`, then
//! `cargo bench -p quartet --bench media_bridge -- 50 10` for 50 calls of 10 seconds.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench is run by hand and speaks to its user"
)]

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use quartet::{
    config::Plugins,
    io::media_worker::Media,
    media::{Bind, LegCodec, LegKey, MediaCommand, MediaEvent, Nack, Role, Sink},
    plugins::Registry,
};

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let calls = numbers.first().copied().unwrap_or(20);
    let seconds = numbers.get(1).copied().unwrap_or(10);
    let here = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let path = vec![here.clone(), here.parent().unwrap().to_owned()];
    let registry = Registry::load(&Plugins {
        path,
        ..Plugins::default()
    })
    .unwrap();
    let registry = Arc::new(registry);
    if registry.transport("rtp").is_none() || registry.codec("PCMU").is_none() {
        println!("the plugins are not built: see the head of this file");
        return;
    }
    println!("{calls} calls of {seconds} s, both directions, 20 ms packets");
    for second in ["PCMA", "opus"] {
        if registry.codec(second).is_some() {
            run(&registry, second, calls, seconds);
        }
    }
}

/// One party: its socket, where it sends to, and its next numbers.
struct Party {
    socket: UdpSocket,
    leg: SocketAddr,
    packet: Vec<u8>,
}

fn run(registry: &Arc<Registry>, second: &str, calls: u64, seconds: u64) {
    let (sender, events) = channel();
    let media = Media::start(1, Arc::clone(registry), None, move |event| drop(sender.send(event))).unwrap();
    let mut parties = Vec::new();
    for call in 0..calls {
        parties.push(open(&media, &events, call * 2, None, "PCMU", 0));
        // The second party sends what the first one sends, in its own codec's name: Opus accepts any first byte.
        parties.push(open(&media, &events, call * 2 + 1, Some(call * 2), second, 8));
        media.command(MediaCommand::Bridge {
            a: LegKey(call * 2),
            b: LegKey(call * 2 + 1),
        });
    }
    let (begin, before) = (Instant::now(), cpu_of_workers());
    for tick in 0..seconds * 50 {
        for party in &mut parties {
            let sequence = (tick as u16).to_be_bytes();
            let timestamp = (tick as u32 * if party.packet[1] == 111 { 960 } else { 160 }).to_be_bytes();
            party.packet[2..4].copy_from_slice(&sequence);
            party.packet[4..8].copy_from_slice(&timestamp);
            let _ = party.socket.send_to(&party.packet, party.leg);
        }
        let next = begin + Duration::from_millis(20) * (tick as u32 + 1);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let used = cpu_of_workers() - before;
    let mut sent: BTreeMap<LegKey, u64> = BTreeMap::new();
    for event in events.try_iter() {
        if let MediaEvent::Report { leg, report } = event {
            sent.insert(leg, report.sent);
        }
    }
    let minutes = (calls * seconds) as f64 / 60.0;
    let packets: u64 = sent.values().sum();
    println!(
        "PCMU and {second}: {:.4} CPU s per call-minute, {packets} packets out",
        used / minutes
    );
}

fn open(media: &Media, events: &Receiver<MediaEvent>, leg: u64, beside: Option<u64>, name: &str, pt: u8) -> Party {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let leg = LegKey(leg);
    media.command(MediaCommand::Open {
        leg,
        same_worker_as: beside.map(LegKey),
        transport: "rtp".to_owned(),
        sink: Sink::Telephone,
        role: Role::Offer,
        bind: Bind {
            addresses: vec![[127, 0, 0, 1].into()],
            components: 1,
            outer: Vec::new(),
        },
        options: String::new(),
        relay_only: false,
    });
    let port = loop {
        let MediaEvent::Local { lines, .. } = events.recv_timeout(Duration::from_secs(5)).unwrap() else {
            continue;
        };
        let port = lines
            .lines()
            .find_map(|line| line.strip_prefix("port:")?.trim().parse::<u16>().ok());
        if let Some(port) = port {
            break port;
        }
    };
    let pt = if name == "opus" { 111 } else { pt };
    let codec = LegCodec {
        name: name.to_owned(),
        clock: if name == "opus" { 48_000 } else { 8_000 },
        send_pt: pt,
        receive_pt: pt,
        send_fmtp: String::new(),
        local_fmtp: String::new(),
        ptime_ms: 20,
        telephone_event: None,
        events: Vec::new(),
        also: Vec::new(),
        ssrc: leg.0 as u32 + 1,
        nack: Nack::Off,
    };
    media.command(MediaCommand::Codec { leg, codec });
    let lines = format!("c:127.0.0.1\nport:{}\nrtcp-mux\n", socket.local_addr().unwrap().port());
    media.command(MediaCommand::Remote { leg, lines });
    let mut packet = vec![0x80, pt, 0, 0, 0, 0, 0, 0, 0, 0, 0, leg.0 as u8 + 1];
    // A wideband SILK frame's first byte, then noise: decoding it costs what decoding costs.
    packet.push(0x48);
    packet.extend((1..if pt == 111 { 60_u32 } else { 160 }).map(|at| (at.wrapping_mul(7919) >> 3) as u8));
    Party {
        socket,
        leg: SocketAddr::from(([127, 0, 0, 1], port)),
        packet,
    }
}

/// CPU seconds of all threads whose name begins with `media-`.
fn cpu_of_workers() -> f64 {
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        let Some((name, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        if name.contains("(media-") {
            let fields: Vec<u64> = rest.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
            ticks += fields[11] + fields[12];
        }
    }
    ticks as f64 / 100.0
}

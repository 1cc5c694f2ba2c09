//! The checks of a path: one machine before a server that is silent, or says nonsense. Its protocol is its own, so nothing that needs
//! an answer can be tried.

use std::net::SocketAddr;

use quartet_plugin::{About, Kind, Outcome, Role};

use super::super::loader::usage;
use super::super::packet::Packet;
use super::super::refusal::PluginError;
use super::super::signal::Xorshift;
use super::super::transport::{Output, Transport, TransportEvent, TransportTable};
use super::transport::{MTU, SECOND, Verdict, random_datagrams_at, wrong};
use super::{PRINTS, cost};

/// What a path is told of its server.
pub(super) const OPTIONS: &str = "server:198.51.100.1 1024\nname:relay.example\nvia:udp\nusername:user\npassword:secret\nnumber:1\n\
                                  tag:00112233445566778899aabbccddeeff\n";
/// A server that is silent for so long is none.
const MAX_SILENCE: u64 = 60 * SECOND;

/// Runs a check by its number.
pub(super) fn check(table: &TransportTable, number: u32, seed: u64) -> Verdict {
    match number {
        1 | PRINTS => gives_up(table),
        2 => in_their_buffer(table, seed),
        3 => nothing_below(table),
        4 => random_datagrams_at(super::transport::Pair::new(table, OPTIONS)?, seed),
        21 => cost::freed("create and destroy", 1, || One::new(table).map(drop)),
        26 => no_waiting(table),
        other => Err(format!("there is no check {other} of a path")),
    }
}

fn server() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 1024))
}

/// A path over a socket or a connection, and what it did.
struct One {
    machine: Transport,
    is_stream: bool,
    now_ns: u64,
    deadline_ns: Option<u64>,
    sent: u32,
    failed: Option<String>,
}

impl One {
    fn new(table: &TransportTable) -> Result<Self, String> {
        let mut machine = table.create(Role::Offer, SECOND, OPTIONS).map_err(wrong("create"))?;
        let below = "path:1 component 1 host 192.0.2.1 40000 mtu 1200\n";
        machine.tell(SECOND, About::Paths, below).map_err(wrong("tell paths"))?;
        let mut one = Self {
            machine,
            is_stream: table.is_stream(),
            now_ns: SECOND,
            deadline_ns: None,
            sent: 0,
            failed: None,
        };
        one.drain()?;
        Ok(one)
    }

    fn drain(&mut self) -> Result<(), String> {
        for _ in 0..1000 {
            match self.machine.poll() {
                Output::None { deadline_ns } => {
                    self.deadline_ns = deadline_ns;
                    return Ok(());
                }
                Output::Transmit { path, dst, .. } => {
                    if !self.is_stream && (path, dst) != (1, server()) {
                        return Err(format!(
                            "it sends to {dst} by path {path}; its server is {} by path 1",
                            server()
                        ));
                    }
                    self.sent += 1;
                }
                Output::Event {
                    event: TransportEvent::Failed(why),
                } => self.failed = Some(why),
                Output::Event {
                    event: TransportEvent::Address(text),
                } => return Err(format!("it says {text:?}, and nobody has told it an address")),
                Output::Event { .. } => {}
                Output::Rtp(_) | Output::Rtcp(_) | Output::Data { .. } | Output::Datagram { .. } => {
                    return Err("it passes on what nobody has sent".to_owned());
                }
            }
        }
        Err("poll does not end within 1000 outputs".to_owned())
    }

    /// Lets time pass until the path has failed, or it wants no more, or so much has passed.
    fn run(&mut self, time_ns: u64) -> Result<(), String> {
        let end = self.now_ns + time_ns;
        while self.failed.is_none()
            && let Some(deadline) = self.deadline_ns
            && deadline < end
        {
            self.now_ns = deadline.max(self.now_ns + 1_000_000);
            self.machine.timeout(self.now_ns).map_err(wrong("timeout"))?;
            self.drain()?;
        }
        Ok(())
    }
}

/// It asks its server, that alone, and says when it has asked in vain.
fn gives_up(table: &TransportTable) -> Verdict {
    let mut one = One::new(table)?;
    one.run(MAX_SILENCE)?;
    let seconds = MAX_SILENCE / SECOND;
    match (&one.failed, one.sent) {
        (_, 0) => Err("it never asks its server".to_owned()),
        (None, _) => Err(format!(
            "its server is silent for {seconds} s, and it does not say FAILED"
        )),
        (Some(why), sent) => Ok(format!(
            "asks {sent} times, then {why} after {} s",
            (one.now_ns - SECOND) / SECOND
        )),
    }
}

/// What peers shall have before there is an address is kept, dropped or refused, and stays where it is.
fn in_their_buffer(table: &TransportTable, seed: u64) -> Verdict {
    let mut one = One::new(table)?;
    let mut random = Xorshift::new(seed);
    let mut packet = Packet::rimmed(table.headroom() + MTU + table.tailroom(), table.headroom());
    let mut payload = [0; MTU];
    for round in 0..500 {
        let length = random.below(MTU + 1);
        random.fill(&mut payload[..length]);
        if !packet.fill(&payload[..length]) {
            return Err("the packet does not fit".to_owned());
        }
        packet.kind = Some(Kind::Datagram);
        packet.dst = SocketAddr::from(([203, 0, 113, random.below(4) as u8], 4_000));
        let outcome = one.machine.send(one.now_ns, &mut packet);
        if !packet.rim_untouched() {
            return Err(format!(
                "send wrote outside the packet's buffer; round {round} of seed {seed}"
            ));
        }
        match outcome {
            Ok(Outcome::Transmit) if !one.is_stream && packet.dst != server() => {
                return Err(format!(
                    "send made a datagram for {}, which is not the server",
                    packet.dst
                ));
            }
            Ok(Outcome::Transmit | Outcome::Kept) => {}
            Ok(other) => return Err(format!("send made {other:?} of a datagram")),
            Err(PluginError::Faulty) => return Err(format!("broke over {length} bytes; round {round} of seed {seed}")),
            Err(_) => {}
        }
        one.drain()?;
    }
    Ok(format!(
        "500 datagrams, {} + {} bytes of room",
        table.headroom(),
        table.tailroom()
    ))
}

/// What is below has gone: it says so, and nothing any more.
fn nothing_below(table: &TransportTable) -> Verdict {
    let mut one = One::new(table)?;
    one.run(SECOND)?;
    let gone = one.machine.tell(one.now_ns, About::Paths, "path:1 gone\n");
    gone.map_err(wrong("tell paths"))?;
    let sent = one.sent;
    one.drain()?;
    let failed = one.failed.clone();
    one.run(MAX_SILENCE)?;
    if one.sent > sent {
        return Err("what is below it has gone, and it goes on sending".to_owned());
    }
    failed.map_or_else(
        || Err("what is below it has gone, and it does not say FAILED".to_owned()),
        |why| Ok(format!("says {why}")),
    )
}

fn no_waiting(table: &TransportTable) -> Verdict {
    let before = usage::waits();
    let mut machines = 0;
    for _ in 0..50 {
        One::new(table)?.run(MAX_SILENCE)?;
        machines += 1;
    }
    let waits = usage::waits().saturating_sub(before);
    if waits >= 50 {
        return Err(format!(
            "it gives its thread away {waits} times in {machines} lives: it sleeps, waits or does IO"
        ));
    }
    Ok(format!("{machines} lives"))
}

//! What passing a packet on costs: our reflector beside coturn, on this machine, by turns, under the same load.
//!
//! `cargo run --release -p quartet-tests --example relay -- --calls 100 --seconds 10 --runs 3`, as root, with a release build of the
//! program. A call sends 50 packets of 172 bytes a second each way, as speech does. Each run prints packets that came through and the
//! relay's processor time for a million of them.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a tool that is run by hand and speaks to its user"
)]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use quartet_proto::reflector::{self, Issuer};
use quartet_proto::turn;
use quartet_tests::house::write_secret;
use quartet_tests::namespace::Namespace;
use quartet_tests::turnserver::{PASSWORD, PORT, TurnServer, USER};
use quartet_tests::usage::Cpu;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// What a packet of speech holds: 12 bytes of header, 160 of sound.
const PAYLOAD: [u8; 172] = [0x5a; 172];
/// From one packet of a stream to the next.
const TICK: Duration = Duration::from_millis(20);
const SECRET: &str = "of this measurement";
/// How long a call may take to be set up.
const SET_UP: Duration = Duration::from_secs(5);

/// Both ends of a call: what each sends to where is the same each time.
struct Call {
    ends: [End; 2],
}

struct End {
    socket: UdpSocket,
    packet: Vec<u8>,
    to: SocketAddr,
}

/// A program that relays.
trait Relay {
    const NAME: &'static str;
    fn pid(&self) -> u32;
    fn call(&mut self, near: Ipv4Addr) -> anyhow::Result<Call>;
}

fn socket(near: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((near, 0))?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
}

/// What has come within a tick.
fn received(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut room = [0; 2000];
    let (length, _) = socket.recv_from(&mut room).ok()?;
    Some(room[..length].to_vec())
}

struct Coturn {
    server: TurnServer,
    rng: ChaCha20Rng,
}

impl Relay for Coturn {
    const NAME: &'static str = "coturn";

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// One end has an address at the relay and a channel to the other.
    fn call(&mut self, near: Ipv4Addr) -> anyhow::Result<Call> {
        let address = SocketAddr::from((self.server.address, PORT));
        let [a, b] = [socket(near)?, socket(near)?];
        let (local, peer) = (a.local_addr()?, b.local_addr()?);
        let server = turn::Server {
            address,
            local,
            stream: false,
            username: USER,
            password: PASSWORD,
        };
        let mut client = turn::Client::new(Instant::now(), &server, &mut self.rng);
        let (mut relayed, until) = (None, Instant::now() + SET_UP);
        while Instant::now() < until {
            while let Some(output) = client.poll_output() {
                match output {
                    turn::Output::Transmit(bytes) => _ = a.send_to(&bytes, address)?,
                    turn::Output::Relay(at) => relayed = Some(at),
                    turn::Output::Failed(why) => bail!("coturn: {why:?}"),
                    turn::Output::Datagram { .. } | turn::Output::Outer(_) => {}
                }
            }
            if let Some(bytes) = received(&a) {
                client.receive(Instant::now(), &bytes);
            }
            client.handle_timeout(Instant::now());
            let Some(relayed) = relayed else { continue };
            let mut packet = Vec::new();
            // In a channel it is a header of four bytes and what we send.
            if client.send(Instant::now(), peer, &PAYLOAD, &mut packet) && packet.len() == 4 + PAYLOAD.len() {
                a.send_to(&packet, address)?;
                if received(&b).is_some() {
                    let to_b = End {
                        socket: a,
                        packet,
                        to: address,
                    };
                    let to_a = End {
                        socket: b,
                        packet: PAYLOAD.to_vec(),
                        to: relayed,
                    };
                    return Ok(Call { ends: [to_b, to_a] });
                }
            }
        }
        bail!("coturn sets no call up")
    }
}

struct Reflector {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
    issuer: Issuer,
    rng: ChaCha20Rng,
}

impl Reflector {
    fn start(program: &Path, namespace: &Namespace) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("q-relay-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let address = SocketAddr::from((namespace.far(), 599));
        let conf = format!("[reflector]\nlisten = [\"udp:{address}\"]\nsecret_file = \"secret\"\n");
        for (name, text) in [("quartet.conf", conf.as_str()), ("secret", SECRET)] {
            write_secret(&folder.join(name), text)?;
        }
        let mut command = namespace.command(program);
        command
            .args(["reflector", "--until-stdin-closes", "--conf"])
            .arg(&folder);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            folder,
            address,
            issuer: Issuer::default(),
            rng: ChaCha20Rng::seed_from_u64(1),
        })
    }

    /// Says hello, twice, until the reflector knows that it is there.
    fn join(&mut self, socket: &UdpSocket, tag: &reflector::Tag) -> anyhow::Result<reflector::Client> {
        let options = reflector::Options {
            number: 1,
            port: self.address.port(),
            tag: zeroize::Zeroizing::new(*tag),
            stream: false,
        };
        let mut client = reflector::Client::new(Instant::now(), &options, &mut self.rng);
        let (mut answers, until) = (0, Instant::now() + SET_UP);
        while answers < 2 {
            ensure!(Instant::now() < until, "the reflector does not answer");
            client.handle_timeout(Instant::now());
            while let Some(output) = client.poll_output() {
                if let reflector::Output::Transmit(bytes) = output {
                    socket.send_to(&bytes, self.address)?;
                }
            }
            if let Some(bytes) = received(socket) {
                client.receive(Instant::now(), &bytes);
                answers += 1;
            }
        }
        Ok(client)
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

impl Relay for Reflector {
    const NAME: &'static str = "our reflector";

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn call(&mut self, near: Ipv4Addr) -> anyhow::Result<Call> {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let tag = self.issuer.issue(SECRET.as_bytes(), unix, &mut self.rng);
        let [a, b] = [socket(near)?, socket(near)?];
        let [of_a, of_b] = [self.join(&a, &tag)?, self.join(&b, &tag)?];
        let end = |socket, from: &reflector::Client, to: &reflector::Client| {
            let frame = from
                .frame(to.address(), PAYLOAD.len())
                .context("an address of the same reflector")?;
            let mut packet = [frame.header(), &PAYLOAD].concat();
            packet.resize(packet.len() + frame.pad, 0);
            anyhow::Ok(End {
                socket,
                packet,
                to: self.address,
            })
        };
        Ok(Call {
            ends: [end(a, &of_a, &of_b)?, end(b, &of_b, &of_a)?],
        })
    }
}

/// Counts what comes, until it is told to stop.
fn count(ends: &[&End], stop: &AtomicBool) -> u64 {
    let (mut count, mut room) = (0, [0; 2000]);
    while !stop.load(Ordering::Relaxed) {
        for end in ends {
            while end.socket.recv_from(&mut room).is_ok() {
                count += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    count
}

/// Packets sent, packets that came, and the relay's processor time, in seconds.
fn run<R: Relay>(relay: &mut R, near: Ipv4Addr, (calls, seconds): (u64, u64)) -> anyhow::Result<()> {
    let calls = (0..calls).map(|_| relay.call(near)).collect::<Result<Vec<_>, _>>()?;
    let ends: Vec<&End> = calls.iter().flat_map(|call| &call.ends).collect();
    ends.iter().try_for_each(|end| end.socket.set_nonblocking(true))?;
    let stop = AtomicBool::new(false);
    let before = Cpu::of(relay.pid());
    let (sent, came) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let counter = scope.spawn(|| count(&ends, &stop));
        let (begin, mut sent) = (Instant::now(), 0u64);
        for tick in 1..=(seconds * 50) as u32 {
            for end in &ends {
                match end.socket.send_to(&end.packet, end.to) {
                    Ok(_) => sent += 1,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
            std::thread::sleep((begin + tick * TICK).saturating_duration_since(Instant::now()));
        }
        std::thread::sleep(10 * TICK);
        stop.store(true, Ordering::Relaxed);
        Ok((sent, counter.join().expect("it only counts")))
    })?;
    let used = Cpu::of(relay.pid()).since(before).total();
    println!(
        "{:<14} {came} of {sent} packets ({} a second), {used:.2} s of processor time: {:.1} s for a million",
        R::NAME,
        came / seconds,
        used * 1e6 / came as f64
    );
    ensure!(
        came * 100 >= sent * 99,
        "more than one in a hundred packets was lost: the run does not count"
    );
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let (mut calls, mut seconds, mut runs) = (100, 10, 3);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?.parse()?;
        match word.as_str() {
            "--calls" => calls = value,
            "--seconds" => seconds = value,
            "--runs" => runs = value,
            _ => bail!("unknown option {word}; there are --calls, --seconds and --runs"),
        }
    }
    let here = std::env::current_exe()?;
    // Examples lie in a folder beside the programs.
    let program = here
        .parent()
        .and_then(Path::parent)
        .context("no folder")?
        .join("quartet");
    let namespace = Namespace::new();
    for _ in 0..runs {
        let mut ours = Reflector::start(&program, &namespace)?;
        run(&mut ours, namespace.near(), (calls, seconds))?;
        let server = TurnServer::start(&namespace, false).context("coturn is missing; tests/setup installs it")?;
        let mut theirs = Coturn {
            server,
            rng: ChaCha20Rng::seed_from_u64(2),
        };
        run(&mut theirs, namespace.near(), (calls, seconds))?;
    }
    Ok(())
}

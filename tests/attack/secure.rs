//! What strangers send to the ports of an encrypted call's media and of a reflector: not answered, not heard, not kept.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::ensure;
use quartet::demo::PEER_HZ;
use quartet_tests::house::{House, write_secret};
use rand_core::Rng;

use crate::Verdict;
use crate::flood::flood;
use crate::media::{check, standing_call_with};
use crate::options::{Options, one_of};
use crate::process::udp_sockets;
use crate::source::attacker;

/// What the gateway may have more of after the flood, whatever its rate.
const MAX_MORE_KIB: u64 = 8 * 1024;

/// Binding requests, ClientHellos, SRTP, TURN requests and a reflector's packets, from strangers.
pub(crate) async fn run(options: Options) -> Verdict {
    let folder = std::env::temp_dir().join(format!("q-secure-{}-{}", std::process::id(), options.seed));
    std::fs::create_dir_all(&folder)?;
    let verdict = run_in(&folder, options).await;
    std::fs::remove_dir_all(&folder).ok();
    verdict
}

async fn run_in(folder: &std::path::Path, options: Options) -> Verdict {
    let secret = folder.join("secret");
    write_secret(&secret, "shared with nobody")?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let reflector = SocketAddr::from(([127, 0, 0, 1], port));
    let more = format!(
        "[reflector]\nlisten = [\"udp:{reflector}\"]\nsecret_file = \"{}\"\n",
        secret.display()
    );
    let (house, anna, call) = standing_call_with(&options, &more).await?;
    let mut ports = udp_sockets(house.gateway.pid());
    ensure!(ports.contains(&reflector), "{reflector} is not among {ports:?}");
    let sip: SocketAddr = house.gateway.sip()?;
    ports.retain(|port| *port != sip);
    let begin = anna.line().heard().len();
    let before = house.memory_kib();
    let attack = options.clone();
    let attacked = tokio::task::spawn_blocking(move || {
        let mut rng = attack.rng(103);
        let sources = (0..50)
            .map(|n| UdpSocket::bind((attacker(n), 0)))
            .collect::<std::io::Result<Vec<_>>>()?;
        let mut kind = 0;
        let flooded = flood(attack.rate(), attack.duration(), |_| {
            let socket = one_of(&mut rng, &sources);
            let to = *one_of(&mut rng, &ports);
            kind += 1;
            socket.send_to(&datagram(kind, &mut rng), to).ok();
        });
        let mut answers = 0;
        for socket in &sources {
            socket.set_nonblocking(true)?;
            while socket.recv(&mut [0; 2_048]).is_ok() {
                answers += 1;
            }
        }
        anyhow::Ok((flooded, answers, call))
    });
    let (flooded, answers, call) = attacked.await??;
    ensure!(answers == 0, "{answers} of {} packets were answered", flooded.count);
    check(&house, &anna, &call, begin).await?;
    let call = tokio::task::spawn_blocking(move || call.hears(PEER_HZ).map(|()| call)).await??;
    let more = house.memory_kib().saturating_sub(before);
    ensure!(more <= MAX_MORE_KIB, "{more} KiB more after {} packets", flooded.count);
    let dropped = dropped(&house).await;
    ensure!(dropped > 0, "the reflector has dropped nothing");
    drop(call);
    Ok(format!(
        "{} packets ({}/s) to the ports of media and of a reflector: no answer, {more} KiB more",
        flooded.count,
        flooded.rate()
    ))
}

/// What the reflector says that it has dropped.
async fn dropped(house: &House) -> u64 {
    let status = house.status().await;
    let dropped = status["reflector"]["dropped"].as_object().cloned().unwrap_or_default();
    dropped.values().filter_map(serde_json::Value::as_u64).sum()
}

/// One of five kinds, with the first bytes that it must have and chance behind.
fn datagram(kind: u32, rng: &mut impl Rng) -> Vec<u8> {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let mut bytes = vec![0; 20 + rng.next_u32() as usize % 180 / 4 * 4];
    rng.fill_bytes(&mut bytes);
    let length = ((bytes.len() - 20) as u16).to_be_bytes();
    match kind % 5 {
        // A Binding request, or an Allocate.
        0 | 1 => {
            bytes[..2].copy_from_slice(&[0, if kind.is_multiple_of(5) { 1 } else { 3 }]);
            bytes[2..4].copy_from_slice(&length);
            bytes[4..8].copy_from_slice(&COOKIE);
        }
        // A ClientHello in a DTLS 1.2 record of epoch 0.
        2 => {
            bytes[..5].copy_from_slice(&[22, 0xfe, 0xfd, 0, 0]);
            let length = ((bytes.len() - 13) as u16).to_be_bytes();
            bytes[11..13].copy_from_slice(&length);
            bytes[13] = 1;
        }
        // SRTP of Opus.
        3 => bytes[..2].copy_from_slice(&[0x80, 111]),
        // A hello to a reflector: a tag, and what follows it.
        _ => {
            bytes.resize(40, 0);
            bytes[16..28].fill(0xff);
            bytes[28..32].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff]);
        }
    }
    bytes
}

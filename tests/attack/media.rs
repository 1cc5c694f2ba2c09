//! RTP sent into a standing call by others, and from the phone's own socket under another SSRC: never heard.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use quartet::demo::e2ee_peer::{Answering, E2eePeer, Fault};
use quartet::demo::{PEER_HZ, PHONE_HZ, hear};
use quartet_tests::house::{House, SOON, hears};
use quartet_tests::tone::RtpTone;
use rand_core::Rng;

use crate::flood::flood;
use crate::options::{Options, one_of};
use crate::phone::{Phone, PhoneCall};
use crate::process::udp_sockets;
use crate::source::attacker;
use crate::{PROGRAM, Verdict};

/// What the attacker says.
const ATTACK_HZ: f32 = 1500.0;

/// From other addresses, and from other ports of the phone's, to every UDP port that the gateway has.
pub(crate) async fn run(options: Options) -> Verdict {
    let (house, anna, call) = standing_call(&options).await?;
    let ports = udp_sockets(house.gateway.pid());
    ensure!(ports.contains(&call.remote), "{} is not among {ports:?}", call.remote);
    let begin = anna.line().heard().len();
    let attack = options.clone();
    let attacked = tokio::task::spawn_blocking(move || {
        let mut rng = attack.rng(101);
        let phone = call.socket.local_addr()?;
        let sources = (0..20)
            .map(|n| {
                let ip = if n < 5 { phone.ip() } else { attacker(n).into() };
                let tone = RtpTone::new(ATTACK_HZ, rng.next_u32());
                Ok((std::net::UdpSocket::bind((ip, 0))?, tone))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        let mut sources = sources;
        let flooded = flood(attack.rate(), attack.duration(), |_| {
            let at = rng.next_u32() as usize % sources.len();
            let (socket, tone) = &mut sources[at];
            // Half of all to the phone's port.
            let to = if rng.next_u32().is_multiple_of(2) {
                call.remote
            } else {
                *one_of(&mut rng, &ports)
            };
            socket.send_to(&tone.packet(), to).ok();
        });
        anyhow::Ok((flooded, call))
    });
    let (flooded, call) = attacked.await??;
    check(&house, &anna, &call, begin).await?;
    let call = tokio::task::spawn_blocking(move || call.hears(PEER_HZ).map(|()| call)).await??;
    drop(call);
    Ok(format!(
        "{} packets ({}/s) to all UDP ports, none heard",
        flooded.count,
        flooded.rate()
    ))
}

/// From the phone's own address and port, as one who can write it on a packet.
pub(crate) async fn run_from_the_phone(options: Options) -> Verdict {
    let (house, anna, call) = standing_call(&options).await?;
    let begin = anna.line().heard().len();
    let attack = options.clone();
    let attacked = tokio::task::spawn_blocking(move || {
        let mut tone = RtpTone::new(ATTACK_HZ, attack.rng(102).next_u32());
        // As fast as speech: what is sent faster is dropped as too much of it.
        let flooded = flood(50, attack.duration(), |_| {
            call.socket.send_to(&tone.packet(), call.remote).ok();
        });
        (flooded, call)
    });
    let (flooded, call) = attacked.await?;
    check(&house, &anna, &call, begin).await?;
    Ok(format!(
        "{} packets with another SSRC from the phone's socket, none heard",
        flooded.count
    ))
}

async fn standing_call(options: &Options) -> anyhow::Result<(House, E2eePeer, PhoneCall)> {
    standing_call_with(options, "").await
}

/// The same at a gateway with more sections.
pub(crate) async fn standing_call_with(options: &Options, more: &str) -> anyhow::Result<(House, E2eePeer, PhoneCall)> {
    let house = House::new(PROGRAM, &format!("[call]\nverify = \"off\"\n{more}")).await;
    let gateway: SocketAddr = house.gateway.sip()?;
    let anna = house.user("anna", Answering::Take, Fault::None).await;
    let rng = options.rng(100);
    let call = tokio::task::spawn_blocking(move || {
        let mut phone = Phone::new([127, 0, 0, 2].into(), gateway, "100", rng)?;
        phone.register()?;
        let call = phone.dial("anna", PHONE_HZ)?;
        call.hears(PEER_HZ)?;
        anyhow::Ok(call)
    });
    let call = call.await??;
    hears(anna.line(), PHONE_HZ).await;
    Ok((house, anna, call))
}

/// All that anna has heard since is the phone's tone, with no more of the attacker's than of any other.
pub(crate) async fn check(house: &House, anna: &E2eePeer, call: &PhoneCall, begin: usize) -> anyhow::Result<()> {
    hears(anna.line(), PHONE_HZ).await;
    house.wait_calls("state", "talking", SOON).await;
    let heard = anna.line().heard();
    // Windows of a quarter second, each by itself: a short burst must not be lost in the mean.
    let window = Duration::from_millis(250);
    let samples = hear::RATE as usize * window.as_millis() as usize / 1000;
    for (at, part) in heard[begin..].chunks_exact(samples).enumerate() {
        let tone = hear::tone(part, hear::RATE);
        let is_attack = tone.is_some_and(|tone| (tone.hz - ATTACK_HZ).abs() <= 10.0 || tone.share < 0.5);
        ensure!(
            !is_attack,
            "{:?} after the attack began (port {}) anna hears {tone:?}",
            window * at as u32,
            call.remote.port()
        );
    }
    Ok(())
}

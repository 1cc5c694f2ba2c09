//! Quartet as the subject: a `quartet run` of its own, telephones with PCMU, and E2EE users on its hub.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quartet::demo::e2ee_peer::{self, Answering, E2eePeer, Fault};
use quartet::demo::gateway::{self, Gateway};
use quartet::demo::line::{Line, Source};
use quartet::demo::phone::{self, Phone};
use quartet::demo::{Hashes, phone_row};
use quartet::io::control::ControlRequest;
use quartet::plugins::Registry;
use quartet_tests::house::{hub_alone, invite, url_of};
use quartet_tests::wire::Wire;

use crate::ends::{Ends, Manner, Tell, Way};
use quartet_tests::usage::Cpu;

const PASSWORD: &str = "correct horse";
const ROUTES: &str = r#"
[[route]]
name = "people"
from = "phones"
number = "{user}"
to = "hub:{user}"
[[route]]
name = "phones"
from = "network:hub"
number = "{user}"
to = "phone:{user}"
"#;
/// Below the bound of a hub on the sessions of one address.
const USERS_OF_A_WAY: usize = 60;
const SOON: Duration = Duration::from_secs(20);

/// A running gateway and those who speak through it.
pub(crate) struct Subject {
    gateway: Gateway,
    /// The hub, if it is elsewhere.
    hub: Option<Gateway>,
    /// Ways to the hub: it takes so many users of one address.
    ways: Vec<Wire>,
    registry: Arc<Registry>,
    calls: Vec<(Phone, E2eePeer)>,
}

impl Subject {
    pub(crate) async fn start(
        program: &Path,
        registry: Arc<Registry>,
        calls: usize,
        more: &str,
        elsewhere: bool,
    ) -> anyhow::Result<Self> {
        let limits = if more.contains("[limits]") {
            String::new()
        } else {
            format!(
                "[limits]\ncalls = {0}\nhub_sessions = {0}\ncalls_per_minute_route = 60000\nhub_requests_per_minute = 60000\n",
                calls + 10
            )
        };
        let more = format!("[call]\nverify = \"off\"\n[log]\nlevel = \"warn\"\n{limits}{more}");
        let (hub, place) = if elsewhere {
            let hub = hub_alone(&program.display().to_string(), &limits).await;
            let place = gateway::Hub::Elsewhere {
                url: url_of(&hub),
                token: invite(&hub, "office", true).await,
                authority: None,
            };
            (Some(hub), place)
        } else {
            (None, gateway::Hub::Here((Ipv4Addr::LOCALHOST, 0).into()))
        };
        let setup = gateway::Setup {
            sip: (Ipv4Addr::LOCALHOST, 0).into(),
            listen: Vec::new(),
            identity: None,
            hub: place,
            plugins: vec![program.parent().context("the program has no folder")?.to_owned()],
            sip_lines: String::new(),
            more,
            phones: (0..calls)
                .map(|call| phone_row(&name(call), PASSWORD, Hashes::Md5AndSha256, "codecs = [\"pcmu\"]"))
                .collect(),
            routes: ROUTES.into(),
        };
        let gateway = Gateway::start(program, &setup).await?;
        let at = hub.as_ref().unwrap_or(&gateway).hub()?;
        let mut ways = Vec::new();
        for group in 0..calls.div_ceil(USERS_OF_A_WAY) {
            let source = Ipv4Addr::new(127, 0, 1, u8::try_from(group)?);
            ways.push(Wire::from(source.into(), at).await);
        }
        Ok(Self {
            gateway,
            hub,
            ways,
            registry,
            calls: Vec::new(),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.gateway.pid()
    }

    /// What the gateway logged; at this level, anything is worth reading.
    pub(crate) fn log(&self) -> String {
        self.gateway.log()
    }

    /// A telephone and an E2EE user, both ready, not yet in a call.
    pub(crate) async fn pair(&mut self, ends: &mut Ends, manner: Manner) -> anyhow::Result<()> {
        let user = format!("user{}", self.calls.len());
        let token = invite(self.hub.as_ref().unwrap_or(&self.gateway), &user, false).await;
        let hub = format!("ws://{}", self.ways[self.calls.len() / USERS_OF_A_WAY].local());
        let phone_setup = phone::Setup {
            gateway: self.gateway.sip()?,
            user: name(self.calls.len()),
            password: PASSWORD.into(),
            codecs: vec!["pcmu".into()],
            source: Source::Silent,
            answers: true,
            transport: "rtp".into(),
            srtp: phone::Srtp::Off,
        };
        let peer_setup = e2ee_peer::Setup {
            hub,
            token,
            address: Ipv4Addr::LOCALHOST.into(),
            source: Source::Silent,
            answering: Answering::Take,
            fault: Fault::None,
        };
        let mut phone = Phone::start_with(Arc::clone(&self.registry), phone_setup, |media| {
            line(ends, manner, Box::new(move |event| drop(media.send(event))))
        })
        .await?;
        let peer = E2eePeer::join_with(Arc::clone(&self.registry), peer_setup, |media| {
            line(ends, manner, Box::new(move |event| drop(media.send(event))))
        })
        .await?;
        phone.wait(&phone::Event::Registered, SOON).await?;
        self.calls.push((phone, peer));
        Ok(())
    }

    /// Places one call after the other; how long each took from dialling to speaking, in ms.
    pub(crate) async fn call_all(&mut self) -> anyhow::Result<Vec<f64>> {
        let mut took = Vec::new();
        if self.hub.is_some() {
            self.wait("hub_up", true.into()).await?;
        }
        for (phone, peer) in &mut self.calls {
            let dialled = Instant::now();
            phone.dial(peer.account());
            phone.wait(&phone::Event::Connected, SOON).await?;
            took.push(dialled.elapsed().as_secs_f64() * 1e3);
        }
        Ok(took)
    }
}

impl Subject {
    /// Places so many calls one after the other, each ended as soon as it stands: the CPU seconds of the gateway for all of them. The phone
    /// calls, and a secret is drawn for each exchange; or the user does, and only the one that is chosen is computed.
    pub(crate) async fn set_up(&mut self, calls: usize, by_phone: bool) -> anyhow::Result<f64> {
        let pid = self.pid();
        let (phone, peer) = self.calls.first_mut().context("there is nobody to call")?;
        let before = Cpu::of(pid);
        for _ in 0..calls {
            if by_phone {
                phone.dial(peer.account());
            } else {
                peer.dial(&format!("{}@gw", name(0)));
            }
            let stands = phone.wait(&phone::Event::Connected, SOON).await;
            stands.with_context(|| format!("{:?}", self.gateway.records().last()))?;
            let hears = |event: &e2ee_peer::Event| (*event == e2ee_peer::Event::Connected).then_some(());
            peer.wait("media", SOON, hears).await?;
            phone.hang_up();
            let ended = |event: &e2ee_peer::Event| matches!(event, e2ee_peer::Event::Ended(_)).then_some(());
            peer.wait("the end", SOON, ended).await?;
        }
        Ok(Cpu::of(pid).since(before).total())
    }

    /// The same between two users, without the gateway: the CPU seconds of this process, in which both are, so of two encrypted legs a
    /// call. The one that calls draws a secret for each exchange.
    pub(crate) async fn set_up_between_users(&mut self, calls: usize) -> anyhow::Result<f64> {
        let [(_, caller), (_, callee)] = &mut self.calls[..] else {
            anyhow::bail!("it takes two users");
        };
        let pid = std::process::id();
        let before = Cpu::of(pid);
        for _ in 0..calls {
            caller.dial(callee.account());
            for peer in [&mut *caller, &mut *callee] {
                let hears = |event: &e2ee_peer::Event| (*event == e2ee_peer::Event::Connected).then_some(());
                peer.wait("media", SOON, hears).await?;
            }
            caller.hang_up();
            let ended = |event: &e2ee_peer::Event| matches!(event, e2ee_peer::Event::Ended(_)).then_some(());
            callee.wait("the end", SOON, ended).await?;
        }
        Ok(Cpu::of(pid).since(before).total())
    }

    /// Kills the hub while all calls stand, and starts it again; half of the calls are hung up on either side then. How many have
    /// ended as they should.
    pub(crate) async fn outlive_the_hub(&mut self) -> anyhow::Result<usize> {
        let Some(hub) = &mut self.hub else {
            return Ok(0);
        };
        hub.kill()?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.wait("calls", self.calls.len().into()).await?;
        if let Some(hub) = &mut self.hub {
            hub.start_again().await?;
        }
        self.wait("hub_up", true.into()).await?;
        for (call, (phone, peer)) in self.calls.iter().enumerate() {
            if call % 2 == 0 {
                phone.hang_up();
            } else {
                peer.hang_up();
            }
        }
        for (call, (phone, peer)) in self.calls.iter_mut().enumerate() {
            if call % 2 == 0 {
                let ended = |event: &e2ee_peer::Event| (*event == e2ee_peer::Event::Ended("answered")).then_some(());
                peer.wait("the end", 2 * SOON, ended).await?;
            } else {
                phone.wait(&phone::Event::Ended("answered"), 2 * SOON).await?;
            }
        }
        self.wait("calls", 0.into()).await?;
        let end = Instant::now() + SOON;
        let mut records = self.gateway.records();
        while records.len() < self.calls.len() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
            records = self.gateway.records();
        }
        Ok(records.iter().filter(|record| record["cause"] == "answered").count())
    }

    /// Waits until the gateway's status says this.
    async fn wait(&self, name: &str, value: serde_json::Value) -> anyhow::Result<()> {
        let end = Instant::now() + SOON;
        loop {
            let status = self.gateway.ask(&ControlRequest::Status).await?;
            if status[name] == value {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{name} is not {value}: {status}\n{}",
                self.gateway.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn name(call: usize) -> String {
    format!("{}", 1_000 + call)
}

fn line(ends: &mut Ends, manner: Manner, tell: Tell) -> std::io::Result<Line> {
    let way: Way = ends.leg(manner, tell);
    Line::elsewhere(move |command| way.command(command))
}

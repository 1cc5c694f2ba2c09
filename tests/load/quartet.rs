//! Quartet as the subject: a `quartet run` of its own, telephones with PCMU, and E2EE users on its hub.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quartet::demo::e2ee_peer::{self, Answering, E2eePeer, Fault};
use quartet::demo::gateway::{self, Gateway};
use quartet::demo::line::{Line, Source};
use quartet::demo::phone::{self, Phone};
use quartet::demo::{Hashes, phone_row};
use quartet::io::control::ControlRequest;
use quartet::plugins::Registry;

use crate::ends::{Ends, Tell, Way};

const PASSWORD: &str = "correct horse";
const SOON: Duration = Duration::from_secs(20);

/// A running gateway and those who speak through it.
pub(crate) struct Subject {
    gateway: Gateway,
    registry: Arc<Registry>,
    calls: Vec<(Phone, E2eePeer)>,
}

impl Subject {
    pub(crate) async fn start(
        program: &Path,
        registry: Arc<Registry>,
        calls: usize,
        more: &str,
    ) -> anyhow::Result<Self> {
        let more = format!("[call]\nverify = \"off\"\n[log]\nlevel = \"warn\"\n{more}");
        let setup = gateway::Setup {
            sip: (Ipv4Addr::LOCALHOST, 0).into(),
            hub: gateway::Hub::Here((Ipv4Addr::LOCALHOST, 0).into()),
            plugins: vec![program.parent().context("the program has no folder")?.to_owned()],
            more,
            phones: (0..calls)
                .map(|call| phone_row(&name(call), PASSWORD, Hashes::Md5AndSha256, "codecs = [\"pcmu\"]"))
                .collect(),
            routes: "[[route]]\nname = \"people\"\nfrom = \"phones\"\nnumber = \"{user}\"\nto = \"hub:{user}\"\n"
                .into(),
        };
        Ok(Self {
            gateway: Gateway::start(program, &setup).await?,
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
    pub(crate) async fn pair(&mut self, ends: &mut Ends, probe: bool) -> anyhow::Result<()> {
        let user = format!("user{}", self.calls.len());
        let answer = self
            .gateway
            .ask(&ControlRequest::Invite { user, gateway: false })
            .await?;
        let phone_setup = phone::Setup {
            gateway: self.gateway.sip()?,
            user: name(self.calls.len()),
            password: PASSWORD.into(),
            codecs: vec!["pcmu".into()],
            source: Source::Silent,
            answers: false,
            transport: "rtp".into(),
        };
        let peer_setup = e2ee_peer::Setup {
            hub: format!("ws://{}/hub/v1", self.gateway.hub()?),
            token: answer["token"].as_str().context("invite gives no token")?.to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            source: Source::Silent,
            answering: Answering::Take,
            fault: Fault::None,
        };
        let mut phone = Phone::start_with(Arc::clone(&self.registry), phone_setup, |media| {
            line(ends, probe, Box::new(move |event| drop(media.send(event))))
        })
        .await?;
        let peer = E2eePeer::join_with(Arc::clone(&self.registry), peer_setup, |media| {
            line(ends, probe, Box::new(move |event| drop(media.send(event))))
        })
        .await?;
        phone.wait(&phone::Event::Registered, SOON).await?;
        self.calls.push((phone, peer));
        Ok(())
    }

    /// Places one call after the other; how long each took from dialling to speaking, in ms.
    pub(crate) async fn call_all(&mut self) -> anyhow::Result<Vec<f64>> {
        let mut took = Vec::new();
        for (phone, peer) in &mut self.calls {
            let dialled = Instant::now();
            phone.dial(peer.account());
            phone.wait(&phone::Event::Connected, SOON).await?;
            took.push(dialled.elapsed().as_secs_f64() * 1e3);
        }
        Ok(took)
    }
}

fn name(call: usize) -> String {
    format!("{}", 1_000 + call)
}

fn line(ends: &mut Ends, probe: bool, tell: Tell) -> std::io::Result<Line> {
    let way: Way = ends.leg(probe, tell);
    Line::elsewhere(move |command| way.command(command))
}

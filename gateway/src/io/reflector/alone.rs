//! `quartet reflector`: a reflector without a gateway or a hub.

use std::time::Instant;

use tokio::sync::mpsc;

use super::ReflectorServer;
use crate::config::Loaded;
use crate::io::control::{self, ControlRequest, PendingControlRequest, Reply};
use crate::io::startup::prepare_state;

/// A reflector before its loop, which only answers questions: all else is its thread's.
pub struct ReflectorAlone {
    server: ReflectorServer,
    started: Instant,
    asked: mpsc::Receiver<PendingControlRequest>,
}

impl ReflectorAlone {
    /// Listens.
    ///
    /// # Errors
    /// Whatever keeps it from starting, with what to change.
    pub async fn start(loaded: &Loaded) -> anyhow::Result<Self> {
        let settings = &loaded.settings;
        prepare_state(settings)?;
        let control = control::bind(&settings.control.path).await?;
        let server = ReflectorServer::open(&settings.reflector)?;
        let server = server.ok_or_else(|| {
            anyhow::anyhow!("[reflector] listen is empty; add listen = [\"udp:0.0.0.0:599\", \"tcp:0.0.0.0:599\"]")
        })?;
        let (asked_in, asked) = mpsc::channel(16);
        tokio::spawn(control::serve(control, asked_in));
        Ok(Self {
            server,
            started: Instant::now(),
            asked,
        })
    }

    /// Where it listens, as really bound.
    pub fn addresses(&self) -> Vec<String> {
        self.server.addresses()
    }

    /// Runs until `stop` is done.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let asked = tokio::select! {
                () = &mut stop => return,
                Some(asked) = self.asked.recv() => asked,
            };
            let answer = self.answer(&asked.question);
            asked.reply.send(answer).ok();
        }
    }

    fn answer(&self, question: &ControlRequest) -> Reply {
        match question {
            ControlRequest::Status => Reply::Ok(serde_json::json!({
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_s": self.started.elapsed().as_secs(),
                "reflector": self.server.status(),
            })),
            ControlRequest::Reload => {
                Reply::Error("a reflector reads its conf files at the start; start it again".into())
            }
            ControlRequest::Calls
            | ControlRequest::Phones
            | ControlRequest::Invite { .. }
            | ControlRequest::Revoke { .. }
            | ControlRequest::Locked
            | ControlRequest::Unlock { .. }
            | ControlRequest::Hangup { .. } => Reply::Error(
                "a reflector alone runs here: it has no phones, no accounts and no calls of its own".into(),
            ),
        }
    }
}

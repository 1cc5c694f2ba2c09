//! `quartet reflector`: a reflector without a gateway or a hub, which only answers questions: all else is its thread's.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::{ReflectorServer, secret_of};
use crate::config::{self, Changes, Loaded};
use crate::io::control::{self, ControlRequest, PendingControlRequest, Reply};
use crate::io::reload::tell;
use crate::io::startup::prepare_state;
use crate::log;

/// A reflector before its loop.
pub struct ReflectorAlone {
    server: ReflectorServer,
    loaded: Arc<Loaded>,
    started: Instant,
    asked: mpsc::Receiver<PendingControlRequest>,
    asked_in: mpsc::Sender<PendingControlRequest>,
}

impl ReflectorAlone {
    /// Listens.
    ///
    /// # Errors
    /// Whatever keeps it from starting, with what to change.
    pub async fn start(loaded: Loaded) -> anyhow::Result<Self> {
        let settings = &loaded.settings;
        prepare_state(settings)?;
        let control = control::bind(&settings.control.path).await?;
        let server = ReflectorServer::open(&settings.reflector)?;
        let server = server.ok_or_else(|| {
            anyhow::anyhow!("[reflector] listen is empty; add listen = [\"udp:0.0.0.0:599\", \"tcp:0.0.0.0:599\"]")
        })?;
        let (asked_in, asked) = mpsc::channel(16);
        tokio::spawn(control::serve(control, asked_in.clone()));
        Ok(Self {
            server,
            loaded: Arc::new(loaded),
            started: Instant::now(),
            asked,
            asked_in,
        })
    }

    /// Where it listens, as really bound.
    pub fn addresses(&self) -> Vec<String> {
        self.server.addresses()
    }

    /// Where questions can be put, as over the control socket.
    pub fn asker(&self) -> mpsc::Sender<PendingControlRequest> {
        self.asked_in.clone()
    }

    /// Runs until `stop` is done.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let asked = tokio::select! {
                () = &mut stop => return,
                Some(asked) = self.asked.recv() => asked,
            };
            let answer = if asked.question == ControlRequest::Reload {
                tell(self.reload().await)
            } else {
                self.answer(&asked.question)
            };
            asked.reply.send(answer).ok();
        }
    }

    /// Has the files read, on a thread that may wait for the disk, and takes the secret.
    async fn reload(&mut self) -> Result<Changes, String> {
        let in_force = Arc::clone(&self.loaded);
        let read = tokio::task::spawn_blocking(move || {
            let (loaded, changes) =
                config::reload(&in_force, &config::environment()).map_err(|problems| problems.to_string())?;
            let secret = secret_of(&loaded.settings.reflector)?;
            Ok::<_, String>((loaded, changes, secret))
        });
        let (loaded, changes, secret) = read.await.map_err(|error| error.to_string())??;
        secret.into_iter().for_each(|secret| self.server.set_secret(secret));
        log::set_level(loaded.settings.log.level.0);
        self.loaded = Arc::new(loaded);
        Ok(changes)
    }

    fn answer(&self, question: &ControlRequest) -> Reply {
        match question {
            ControlRequest::Status => Reply::Ok(serde_json::json!({
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_s": self.started.elapsed().as_secs(),
                "reflector": self.server.status(),
            })),
            ControlRequest::Reload
            | ControlRequest::Calls
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

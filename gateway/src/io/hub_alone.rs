//! `quartet hub`: a hub without a gateway. Its loop feeds one machine and carries what that says.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use super::addresses::{self, MachineAddresses};
use super::control::{self, ControlRequest, PendingControlRequest, Reply};
use super::hub::{HubServer, HubWork, Told};
use super::reflector::{ReflectorServer, Secret, secret_of};
use super::reload::tell;
use super::sleep_until;
use super::startup::prepare_state;
use crate::config::{self, Changes, Loaded};
use crate::store::{Lock, Store};
use crate::{log, process};

/// A hub before its loop.
pub struct HubAlone {
    server: HubServer,
    reflector: Option<ReflectorServer>,
    /// What is in force.
    loaded: Arc<Loaded>,
    started: Instant,
    machine: watch::Receiver<MachineAddresses>,
    asked_in: mpsc::Sender<PendingControlRequest>,
    asked: mpsc::Receiver<PendingControlRequest>,
    read_in: mpsc::Sender<Reading>,
    read: mpsc::Receiver<Reading>,
    _lock: Lock,
}

/// Conf files read anew, or why not, and who asked.
type Reading = (Result<Read, String>, oneshot::Sender<Reply>);

/// The files, what of them was changed, and what users are told.
type Read = (Box<Loaded>, Changes, Told, Option<Secret>);

/// What woke the loop.
enum Input {
    Hub(HubWork),
    Asked(PendingControlRequest),
    Read(Reading),
    Addresses,
    Timeout,
    Stop,
}

impl HubAlone {
    /// Opens the store and listens.
    ///
    /// # Errors
    /// Whatever keeps the hub from starting, with what to change.
    pub async fn start(loaded: Loaded) -> anyhow::Result<Self> {
        let settings = &loaded.settings;
        if let Some(url) = &settings.network.hub.url {
            anyhow::bail!("[network.hub] url names a hub elsewhere, {url}; `quartet hub` serves one: remove the line");
        }
        prepare_state(settings)?;
        // First of all that lasts: a gateway with the same files would give out tokens that this hub does not know.
        let lock = Lock::take(&settings.store.path)?;
        let store = Store::open(&settings.store.path)?;
        let mut machine = addresses::follow()?;
        machine.mark_unchanged();
        let control = control::bind(&settings.control.path).await?;
        let reflector = ReflectorServer::open(&settings.reflector)?;
        let server = HubServer::open(settings, &shares(&loaded), store, None)?;
        let (asked_in, asked) = mpsc::channel(16);
        let (read_in, read) = mpsc::channel(1);
        tokio::spawn(control::serve(control, asked_in.clone()));
        Ok(Self {
            server,
            reflector,
            loaded: Arc::new(loaded),
            started: Instant::now(),
            machine,
            asked_in,
            asked,
            read_in,
            read,
            _lock: lock,
        })
    }

    /// Where other parts of this process may ask what the control socket is asked.
    pub fn asker(&self) -> mpsc::Sender<PendingControlRequest> {
        self.asked_in.clone()
    }

    /// Where it listens, as really bound.
    pub fn address(&self) -> String {
        self.server.name()
    }

    /// Runs until `stop` is done.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let wake = self.server.poll_timeout();
            let due = wake.is_some_and(|at| at <= Instant::now());
            let input = if due {
                Input::Timeout
            } else {
                tokio::select! {
                    () = &mut stop => Input::Stop,
                    Some(asked) = self.asked.recv() => Input::Asked(asked),
                    Some(reading) = self.read.recv() => Input::Read(reading),
                    Ok(()) = self.machine.changed() => Input::Addresses,
                    work = self.server.next() => Input::Hub(work),
                    () = sleep_until(wake) => Input::Timeout,
                }
            };
            let now = Instant::now();
            match input {
                Input::Hub(work) => self.server.handle(now, work),
                Input::Asked(asked) => self.answer(asked),
                Input::Read((read, reply)) => {
                    reply.send(self.finish_reload(read)).ok();
                }
                Input::Addresses => self.server.follow_addresses(),
                Input::Timeout => self.server.handle_timeout(now),
                Input::Stop => {
                    self.server.tell_all_summaries(now);
                    self.server.flush(now);
                    return;
                }
            }
            self.server.flush(now);
        }
    }

    fn answer(&self, asked: PendingControlRequest) {
        let PendingControlRequest { question, reply } = asked;
        let answer = match question {
            ControlRequest::Invite { user, gateway } => return self.server.invite(user, gateway, reply),
            ControlRequest::Revoke { user } => return self.server.revoke(user, reply),
            ControlRequest::Reload => return self.begin_reload(reply),
            ControlRequest::Status => Reply::Ok(self.status()),
            ControlRequest::Calls
            | ControlRequest::Phones
            | ControlRequest::Locked
            | ControlRequest::Unlock { .. }
            | ControlRequest::Hangup { .. } => {
                Reply::Error("a hub alone runs here: it has no phones and no calls of its own".into())
            }
        };
        reply.send(answer).ok();
    }

    fn status(&self) -> serde_json::Value {
        let (sessions, calls) = self.server.counts();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.started.elapsed().as_secs(),
            "hub_sessions": sessions,
            "hub_calls": calls,
            "hub": self.address(),
            "reflector": self.reflector.as_ref().map(ReflectorServer::status),
        })
    }

    /// Has the files read, on a thread that may wait for the disk.
    fn begin_reload(&self, reply: oneshot::Sender<Reply>) {
        let (in_force, done) = (Arc::clone(&self.loaded), self.read_in.clone());
        tokio::task::spawn_blocking(move || {
            let read = config::reload(&in_force, &config::environment());
            let read = read.map_err(|problems| problems.to_string());
            let read = read.and_then(|(loaded, changes)| {
                let told = Told::read(&loaded.settings).map_err(|error| format!("{error:#}"))?;
                let secret = secret_of(&loaded.settings.reflector)?;
                Ok((Box::new(loaded), changes, told, secret))
            });
            done.blocking_send((read, reply)).ok();
        });
    }

    fn finish_reload(&mut self, read: Result<Read, String>) -> Reply {
        tell(read.map(|(loaded, changes, told, secret)| {
            if let Some((reflector, secret)) = self.reflector.as_ref().zip(secret) {
                reflector.set_secret(secret);
            }
            self.server.reload(&loaded.settings.limits, &shares(&loaded), told);
            log::set_level(loaded.settings.log.level.0);
            self.loaded = Arc::from(loaded);
            changes
        }))
    }
}

fn shares(loaded: &Loaded) -> process::Shares {
    let shares = process::Shares::of_hub(process::descriptor_limit(), loaded.settings.limits.hub_sessions);
    for shortage in &shares.shortages {
        tracing::warn!("{shortage}");
    }
    shares
}

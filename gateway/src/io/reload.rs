//! `quartet reload` and SIGHUP: the conf files are checked, then all of what they say comes into force, or nothing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::control::Reply;
use super::hub::Told;
use super::reflector;
use super::signalling::Signalling;
use super::startup::{check_media_addresses, ports, prompts, shares, sip_setup, tls_peers};
use super::unserved::unserved;
use crate::config::{self, Changes, Loaded};
use crate::exchange;
use crate::ivr::prompts::Prompts;
use crate::log;
use crate::plugins::Registry;

/// What was read, checked, and not put into force yet.
pub(super) struct Prepared {
    loaded: Loaded,
    changes: Changes,
    /// The recordings, if they are the operator's own: they may be others in the same folder.
    prompts: Option<Prompts>,
    /// Of a hub served here.
    told: Told,
    /// Of a reflector of our own.
    secret: Option<reflector::Secret>,
    warnings: Vec<String>,
}

/// A reload on its way back from the thread that reads.
pub(super) struct Reloading {
    prepared: Result<Box<Prepared>, String>,
    replies: Replies,
}

/// Who asked for it.
type Replies = Vec<oneshot::Sender<Reply>>;

/// What a reload is begun with.
pub(super) struct Reloader {
    registry: Arc<Registry>,
    done: mpsc::UnboundedSender<Reloading>,
    /// One at a time: two could put an older reading into force last.
    is_busy: bool,
    /// Who asked meanwhile: what they mean may not have been there when the files were read, so they are read once more.
    waiting: Replies,
}

impl Reloader {
    pub(super) fn new(registry: Arc<Registry>) -> (Self, mpsc::UnboundedReceiver<Reloading>) {
        let (done, read) = mpsc::unbounded_channel();
        let reloader = Self {
            registry,
            done,
            is_busy: false,
            waiting: Replies::new(),
        };
        (reloader, read)
    }

    /// Has the files read, on a thread that may wait for the disk.
    pub(super) fn begin(&mut self, in_force: &Arc<Loaded>, reply: oneshot::Sender<Reply>) {
        // Whoever has gone waits for nothing; SIGHUP needs one place only.
        self.waiting.retain(|waiting| !waiting.is_closed());
        self.waiting.push(reply);
        if !self.is_busy {
            self.start(in_force);
        }
    }

    fn start(&mut self, in_force: &Arc<Loaded>) {
        self.is_busy = true;
        let replies = std::mem::take(&mut self.waiting);
        let in_force = Arc::clone(in_force);
        let (registry, done) = (Arc::clone(&self.registry), self.done.clone());
        tokio::task::spawn_blocking(move || {
            let prepared = std::panic::catch_unwind(AssertUnwindSafe(|| prepare(&in_force, &registry)));
            let prepared = prepared.unwrap_or_else(|_| Err("a fault of this program; the log has it".into()));
            let prepared = prepared.map(Box::new);
            done.send(Reloading { prepared, replies }).ok();
        });
    }
}

fn prepare(in_force: &Loaded, registry: &Arc<Registry>) -> Result<Prepared, String> {
    let (loaded, changes) =
        config::reload(in_force, &config::environment()).map_err(|problems| problems.to_string())?;
    let settings = &loaded.settings;
    check_media_addresses(&settings.media.addresses).map_err(|error| format!("{error:#}"))?;
    let spoken = prompts(&settings.ivr.prompts, registry).map_err(|error| format!("{error:#}"))?;
    let secret = reflector::secret_of(&settings.reflector)?;
    let told = Told::read(settings).map_err(|error| format!("{error:#}"))?;
    let warnings = unserved(settings, registry, &spoken).into_iter().collect();
    let is_own = settings.ivr.prompts != config::Prompts::Builtin;
    let differs = settings.ivr.prompts != in_force.settings.ivr.prompts;
    Ok(Prepared {
        prompts: (is_own || differs).then_some(spoken),
        loaded,
        changes,
        told,
        secret,
        warnings,
    })
}

/// Logs what came of a reload, and says it to whoever asked for it.
pub(super) fn tell(applied: Result<Changes, String>) -> Reply {
    match applied {
        Ok(changes) => {
            tracing::info!("conf files reloaded, {}", changes.sentence());
            for option in &changes.restart {
                tracing::warn!("{option} was changed; that needs a restart, until then it is as before");
            }
            Reply::Ok(serde_json::json!(changes))
        }
        Err(sentence) => {
            for line in sentence.lines() {
                tracing::error!("not reloaded, all is as before: {line}");
            }
            Reply::Error(format!("not reloaded, all is as before:\n{sentence}"))
        }
    }
}

impl Signalling {
    /// The files were read: puts what they say into force, or says why not.
    pub(super) fn finish_reload(&mut self, now: Instant, reloading: Reloading) {
        self.reloader.is_busy = false;
        let applied = reloading.prepared.and_then(|prepared| self.apply(now, *prepared));
        let answer = tell(applied);
        for reply in reloading.replies {
            reply.send(answer.clone()).ok();
        }
        if !self.reloader.waiting.is_empty() {
            self.reloader.start(&self.loaded);
        }
    }

    /// First what can fail.
    fn apply(&mut self, now: Instant, prepared: Prepared) -> Result<Changes, String> {
        let Prepared {
            loaded,
            mut changes,
            prompts,
            told,
            secret,
            warnings,
        } = prepared;
        let settings = &loaded.settings;
        let machine = self.machine_addresses_seen();
        let shares = shares(settings, &machine);
        let old = self.sip.setup().clone();
        self.sip
            .listen_on(sip_setup(settings, &shares), &machine.all)
            .map_err(|error| format!("{error:#}"))?;
        if let Some(prompts) = prompts
            && !self.compute.set_prompts(prompts)
        {
            // The sockets go back to what they were, all of which are still bound.
            self.sip.listen_on(old, &machine.all).ok();
            return Err("the machine has too much to do now; ask again".into());
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        for shortage in &shares.shortages {
            tracing::warn!("{shortage}");
        }
        if let Some(server) = self.hub.server() {
            server.reload(&settings.limits, &shares, told);
        }
        if let Some((reflector, secret)) = self.reflector.as_ref().zip(secret) {
            reflector.set_secret(secret);
        }
        self.media.set_ports(ports(settings.media.ports));
        self.relays.reload();
        let level = settings.log.level.0;
        if level != self.loaded.settings.log.level.0 && !log::set_level(level) {
            changes.options.retain(|option| option != "log.level");
            tracing::warn!("log.level was changed, but the variable RUST_LOG goes before it");
        }
        self.names.set(exchange::names(settings));
        self.sip.set_tls_peers(tls_peers(settings, self.exchange.here()));
        self.exchange.reload(now, Arc::clone(settings));
        self.loaded = Arc::new(loaded);
        self.tell_sip_addresses();
        Ok(changes)
    }

    /// Closes what only calls used that have ended.
    pub(super) fn close_unused_sockets(&mut self) {
        let exchange = &self.exchange;
        if self.sip.close_unused(|address| exchange.is_sip_address_used(address)) {
            self.tell_sip_addresses();
        }
    }

    /// Tells the exchange where SIP is heard.
    pub(super) fn tell_sip_addresses(&mut self) {
        self.exchange
            .set_sip_addresses(self.sip.addresses().collect(), self.sip.retired().collect());
    }
}

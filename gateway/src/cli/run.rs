//! `quartet run`, `quartet hub` and `quartet reflector`: the gateway, or one of the others alone, until it is told to stop.

use std::path::Path;
use std::pin::Pin;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::config::{self, Loaded};
use crate::io::control::{ControlRequest, PendingControlRequest};
use crate::io::hub_alone::HubAlone;
use crate::io::reflector::ReflectorAlone;
use crate::io::signalling::Signalling;
use crate::io::sip::place_name;
use crate::io::watchdog;
use crate::{log, process};

/// Runs the gateway until SIGINT or SIGTERM, or until the standard input is closed, if that is asked for.
pub(super) fn run(conf: Option<&Path>, until_stdin_closes: bool) -> anyhow::Result<u8> {
    serve(
        conf,
        until_stdin_closes,
        |loaded, Signals { stop, hang_up }| async move {
            watchdog::start().context("no thread for the watchdog")?;
            let signalling = Signalling::start(loaded).await.context("the gateway cannot start")?;
            let (sip, hub) = signalling.addresses();
            let sip: Vec<_> = sip.into_iter().map(place_name).collect();
            tracing::info!(sip = sip.join(" "), hub, "gateway is up");
            tokio::spawn(reload_at(hang_up, signalling.asker()));
            signalling.run(stop).await
        },
    )
}

/// Runs a hub alone, as long.
pub(super) fn hub(conf: Option<&Path>, until_stdin_closes: bool) -> anyhow::Result<u8> {
    serve(
        conf,
        until_stdin_closes,
        |loaded, Signals { stop, hang_up }| async move {
            let hub = HubAlone::start(loaded).await.context("the hub cannot start")?;
            tracing::info!(hub = hub.address(), "hub is up");
            tokio::spawn(reload_at(hang_up, hub.asker()));
            hub.run(stop).await;
            Ok(())
        },
    )
}

/// Runs a reflector alone, as long.
pub(super) fn reflector(conf: Option<&Path>, until_stdin_closes: bool) -> anyhow::Result<u8> {
    serve(
        conf,
        until_stdin_closes,
        |loaded, Signals { hang_up, stop }| async move {
            let reflector = ReflectorAlone::start(loaded).await;
            let reflector = reflector.context("the reflector cannot start")?;
            tracing::info!(listen = reflector.addresses().join(" "), "reflector is up");
            tokio::spawn(reload_at(hang_up, reflector.asker()));
            reflector.run(stop).await;
            Ok(())
        },
    )
}

/// What tells a process to do something. Both are listened to before anything starts: SIGHUP would end it.
struct Signals {
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    hang_up: Signal,
}

fn serve<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
    conf: Option<&Path>,
    until_stdin_closes: bool,
    body: impl FnOnce(Loaded, Signals) -> F,
) -> anyhow::Result<u8> {
    // Before the first secret is read.
    process::forbid_core_dumps().context("core dumps cannot be switched off, and one would hold keys")?;
    let Some(loaded) = load(conf)? else { return Ok(1) };
    log::init(loaded.settings.log.level.0)?;
    process::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let hang_up = signal(SignalKind::hangup())?;
        let control = loaded.settings.control.path.clone();
        let stop = Box::pin(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = stdin_closed(), if until_stdin_closes => {}
            }
            tracing::info!("stopping");
        });
        // On a worker as all else: who has read from a socket hands on without waking another thread.
        tokio::spawn(body(loaded, Signals { stop, hang_up })).await??;
        std::fs::remove_file(control).ok();
        Ok(0)
    });
    // A name server that does not answer is not waited for.
    runtime.shutdown_background();
    ended
}

/// Has the conf files read anew at each SIGHUP; what comes of it is logged.
async fn reload_at(mut hang_up: Signal, asker: mpsc::Sender<PendingControlRequest>) {
    while hang_up.recv().await.is_some() {
        let (question, (reply, _)) = (ControlRequest::Reload, oneshot::channel());
        if asker.send(PendingControlRequest { question, reply }).await.is_err() {
            return;
        }
    }
}

/// Reads the standard input to its end, on a thread of its own.
async fn stdin_closed() {
    let (closed, end) = oneshot::channel();
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).ok();
        closed.send(()).ok();
    });
    end.await.ok();
}

/// Reads the conf files; if they have errors, prints all of them and gives none.
pub(super) fn load(conf: Option<&Path>) -> anyhow::Result<Option<Loaded>> {
    let loaded = config::find_folder(conf).and_then(|folder| config::load(&folder, &config::environment()));
    match loaded {
        Ok(loaded) => Ok(Some(loaded)),
        Err(problems) => {
            eprintln!("{problems}");
            Ok(None)
        }
    }
}

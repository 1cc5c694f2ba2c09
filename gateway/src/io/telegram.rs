//! The clients of the accounts of the telegram network, a process each, and what passes between them and the machine.
//!
//! MTProto is read by a library that takes what the service sends as it comes: messages within messages, and packed ones of any
//! length. So it runs in a process of its own with little memory: whatever becomes of that, calls of other networks go on, and it is started
//! again. A client's standard input and output are pipes of [`pieces`]: first what it is, then orders; reports come back.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::pieces;
use crate::config::{Level, Telegram};
use crate::networks::telegram::client::access::Access;
use crate::networks::telegram::client::{ClientSetup, run};
use crate::networks::telegram::frame::{Frame, Order, Report, RpcError};
use crate::networks::telegram::{Account, Phone, PhoneConfig};
use crate::{log, process};

/// Frames of all clients that may wait, and orders of one.
const WAITING: usize = 4096;
/// The verb of a client's process.
const VERB: &str = "telegram-client";
/// Pauses before a client that has ended is started again.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// One that has run for so long was no failure from the start.
const RAN: Duration = Duration::from_secs(60);
/// How long a client may take to end once its orders have.
const ENDING: Duration = Duration::from_secs(5);

/// All clients.
pub(super) struct TelegramClients {
    orders: Vec<mpsc::Sender<Order>>,
    reports: mpsc::Receiver<Vec<u8>>,
}

impl TelegramClients {
    /// Starts a client for each account.
    pub(super) fn start(settings: &Telegram, level: Level) -> Self {
        let (out, reports) = mpsc::channel(WAITING);
        let start = |(place, account): (usize, &crate::config::TelegramAccount)| {
            let (orders, taken) = mpsc::channel(WAITING);
            let setup = ClientSetup {
                account: u32::try_from(place).unwrap_or(u32::MAX),
                access: Access::of(account),
            };
            tokio::spawn(supervise(setup, level, account.name.clone(), taken, out.clone()));
            orders
        };
        Self {
            orders: settings.accounts.iter().enumerate().map(start).collect(),
            reports,
        }
    }

    /// What a client says; nothing, as long as there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Vec<u8> {
        match self.reports.recv().await {
            Some(frame) => frame,
            None => std::future::pending().await,
        }
    }

    /// The machine says something to a client.
    pub(super) fn say(&self, frame: &[u8]) {
        let Some(Frame { account, word }) = Frame::<Order>::parse(frame) else {
            return;
        };
        if let Some(orders) = self.orders.get(account as usize) {
            // One that takes none is given none: the machine hears no answer, and gives up in time.
            orders.try_send(word).ok();
        }
    }

    /// Lets what was said last reach the service.
    pub(super) async fn end(self) {
        let Self { orders, mut reports } = self;
        drop(orders);
        let ended = async { while reports.recv().await.is_some() {} };
        let _ = timeout(ENDING, ended).await;
    }
}

/// Keeps the client of an account running, until nobody gives orders any more.
async fn supervise(
    setup: ClientSetup,
    level: Level,
    name: String,
    mut orders: mpsc::Receiver<Order>,
    reports: mpsc::Sender<Vec<u8>>,
) {
    let account = setup.account;
    let mut pause = MIN_PAUSE;
    loop {
        let began = Instant::now();
        let why = match serve(&setup, level, &mut orders, &reports).await {
            Ok(End::Stopped) => return,
            Ok(End::Ended(how)) => how,
            Err(error) => format!("{error:#}"),
        };
        if began.elapsed() >= RAN {
            pause = MIN_PAUSE;
        }
        tracing::error!(
            account = name,
            why,
            seconds = pause.as_secs(),
            "telegram: the client has ended and is started again"
        );
        let away = Frame {
            account,
            word: Report::Away,
        };
        if reports.send(away.to_bytes()).await.is_err() {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
        // What was asked of it meanwhile nobody has heard, and nobody is to hear late.
        while let Ok(order) = orders.try_recv() {
            if let Order::Request { number, .. } = order {
                let error = RpcError::unreachable();
                let word = Report::Error { number, error };
                let _ = reports.send(Frame { account, word }.to_bytes()).await;
            }
        }
    }
}

/// How a client's process came to its end.
enum End {
    /// There are no orders any more.
    Stopped,
    /// By itself: how.
    Ended(String),
}

async fn serve(
    setup: &ClientSetup,
    level: Level,
    orders: &mut mpsc::Receiver<Order>,
    reports: &mpsc::Sender<Vec<u8>>,
) -> anyhow::Result<End> {
    // Whatever stands under the program's name by now.
    let mut child: Child = Command::new("/proc/self/exe")
        .arg(VERB)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Who stops the gateway by a terminal stops it alone: it has a last word for the client.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start a process")?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, mut stdout) = stdin.zip(stdout).context("a process without pipes")?;
    let first = Zeroizing::new(serde_json::to_vec(&(setup, level.0.as_str())).context("a setup is JSON")?);
    pieces::write(&mut stdin, &first).await.context("it does not listen")?;
    let account = setup.account;
    let say = async {
        while let Some(word) = orders.recv().await {
            if pieces::write(&mut stdin, &Frame { account, word }.to_bytes())
                .await
                .is_err()
            {
                return false;
            }
        }
        true
    };
    let hear = async {
        while let Ok(Some(frame)) = pieces::read(&mut stdout).await {
            // It speaks for its own account.
            if Frame::<Report>::parse(&frame).is_some_and(|frame| frame.account == account) {
                let _ = reports.send(frame).await;
            }
        }
    };
    tokio::pin!(hear);
    let is_stopped = tokio::select! {
        is_stopped = say => is_stopped,
        () = &mut hear => false,
    };
    drop(stdin);
    if is_stopped {
        // What it was told last it passes on.
        let _ = timeout(ENDING, hear).await;
        return Ok(End::Stopped);
    }
    child.start_kill().ok();
    let status = child.wait().await.context("it cannot be waited for")?;
    Ok(End::Ended(status.to_string()))
}

/// The process of a client, from its first piece to the end of its orders.
///
/// # Errors
/// If it was started by hand.
pub(crate) fn client_process() -> anyhow::Result<u8> {
    process::forbid_core_dumps().context("core dumps cannot be switched off, and one would hold keys")?;
    process::limit_memory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        // It ends when its orders do, and not before.
        let _terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        serve_pipes(tokio::io::stdin(), tokio::io::stdout()).await
    });
    runtime.shutdown_background();
    ended.map(|()| 0)
}

async fn serve_pipes<R, W>(mut from: R, mut to: W) -> anyhow::Result<()>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let first = pieces::read(&mut from).await?.map(Zeroizing::new);
    let first = first.context("this is started by `quartet run`, and by nobody else")?;
    let (setup, level): (ClientSetup, String) =
        serde_json::from_slice(&first).context("this is started by `quartet run`, and by nobody else")?;
    log::init(level.parse()?)?;
    let (orders, taken) = mpsc::channel(WAITING);
    let (reports, mut said) = mpsc::channel::<Vec<u8>>(WAITING);
    let hear = async move {
        while let Ok(Some(frame)) = pieces::read(&mut from).await {
            let Some(Frame { word, .. }) = Frame::<Order>::parse(&frame) else {
                continue;
            };
            if orders.send(word).await.is_err() {
                return;
            }
        }
    };
    tokio::spawn(hear);
    let client = tokio::spawn(run(setup, taken, reports));
    while let Some(frame) = said.recv().await {
        pieces::write(&mut to, &frame).await?;
    }
    client.await.context("the client")
}

/// The machine that the settings make; `None` without an account.
pub(super) fn phone(settings: &Telegram) -> Option<Phone> {
    (!settings.accounts.is_empty()).then(|| Phone::new(phone_config(settings)))
}

/// Accounts and pools, as the machine wants them.
pub(crate) fn phone_config(settings: &Telegram) -> PhoneConfig {
    let place = |name: &String| settings.accounts.iter().position(|account| account.name == *name);
    let accounts = settings.accounts.iter().map(|account| Account {
        name: account.name.clone(),
        calls_per_hour: account.calls_per_hour,
        lookups_per_day: account.lookups_per_day,
        dials_numbers: account.dial_numbers,
        allow: account.allow.clone(),
        block: account.block.clone(),
        display: account.caller_display,
        tells_headers: account.caller_headers,
    });
    let pools = settings.pools.iter();
    PhoneConfig {
        accounts: accounts.collect(),
        pools: pools
            .map(|(name, accounts)| (name.clone(), accounts.iter().filter_map(place).collect()))
            .collect(),
    }
}

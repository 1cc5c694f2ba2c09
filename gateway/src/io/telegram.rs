//! The clients of the accounts of the telegram network, a task each, and what passes between them and the machine.

use tokio::sync::mpsc;

use crate::config::Telegram;
use crate::networks::telegram::client::{ClientSetup, run};
use crate::networks::telegram::frame::{Frame, Order};
use crate::networks::telegram::{Account, Phone, PhoneConfig};

/// Frames of all clients that may wait.
const WAITING: usize = 4096;

/// All clients.
pub(super) struct TelegramClients {
    orders: Vec<mpsc::UnboundedSender<Order>>,
    reports: mpsc::Receiver<Vec<u8>>,
}

impl TelegramClients {
    /// Starts a client for each account.
    pub(super) fn start(settings: &Telegram) -> Self {
        let (out, reports) = mpsc::channel(WAITING);
        let start = |(place, account): (usize, &crate::config::TelegramAccount)| {
            let (orders, taken) = mpsc::unbounded_channel();
            let setup = ClientSetup {
                account: u32::try_from(place).unwrap_or(u32::MAX),
                api_id: account.api_id,
                session: account.session_file.clone(),
                key: account.session_key_file.clone(),
            };
            tokio::spawn(run(setup, taken, out.clone()));
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
            // Bounded by its maker: a call has some twenty requests at a time.
            orders.send(word).ok();
        }
    }
}

/// The machine that the settings make; `None` without an account.
pub(super) fn phone(settings: &Telegram) -> Option<Phone> {
    let place = |name: &String| settings.accounts.iter().position(|account| account.name == *name);
    let accounts = settings.accounts.iter().map(|account| Account {
        name: account.name.clone(),
        calls_per_hour: account.calls_per_hour,
        lookups_per_day: account.lookups_per_day,
        dials_numbers: account.dial_numbers,
    });
    let pools = settings.pools.iter();
    let config = PhoneConfig {
        accounts: accounts.collect(),
        pools: pools
            .map(|(name, accounts)| (name.clone(), accounts.iter().filter_map(place).collect()))
            .collect(),
    };
    (!config.accounts.is_empty()).then(|| Phone::new(config))
}

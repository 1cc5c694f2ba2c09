//! `[network.telegram.NAME]` and `[telegram_pool.NAME]`: the operator's accounts at the service, and pools of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::check::Block;
use super::cross::text_at;
use super::kind::quoted;
use super::problem::{Place, Problem};
use super::rows::preset;
use super::units::patterns;
use crate::permissions::read_secret;
use crate::route::{Pattern, Target};

/// What routes call the network.
const NETWORK: &str = "telegram";
/// The section of an account.
pub(super) const ACCOUNT: &str = "network.telegram";
/// The section of a pool.
pub(super) const POOL: &str = "telegram_pool";

/// An account, as `[network.telegram.NAME]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelegramAccount {
    /// What routes call it.
    pub name: String,
    /// Identifies the operator's application to the service.
    pub api_id: i32,
    /// Where its secret is.
    pub api_hash_file: PathBuf,
    /// By which proxy the service is reached.
    pub proxy: Option<SocksProxy>,
    /// Whether it is the service's public test service.
    pub test_service: bool,
    /// Where the login is kept.
    pub session_file: PathBuf,
    /// Where the key to that is.
    pub session_key_file: PathBuf,
    /// Calls that it places in an hour.
    pub calls_per_hour: u32,
    /// Users that it looks up in a day.
    pub lookups_per_day: u32,
    /// Whether telephone numbers may be dialled.
    pub dial_numbers: bool,
    /// Who may call it; none: everybody.
    pub allow: Vec<Pattern>,
    /// Who may not.
    pub block: Vec<Pattern>,
    /// What displays show of a caller.
    pub caller_display: CallerDisplay,
    /// Whether phones are told of a caller in header fields.
    pub caller_headers: bool,
}

/// What the display of a phone shows of a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallerDisplay {
    /// The name that the caller goes by.
    #[default]
    Name,
    /// The user name.
    User,
    /// Both.
    Both,
}

/// A SOCKS5 proxy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocksProxy {
    /// `HOST:PORT`.
    pub place: String,
    /// User and password, if it wants them.
    pub login: Option<(String, Zeroizing<String>)>,
}

impl std::fmt::Debug for SocksProxy {
    /// Prints no password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SocksProxy({})", self.place)
    }
}

impl SocksProxy {
    /// Reads user and password, as `proxy_login_file` holds them.
    ///
    /// # Errors
    /// The rest of a sentence. They are written into a URL that nobody decodes, so characters that have a meaning there are refused.
    pub fn read_login(text: &str) -> Result<(String, Zeroizing<String>), &'static str> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,".contains(c);
        match text.trim().split_once(':') {
            Some((user, password)) if !user.is_empty() && user.chars().chain(password.chars()).all(is_plain) => {
                Ok((user.to_owned(), Zeroizing::new(password.to_owned())))
            }
            Some(_) => Err("which has a character that cannot be used: only letters, digits and -._~!$&'()*+, are"),
            None => Err("which does not hold USER:PASSWORD"),
        }
    }
}

/// All accounts and pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telegram {
    /// In the order of their names.
    pub accounts: Vec<TelegramAccount>,
    /// The accounts of each pool, by name.
    pub pools: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountRow {
    name: String,
    api_id: i32,
    api_hash_file: PathBuf,
    proxy: Option<String>,
    proxy_login_file: Option<PathBuf>,
    #[serde(default)]
    test_service: bool,
    session_file: Option<PathBuf>,
    session_key_file: Option<PathBuf>,
    calls_per_hour: Option<u32>,
    lookups_per_day: Option<u32>,
    #[serde(default)]
    dial_numbers: bool,
    #[serde(default, deserialize_with = "patterns")]
    allow: Vec<Pattern>,
    #[serde(default, deserialize_with = "patterns")]
    block: Vec<Pattern>,
    #[serde(default)]
    caller_display: CallerDisplay,
    #[serde(default)]
    caller_headers: bool,
}

/// The accounts of quartet.conf.
#[derive(Deserialize)]
pub(super) struct AccountRows {
    #[serde(default, rename = "accounts")]
    pub(super) rows: Vec<AccountRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolRow {
    name: String,
    accounts: Vec<String>,
}

/// The pools of quartet.conf.
#[derive(Deserialize)]
pub(super) struct PoolRows {
    #[serde(default, rename = "pools")]
    pub(super) rows: Vec<PoolRow>,
}

impl Telegram {
    /// Fills in what the file leaves open; `state` is the folder of `[store] path`.
    pub(super) fn complete(accounts: Vec<AccountRow>, pools: Vec<PoolRow>, folder: &Path, state: &Path) -> Self {
        let account = |row: AccountRow| TelegramAccount {
            api_id: row.api_id,
            api_hash_file: folder.join(row.api_hash_file),
            proxy: row.proxy.map(|url| SocksProxy {
                place: url.trim_start_matches("socks5://").to_owned(),
                // Checked before.
                login: row.proxy_login_file.and_then(|path| {
                    let text = read_secret(&folder.join(path)).ok()?;
                    SocksProxy::read_login(&text).ok()
                }),
            }),
            test_service: row.test_service,
            session_file: match row.session_file {
                Some(path) => folder.join(path),
                None => state.join(format!("telegram-{}.session", row.name)),
            },
            session_key_file: match row.session_key_file {
                Some(path) => folder.join(path),
                None => state.join("telegram.key"),
            },
            calls_per_hour: row.calls_per_hour.unwrap_or_else(|| preset(ACCOUNT, "calls_per_hour")),
            lookups_per_day: row
                .lookups_per_day
                .unwrap_or_else(|| preset(ACCOUNT, "lookups_per_day")),
            dial_numbers: row.dial_numbers,
            allow: row.allow,
            block: row.block,
            caller_display: row.caller_display,
            caller_headers: row.caller_headers,
            name: row.name,
        };
        Self {
            accounts: accounts.into_iter().map(account).collect(),
            pools: pools.into_iter().map(|pool| (pool.name, pool.accounts)).collect(),
        }
    }

    /// The account of that name.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<&TelegramAccount> {
        self.accounts.iter().find(|account| account.name == name)
    }
}

fn names(blocks: &[Block]) -> impl Iterator<Item = &str> {
    blocks.iter().filter_map(|block| Some(text_at(block, "name")?.0))
}

/// Checks accounts and pools against each other and against the disk.
pub(super) fn check(folder: &Path, accounts: &[Block], pools: &[Block], problems: &mut Vec<Problem>) {
    let mut problem = |place: &Place, sentence: String| {
        problems.push(Problem {
            place: place.clone(),
            sentence,
        });
    };
    for block in accounts {
        if let Some((path, place)) = text_at(block, "api_hash_file")
            && let Err(why) = read_secret(&folder.join(path))
        {
            problem(place, format!("api_hash_file names {}, {why}", quoted(path)));
        }
        if let Some((path, place)) = text_at(block, "proxy_login_file") {
            let read = read_secret(&folder.join(path));
            let read = read.and_then(|text| SocksProxy::read_login(&text).map(drop).map_err(str::to_owned));
            if let Err(why) = read {
                problem(place, format!("proxy_login_file names {}, {why}", quoted(path)));
            } else if text_at(block, "proxy").is_none() {
                problem(
                    place,
                    "proxy_login_file is of no use without proxy; add proxy = \"socks5://HOST:PORT\"".to_owned(),
                );
            }
        }
    }
    for block in pools {
        if let Some((name, _)) = text_at(block, "name")
            && names(accounts).any(|account| account == name)
        {
            problem(
                &block.place,
                format!(
                    "{} is an account and a pool; give one of them another name",
                    quoted(name)
                ),
            );
        }
        let Some(listed) = block.values.get("accounts") else {
            continue;
        };
        let place = listed.place.as_ref().unwrap_or(&block.place);
        for (_, account) in listed.value.texts(0) {
            if !names(accounts).any(|known| known == account) {
                problem(
                    place,
                    format!(
                        "accounts names {}, which has no section [{ACCOUNT}.{account}]",
                        quoted(account)
                    ),
                );
            }
        }
    }
}

/// Checks that what routes name is there.
pub(super) fn check_routes(routes: &[Block], accounts: &[Block], pools: &[Block], problems: &mut Vec<Problem>) {
    for block in routes {
        let Some(to) = block.values.get("to") else { continue };
        for (_, text) in to.value.texts(0) {
            let Ok(Target::Network { network, user }) = text.parse() else {
                continue;
            };
            if network != NETWORK {
                continue;
            }
            let text = user.to_string();
            let place = to.place.as_ref().unwrap_or(&block.place);
            let sentence = match text.split_once('/') {
                None => "to names the telegram network without an account; write \"telegram:NAME/@{user}\"".to_owned(),
                Some((name, _)) if names(accounts).chain(names(pools)).any(|known| known == name) => continue,
                Some((name, _)) => format!(
                    "to names the account {}, which quartet.conf does not have; add [{ACCOUNT}.{name}] there or correct the route",
                    quoted(name)
                ),
            };
            problems.push(Problem {
                place: place.clone(),
                sentence,
            });
        }
    }
}

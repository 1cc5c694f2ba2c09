//! One account: whom it knows, how often it may ask, and its one call.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use grammers_tl_types::enums;
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::dial::Dialled;
use crate::config::CallerDisplay;
use crate::networks::{DiscardReason, NetworkCall, Refusal};
use crate::route::Pattern;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Users that an account remembers.
const MAX_PEERS: usize = 10_000;
/// Updates that wait for the answer that names their call, and how long.
const MAX_EARLY: usize = 16;
pub(super) const EARLY: Duration = Duration::from_secs(1);

/// An account of the operator's.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// As in `[network.telegram.NAME]`.
    pub name: String,
    /// Calls that it places in an hour.
    pub calls_per_hour: u32,
    /// Users that it looks up in a day.
    pub lookups_per_day: u32,
    /// Whether telephone numbers may be dialled.
    pub dials_numbers: bool,
    /// Who may call it; none: everybody.
    pub allow: Vec<Pattern>,
    /// Who may not.
    pub block: Vec<Pattern>,
    /// What displays show of a caller.
    pub display: CallerDisplay,
    /// Whether phones are told of a caller in header fields.
    pub tells_headers: bool,
}

/// Where an account stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not been connected yet, or is not just now.
    Away,
    Up,
    /// Somebody has to log in.
    Out,
}

/// How long steps of a call may take, as the service says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    pub(super) receive: Duration,
    pub(super) ring: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            receive: Duration::from_secs(20),
            ring: Duration::from_secs(90),
        }
    }
}

/// The end of a call of which the service has not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// The call and the key to it.
    pub(super) there: (i64, i64),
    pub(super) reason: DiscardReason,
    pub(super) duration: Duration,
}

/// What outlives the process.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Calls, each with the key to it.
    calls: Vec<(i64, i64)>,
    /// Users by what was dialled, each with the key to him.
    #[serde(default)]
    names: BTreeMap<String, (i64, i64)>,
}

#[derive(Debug)]
pub(super) struct Line {
    config: Account,
    pub(super) standing: Standing,
    pub(super) call: Option<NetworkCall>,
    /// A call that was given up before the service had named it.
    pub(super) unnamed: Option<(NetworkCall, DiscardReason)>,
    pub(super) timers: Timers,
    pub(super) dh_version: i32,
    pub(super) dh_random: Option<Box<[u8; 256]>>,
    /// Whether the group of the key exchange is the one that we know.
    pub(super) is_group_known: bool,
    pub(super) calls: Budget,
    pub(super) lookups: Budget,
    kept: Kept,
    /// A user was met or forgotten since it was kept.
    is_new: bool,
    /// Calls that are over, and of which the service could not be told: those of an earlier process too.
    pub(super) left: Vec<Left>,
    pub(super) early: VecDeque<(Instant, enums::PhoneCall)>,
    /// What an app spoke last that we do not.
    drifted: String,
}

impl Left {
    pub(super) fn new(there: (i64, i64), reason: DiscardReason) -> Self {
        Self {
            there,
            reason,
            duration: Duration::ZERO,
        }
    }
}

impl Line {
    pub(super) fn new(config: Account) -> Self {
        Self {
            standing: Standing::Away,
            call: None,
            unnamed: None,
            timers: Timers::default(),
            dh_version: 0,
            dh_random: None,
            is_group_known: true,
            calls: Budget::new(config.calls_per_hour, HOUR),
            lookups: Budget::new(config.lookups_per_day, DAY),
            kept: Kept::default(),
            is_new: false,
            left: Vec::new(),
            early: VecDeque::new(),
            drifted: String::new(),
            config,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    pub(super) fn config(&self) -> &Account {
        &self.config
    }

    /// An app speaks nothing that we do: said once, for the next one is most likely the same.
    pub(super) fn on_drift(&mut self, what: &str) {
        if self.drifted != what {
            what.clone_into(&mut self.drifted);
            tracing::warn!(
                account = self.name(),
                theirs = what,
                ours = ?quartet_proto::e2ee::versions(),
                "the other app speaks no version that we know: look for a newer Quartet"
            );
        }
    }

    /// Where it stands, in words for the operator.
    pub(super) fn words(&self, now: Instant) -> String {
        let word = match self.standing {
            Standing::Up if self.call.is_some() => "in a call",
            Standing::Up => "up",
            Standing::Away => "away",
            Standing::Out => "logged out",
        };
        match self.calls.paused(now).as_secs() {
            0 => word.to_owned(),
            seconds => format!("{word}, no calls for {seconds} s as the service wants it"),
        }
    }

    /// How many calls it has placed of late, if it may place one to that user now.
    pub(super) fn may_call(&mut self, now: Instant, user: &Dialled) -> Result<usize, Refusal> {
        if self.standing != Standing::Up || !self.is_group_known {
            return Err(Refusal::Lost);
        }
        if self.call.is_some() {
            return Err(Refusal::Busy);
        }
        if matches!(user, Dialled::Number(_)) && !self.config.dials_numbers {
            return Err(Refusal::Forbidden);
        }
        let mut retry_after = self.calls.wait(now);
        match (self.peer(user), user) {
            (Some(_), _) => {}
            (None, Dialled::Id(_)) => return Err(Refusal::UnknownUser),
            (None, _) => retry_after = retry_after.max(self.lookups.wait(now)),
        }
        if retry_after > Duration::ZERO {
            return Err(Refusal::RateLimited { retry_after });
        }
        Ok(self.calls.made())
    }

    /// The user's number and the key to him, if the account has met him.
    pub(super) fn peer(&self, user: &Dialled) -> Option<(i64, i64)> {
        match user {
            Dialled::Id(id) => self.kept.names.values().find(|peer| peer.0 == *id).copied(),
            Dialled::Name(_) | Dialled::Number(_) => self.kept.names.get(&key(user)).copied(),
        }
    }

    /// Remembers a user.
    pub(super) fn meet(&mut self, user: &Dialled, peer: (i64, i64)) {
        if self.kept.names.len() < MAX_PEERS || self.kept.names.contains_key(&key(user)) {
            self.is_new |= self.kept.names.insert(key(user), peer) != Some(peer);
        }
    }

    /// The key to a user is worth nothing any more.
    pub(super) fn forget(&mut self, user_id: i64) {
        self.kept.names.retain(|_, peer| peer.0 != user_id);
        self.is_new = true;
    }

    /// What is to be kept, if it is not what was kept last.
    pub(super) fn kept_anew(&mut self, live: Vec<(i64, i64)>) -> Option<Vec<u8>> {
        let names = std::mem::take(&mut self.kept.names);
        let before = std::mem::replace(&mut self.kept, Kept { calls: live, names });
        let is_new = std::mem::take(&mut self.is_new) || before.calls != self.kept.calls;
        is_new.then(|| serde_json::to_vec(&self.kept).unwrap_or_default())
    }

    /// Takes what was kept; these calls stand.
    pub(super) fn recall(&mut self, kept: &[u8], live: &[(i64, i64)]) {
        let Ok(kept) = serde_json::from_slice::<Kept>(kept) else {
            return;
        };
        let left = kept.calls.into_iter().filter(|there| !live.contains(there));
        self.left = left.map(|there| Left::new(there, DiscardReason::Disconnect)).collect();
        self.kept.names = kept.names;
    }

    /// An update of a call that is not known yet.
    pub(super) fn wait_for_name(&mut self, now: Instant, update: enums::PhoneCall) {
        self.early.retain(|(at, _)| now.saturating_duration_since(*at) < EARLY);
        if self.early.len() < MAX_EARLY {
            self.early.push_back((now, update));
        }
    }
}

/// As a user is dialled, in one word.
fn key(user: &Dialled) -> String {
    match user {
        Dialled::Name(name) => format!("@{name}"),
        Dialled::Id(id) => id.to_string(),
        Dialled::Number(number) => format!("+{number}"),
    }
}

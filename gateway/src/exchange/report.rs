//! What an operator sees of the exchange: rows for `quartet calls` and `quartet phones`.

use std::net::IpAddr;
use std::time::Instant;

use quartet_proto::sip::Locked;
use serde::Serialize;

use super::{Exchange, ForeignId};
use crate::call::{Call, CallKey};
use crate::cdr::{LegFigures, Side};

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallRow {
    /// Its key.
    pub id: String,
    /// The caller.
    pub from: String,
    /// What was dialled.
    pub to: String,
    /// `ringing`, `connecting`, `talking`, `ended`.
    pub state: &'static str,
    /// How long the two have been talking.
    pub seconds: Option<u64>,
    /// What is known about the emojis.
    pub verdict: &'static str,
    /// The emojis, once there is a key.
    pub emojis: Option<[&'static str; 4]>,
    /// Their words.
    pub words: Option<[&'static str; 4]>,
    /// The phone holds the call, or its person hears the words: the user hears nothing of it.
    pub phone_muted: bool,
    /// The language of the words that are being spoken to the phone.
    pub spoken: Option<String>,
    /// The user is muted, as its side says.
    pub user_muted: bool,
    /// The language of the words that are being spoken to the user's person, where that is at another gateway.
    pub user_spoken: Option<String>,
    /// By which way media went to the user last; none before the first packet.
    pub path: Option<String>,
    /// What media is like on each side, the phone first.
    pub media: Vec<LegFigures>,
    /// What others call this call: one row for each leg.
    pub legs: Vec<LegRow>,
}

/// What the other side of a leg calls the call.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LegRow {
    /// A phone or a PBX.
    Sip {
        /// The `Call-ID` of its dialog.
        sip_call_id: String,
    },
    /// An E2EE user.
    Network {
        /// The network's name in the conf files.
        network: String,
        /// The network's id of the call.
        network_call: String,
    },
}

/// One contact of a phone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhoneRow {
    /// The login name.
    pub user: String,
    /// Where it says it is.
    pub contact: String,
    /// Where it really is.
    pub source: String,
    /// Seconds until it has to register again.
    pub expires_s: u64,
    /// What it says it is.
    pub user_agent: Option<String>,
}

/// A source, or an account, whose logins are not judged for now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LockedRow {
    /// The address, or the /64 of IPv6; none for an account that fails from many.
    pub source: Option<IpAddr>,
    /// The account; none for a source that fails whatever it tries.
    pub account: Option<String>,
    /// Failed logins since it was last at rest.
    pub failures: u32,
    /// Seconds until the next login is judged.
    pub seconds: u64,
}

impl Exchange {
    /// Whose logins are not judged now.
    pub fn locked(&self, now: Instant) -> Vec<LockedRow> {
        let row = |locked: Locked| LockedRow {
            source: locked.source,
            account: locked.account,
            failures: locked.failures,
            seconds: locked.until.saturating_duration_since(now).as_secs_f64().ceil() as u64,
        };
        self.endpoint.locked(now).into_iter().map(row).collect()
    }

    /// Forgets the failed logins of a source or an account; false if it was not locked.
    pub fn unlock(&mut self, now: Instant, who: &str) -> bool {
        let before = self.endpoint.locked(now).len();
        self.endpoint.unlock(who);
        self.endpoint.locked(now).len() < before
    }

    /// How many calls there are, those that are being closed included.
    pub fn call_count(&self) -> usize {
        self.calls.len()
    }

    /// SIP transactions, those included that only absorb retransmissions.
    pub fn transaction_count(&self) -> usize {
        self.endpoint.transaction_count()
    }

    /// Whether no call and no dialog is left.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.endpoint.dialog_count() == 0
    }

    /// Calls in any state as the networks know them: none may outlive the calls here.
    #[cfg(feature = "fuzzing")]
    pub fn network_calls(&self) -> usize {
        self.networks.values().map(|network| network.calls()).sum()
    }

    /// The calls, oldest first.
    pub fn calls(&self, now: Instant) -> Vec<CallRow> {
        let row = |call: &Call| {
            let media = call.sides();
            let user = media.iter().find(|leg| leg.side == Side::Network);
            CallRow {
                id: call.key().to_string(),
                from: call.parties().from.clone(),
                to: call.parties().to.clone(),
                state: call.state().word(),
                seconds: call.talked(now).map(|talked| talked.as_secs()),
                verdict: call.verdict().word(),
                emojis: call.emojis().map(|emojis| [0, 1, 2, 3].map(|i| emojis[i].symbol())),
                words: call.emojis().map(|emojis| [0, 1, 2, 3].map(|i| emojis[i].word())),
                phone_muted: call.sound().1.muted,
                spoken: call.sound().1.spoken.clone(),
                user_muted: call.sound().0.muted,
                user_spoken: call.sound().0.spoken.clone(),
                path: user.and_then(|leg| leg.path.clone()),
                media,
                legs: self.leg_rows(call.key()),
            }
        };
        self.calls.values().map(row).collect()
    }

    fn leg_rows(&self, call: CallKey) -> Vec<LegRow> {
        let legs = self.legs.get(&call).into_iter().flatten();
        legs.filter_map(|(_, foreign_id)| match foreign_id {
            ForeignId::Dialog(dialog) => {
                let sip_call_id = self.endpoint.call_id(*dialog)?.to_owned();
                Some(LegRow::Sip { sip_call_id })
            }
            ForeignId::Network(network, call) => Some(LegRow::Network {
                network: network.to_string(),
                network_call: call.to_string(),
            }),
        })
        .collect()
    }

    /// The contacts of all phones.
    pub fn phones(&self, now: Instant) -> Vec<PhoneRow> {
        let rows = |(user, contacts): (String, Vec<quartet_proto::sip::Contact>)| {
            contacts.into_iter().map(move |contact| PhoneRow {
                user: user.clone(),
                contact: contact.uri.to_string(),
                source: contact.five_tuple.remote.to_string(),
                expires_s: contact.expires.saturating_duration_since(now).as_secs(),
                user_agent: contact.user_agent,
            })
        };
        self.endpoint
            .registered_accounts(now)
            .into_iter()
            .flat_map(rows)
            .collect()
    }
}

//! Phones are told what other phones do, and what they have missed: SIP says how they ask, calls say what there is to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use quartet_proto::sip::{DialogKey, Line, Package, PackageState, SipCommand, SipEvent};

use super::Exchange;
use crate::call::CallKey;
use crate::log::Redacted;
use crate::route::DestinationKind;

/// What one phone does.
#[derive(Debug, Default)]
struct Watched {
    /// In each of its calls.
    calls: BTreeMap<CallKey, Line>,
    /// Calls that it has missed since somebody had it in the hand.
    missed: u32,
    /// Who is told of it.
    watchers: BTreeSet<DialogKey>,
}

impl Watched {
    /// What it does in the busiest of its calls.
    fn line(&self) -> Line {
        self.calls.values().copied().max().unwrap_or_default()
    }
}

/// Which subscriptions there are, and what every phone does.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    phones: BTreeMap<String, Watched>,
    /// The phones of each call, as last looked at.
    of_call: BTreeMap<CallKey, Vec<(String, Line)>>,
    /// Of what, and of which phones, each is told.
    subscriptions: BTreeMap<DialogKey, (Package, Vec<String>)>,
}

impl Watchers {
    /// What a subscription is told now: of several phones, what the busiest does.
    pub(super) fn state(&self, subscription: DialogKey) -> Option<PackageState> {
        let (package, phones) = self.subscriptions.get(&subscription)?;
        let phones = phones.iter().filter_map(|phone| self.phones.get(phone));
        Some(match package {
            Package::Dialog => PackageState::Line(phones.map(Watched::line).max().unwrap_or_default()),
            Package::MessageSummary => PackageState::Missed(phones.map(|phone| phone.missed).sum()),
        })
    }

    fn subscribe(&mut self, subscription: DialogKey, package: Package, phones: Vec<String>) {
        self.unsubscribe(subscription);
        for phone in &phones {
            self.phones
                .entry(phone.clone())
                .or_default()
                .watchers
                .insert(subscription);
        }
        self.subscriptions.insert(subscription, (package, phones));
    }

    fn unsubscribe(&mut self, subscription: DialogKey) {
        let Some((_, phones)) = self.subscriptions.remove(&subscription) else {
            return;
        };
        for phone in phones {
            if let Some(watched) = self.phones.get_mut(&phone) {
                watched.watchers.remove(&subscription);
            }
            self.drop_unused(&phone);
        }
    }

    /// A phone about which there is nothing to be told is not kept.
    fn drop_unused(&mut self, phone: &str) {
        let is_used = |it: &Watched| !it.calls.is_empty() || !it.watchers.is_empty() || it.missed > 0;
        if self.phones.get(phone).is_some_and(|watched| !is_used(watched)) {
            self.phones.remove(phone);
        }
    }

    /// Takes what the phones of a call do now; gives who is to be told. `missed`: nobody took it.
    fn follow(&mut self, call: CallKey, lines: Vec<(String, Line)>, missed: bool) -> Vec<DialogKey> {
        let before = match lines.is_empty() {
            true => self.of_call.remove(&call),
            false => self.of_call.insert(call, lines.clone()),
        };
        let phones: BTreeSet<String> = before
            .into_iter()
            .flatten()
            .chain(lines.clone())
            .map(|(phone, _)| phone)
            .collect();
        let watched = phones.iter().filter_map(|phone| self.phones.get(phone));
        let watchers: BTreeSet<_> = watched.flat_map(|phone| phone.watchers.iter().copied()).collect();
        let told: Vec<_> = watchers
            .into_iter()
            .map(|watcher| (watcher, self.state(watcher)))
            .collect();
        for phone in &phones {
            let watched = self.phones.entry(phone.clone()).or_default();
            let its = lines.iter().filter(|(user, _)| user == phone);
            let now = its.map(|(_, line)| *line).max();
            let was = match now {
                Some(line) => watched.calls.insert(call, line),
                None => watched.calls.remove(&call),
            };
            if now == Some(Line::Talking) || now == Some(Line::Calling) {
                // Somebody has it in the hand.
                watched.missed = 0;
            } else if now.is_none() && was == Some(Line::Ringing) && missed {
                watched.missed += 1;
            }
            self.drop_unused(phone);
        }
        let changed = told.into_iter().filter(|(watcher, told)| self.state(*watcher) != *told);
        changed.map(|(watcher, _)| watcher).collect()
    }

    /// Whether a call is as it was when it was last looked at.
    fn is_known<'a>(&'a self, call: CallKey, lines: impl Iterator<Item = (&'a str, Line)>) -> bool {
        let known = self.of_call.get(&call).into_iter().flatten();
        lines.eq(known.map(|(phone, line)| (phone.as_str(), *line)))
    }
}

impl Exchange {
    /// A phone wants to be told, or does not any more.
    pub(super) fn on_watch_event(&mut self, now: Instant, event: &SipEvent) {
        if let SipEvent::Unsubscribed { subscription } = event {
            self.watchers.unsubscribe(*subscription);
        }
        let SipEvent::Subscribe {
            subscription,
            account,
            package,
            target,
        } = event
        else {
            return;
        };
        let subscription = *subscription;
        match self.watchable(account, *package, target) {
            Ok(phones) => {
                self.watchers.subscribe(subscription, *package, phones);
                self.tell_watcher(now, subscription);
            }
            Err(status) => {
                tracing::debug!(account = %Redacted(account), status, "subscription refused");
                self.tell_phone(now, SipCommand::RefuseSubscription { subscription, status });
            }
        }
    }

    /// The phones that this one may be told of: those that it may call by this number, and of what was missed only itself.
    fn watchable(&self, account: &str, package: Package, target: &str) -> Result<Vec<String>, u16> {
        match package {
            Package::MessageSummary | Package::Dialog if target == account => Ok(vec![account.to_owned()]),
            Package::MessageSummary => Err(403),
            Package::Dialog => match self.route_of(account, target).map_err(|cause| cause.status())?.kind {
                DestinationKind::Phones(phones) => Ok(phones),
                // Of people elsewhere nobody is told when they are in a call.
                DestinationKind::Trunk { .. } | DestinationKind::User { .. } => Err(403),
            },
        }
    }

    /// A call may have changed: whoever is to know what its phones do is told.
    pub(super) fn follow_lines(&mut self, now: Instant, key: CallKey) {
        let call = self.calls.get(&key);
        if self
            .watchers
            .is_known(key, call.into_iter().flat_map(|call| call.lines()))
        {
            return;
        }
        let lines = call.into_iter().flat_map(|call| call.lines());
        let lines = lines.map(|(phone, line)| (phone.to_owned(), line)).collect();
        let missed = call.is_some_and(|call| call.is_missed());
        for subscription in self.watchers.follow(key, lines, missed) {
            self.tell_watcher(now, subscription);
        }
    }

    fn tell_watcher(&mut self, now: Instant, subscription: DialogKey) {
        if let Some(state) = self.watchers.state(subscription) {
            self.tell_phone(now, SipCommand::Notify { subscription, state });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> CallKey {
        CallKey::new(
            crate::call::Instance::draw(&mut rand_chacha::ChaCha8Rng::from_seed([0; 32])),
            n,
        )
    }

    use rand_core::SeedableRng as _;

    fn lines(of: &[(&str, Line)]) -> Vec<(String, Line)> {
        of.iter().map(|(phone, line)| ((*phone).to_owned(), *line)).collect()
    }

    #[test]
    fn a_lamp_shows_the_busiest_of_its_calls_and_is_told_of_changes_alone() {
        let mut watchers = Watchers::default();
        let watch = DialogKey(1);
        watchers.subscribe(watch, Package::Dialog, vec!["101".to_owned()]);
        assert_eq!(watchers.state(watch), Some(PackageState::Line(Line::Free)));
        let ringing = lines(&[("100", Line::Calling), ("101", Line::Ringing)]);
        assert_eq!(watchers.follow(key(1), ringing, false), [watch]);
        assert_eq!(watchers.state(watch), Some(PackageState::Line(Line::Ringing)));
        assert_eq!(
            watchers.follow(key(2), lines(&[("101", Line::Talking)]), false),
            [watch]
        );
        // One more call of a phone that talks changes nothing, nor does its end.
        assert_eq!(watchers.follow(key(1), lines(&[("100", Line::Calling)]), false), []);
        assert_eq!(watchers.follow(key(2), Vec::new(), false), [watch]);
        assert_eq!(watchers.state(watch), Some(PackageState::Line(Line::Free)));
        watchers.follow(key(1), Vec::new(), true);
        watchers.unsubscribe(watch);
        assert!(
            watchers.phones.is_empty() && watchers.of_call.is_empty(),
            "{watchers:?}"
        );
    }

    #[test]
    fn a_lamp_for_several_phones_is_told_once_of_what_a_call_does_to_them() {
        let mut watchers = Watchers::default();
        let watch = DialogKey(1);
        watchers.subscribe(watch, Package::Dialog, vec!["101".to_owned(), "102".to_owned()]);
        let both = lines(&[("101", Line::Ringing), ("102", Line::Ringing)]);
        assert_eq!(watchers.follow(key(1), both, false), [watch]);
        assert_eq!(
            watchers.follow(key(1), lines(&[("101", Line::Talking)]), false),
            [watch]
        );
        // That another rings while one talks is nothing that it shows.
        assert_eq!(watchers.follow(key(2), lines(&[("102", Line::Ringing)]), false), []);
        assert_eq!(watchers.follow(key(1), Vec::new(), false), [watch]);
        assert_eq!(watchers.state(watch), Some(PackageState::Line(Line::Ringing)));
    }

    #[test]
    fn missed_calls_count_until_somebody_takes_the_handset() {
        let mut watchers = Watchers::default();
        let watch = DialogKey(1);
        watchers.subscribe(watch, Package::MessageSummary, vec!["101".to_owned()]);
        for n in 1..=2 {
            watchers.follow(key(n), lines(&[("101", Line::Ringing)]), false);
            assert_eq!(watchers.follow(key(n), Vec::new(), true), [watch]);
        }
        assert_eq!(watchers.state(watch), Some(PackageState::Missed(2)));
        // Another phone took it, or it was refused.
        watchers.follow(key(3), lines(&[("101", Line::Ringing)]), false);
        assert_eq!(watchers.follow(key(3), Vec::new(), false), []);
        assert_eq!(
            watchers.follow(key(4), lines(&[("101", Line::Calling)]), false),
            [watch]
        );
        assert_eq!(watchers.state(watch), Some(PackageState::Missed(0)));
    }
}

//! Our registrations with trunks: when they are made, refreshed and taken back.

use std::time::{Duration, Instant};

use quartet_proto::sip::SipCommand;

use super::{known_places, written};
use crate::config::Trunk;
use crate::exchange::Exchange;

/// What a registration of ours asks for.
const EXPIRES: Duration = Duration::from_secs(600);
/// The part of it after which it is refreshed, in hundredths.
const REFRESH: u32 = 80;
/// How long a registration that failed rests, at first and at most: twice as long each time.
const RETRY: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(900)];

/// A registration of ours.
#[derive(Debug, Default)]
pub(super) struct Registration {
    /// As the settings had it when this began.
    trunk: Option<Trunk>,
    /// When the next REGISTER is due; none: one is on its way.
    pub(super) due: Option<Instant>,
    /// Which place is asked.
    place: usize,
    retry: Duration,
    pub(super) is_up: bool,
}

impl Exchange {
    /// Registers where the settings say so, and nowhere else; asks all whether they are there.
    pub fn follow_trunks(&mut self, now: Instant) {
        self.follow_places(now);
        let wanted: Vec<String> = self
            .settings
            .trunks
            .iter()
            .filter(|trunk| trunk.register)
            .map(|trunk| trunk.name.clone())
            .collect();
        // One that is another now registers anew, under its number: a call may be on its way to where it is registered.
        let all = std::mem::take(&mut self.trunks.registrations);
        for (id, (name, mut it)) in all {
            if !wanted.contains(&name) {
                self.deregister(now, id, &it);
                continue;
            }
            let trunk = self.trunk(&name);
            if it.trunk != trunk {
                (it.trunk, it.due, it.retry) = (trunk, Some(now), RETRY[0]);
            }
            self.trunks.registrations.insert(id, (name, it));
        }
        self.trunks
            .rates
            .retain(|name, _| self.settings.trunks.iter().any(|trunk| trunk.name == *name));
        for name in wanted {
            if !self.trunks.registrations.values().any(|(known, _)| *known == name) {
                self.trunks.last += 1;
                let new = Registration {
                    trunk: self.trunk(&name),
                    due: Some(now),
                    retry: RETRY[0],
                    ..Registration::default()
                };
                self.trunks.registrations.insert(self.trunks.last, (name, new));
            }
        }
    }

    /// Takes a registration back that is no longer wanted; if nobody hears that, it ends by itself.
    fn deregister(&mut self, now: Instant, id: u64, it: &Registration) {
        let Some(trunk) = it.trunk.as_ref().filter(|_| it.is_up) else {
            return;
        };
        if let Some(command) = self.registration_of(id, trunk, it.place, Duration::ZERO)
            && let Err(error) = self.endpoint.handle_command(now, command)
        {
            tracing::debug!(trunk = trunk.name, %error, "it is not told that we leave");
        }
    }

    /// A REGISTER to the place of that number, counted round; `None` if it cannot be reached.
    fn registration_of(&self, registration: u64, trunk: &Trunk, place: usize, expires: Duration) -> Option<SipCommand> {
        let places = known_places(trunk, &self.here);
        let place = places.get(place.checked_rem(places.len())?)?;
        Some(SipCommand::Register {
            registration,
            aor: trunk.username.clone().unwrap_or_default(),
            domain: Some(written(&place.host)),
            five_tuple: self.way_to(place)?,
            credentials: self.credentials(trunk),
            expires,
        })
    }

    /// Sends the REGISTERs and OPTIONS that are due.
    pub(in crate::exchange) fn serve_trunks(&mut self, now: Instant) {
        self.probe_trunks(now);
        let is_due = |(_, it): &(String, Registration)| it.due.is_some_and(|due| due <= now);
        let due: Vec<_> = self
            .trunks
            .registrations
            .iter()
            .filter(|(_, it)| is_due(it))
            .map(|(id, (name, it))| (*id, name.clone(), it.place))
            .collect();
        for (id, name, place) in due {
            let Some(trunk) = self.trunk(&name) else { continue };
            let command = self.registration_of(id, &trunk, place, EXPIRES);
            let sent = command.is_some_and(|command| self.endpoint.handle_command(now, command).is_ok());
            if let Some((_, it)) = self.trunks.registrations.get_mut(&id) {
                it.due = None;
            }
            if !sent {
                self.on_registration_failed(
                    now,
                    id,
                    "nobody knows where it is, or SIP is not heard over that transport",
                );
            }
        }
    }

    /// We are registered with a trunk.
    pub(super) fn on_registered(&mut self, now: Instant, id: u64, expires: Duration) {
        let Some((name, it)) = self.trunks.registrations.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut it.is_up, true) {
            tracing::info!(trunk = name, "registered");
        }
        it.retry = RETRY[0];
        it.due = Some(now + (expires.min(EXPIRES) * REFRESH / 100).max(RETRY[0]));
    }

    /// A registration of ours was refused, or nobody answered.
    pub(super) fn on_registration_failed(&mut self, now: Instant, id: u64, why: &str) {
        let Some((name, it)) = self.trunks.registrations.get_mut(&id) else {
            return;
        };
        // Said once for each time that it goes down, and at the start.
        if std::mem::replace(&mut it.is_up, false) || it.retry == RETRY[0] {
            tracing::warn!(trunk = name, why, "not registered; it is tried again");
        }
        it.due = Some(now + it.retry);
        it.retry = (it.retry * 2).min(RETRY[1]);
        it.place += 1;
    }
}

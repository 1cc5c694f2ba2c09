//! What is due: repetitions, the end of waiting, expired contacts.

use std::time::Instant;

use super::Endpoint;
use crate::sip::message::reason_phrase;
use crate::sip::timers::{Alarm, Owner, T2, Timer};
use crate::sip::transaction::{ClientMachine, Due, Purpose, ServerMachine};
use crate::sip::{DialogKey, SipEvent};

impl Endpoint {
    pub(super) fn due(&mut self, now: Instant) {
        while let Some((owner, timer)) = self.timers.pop(now) {
            match owner {
                Owner::Server(id) => self.server_due(now, id, timer),
                Owner::Client(id) => self.client_due(now, id, timer),
                Owner::Dialog(key) => self.dialog_due(now, key, timer),
            }
        }
        let changes = self.registrar.handle_timeout(now);
        self.tell(changes);
    }

    fn server_due(&mut self, now: Instant, id: u64, timer: Timer) {
        let Some(transaction) = self.servers.get_mut(id) else {
            return;
        };
        let mut alarm = Alarm {
            timers: &mut self.timers,
            owner: Owner::Server(id),
            now,
        };
        let due = match &mut transaction.machine {
            ServerMachine::Invite(machine) => machine.on_timer(timer, &mut alarm),
            ServerMachine::Other(machine) => machine.on_timer(timer),
        };
        match due {
            Due::Nothing => {}
            Due::Resend => {
                let (local, remote) = (transaction.head.local, transaction.head.reply_to);
                if let Some(wire) = transaction.last.clone() {
                    self.transmit(local, remote, wire);
                }
            }
            Due::TimedOut | Due::Over => {
                self.timers.clear_all(Owner::Server(id));
                self.servers.remove(id);
            }
        }
    }

    fn client_due(&mut self, now: Instant, id: u64, timer: Timer) {
        let Some(transaction) = self.clients.get_mut(id) else {
            return;
        };
        let mut alarm = Alarm {
            timers: &mut self.timers,
            owner: Owner::Client(id),
            now,
        };
        let due = match &mut transaction.machine {
            ClientMachine::Invite(machine) => machine.on_timer(timer, &mut alarm),
            ClientMachine::Other(machine) => machine.on_timer(timer, &mut alarm),
        };
        match due {
            Due::Nothing => {}
            Due::Resend => {
                let (local, remote) = (transaction.request.local, transaction.request.destination);
                let wire = transaction.wire.clone();
                self.transmit(local, remote, wire);
            }
            Due::Over => _ = self.drop_client(id),
            Due::TimedOut => {
                if let Some(transaction) = self.drop_client(id) {
                    self.on_silence(now, transaction.purpose);
                }
            }
        }
    }

    /// Nobody answered a request of ours: as if 408 had come. RFC 3261 §8.1.3.1.
    fn on_silence(&mut self, now: Instant, purpose: Purpose) {
        match purpose {
            Purpose::Invite(key) => self.refused(key, 408, reason_phrase(408).to_owned(), None),
            Purpose::Bye(key) => self.ended(key),
            Purpose::Within(key) => self.on_within_response(now, key, 408),
            Purpose::Register(registration) => {
                self.events.push_back(SipEvent::RegisterFailed {
                    registration,
                    status: 408,
                });
            }
            Purpose::Cancel | Purpose::StrayBye => {}
        }
    }

    fn dialog_due(&mut self, now: Instant, key: DialogKey, timer: Timer) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        if timer == Timer::Answer {
            if let Some(answer) = &mut dialog.answer {
                answer.interval = (answer.interval * 2).min(T2);
                let (after, to, wire, local) = (answer.interval, answer.to, answer.wire.clone(), dialog.bound);
                self.timers.set(now + after, Owner::Dialog(key), Timer::Answer);
                self.transmit(local, to, wire);
            }
        } else if timer == Timer::AnswerLost {
            if let Some(reason) = dialog.hangup.take() {
                return self.bye(now, key, reason.as_ref());
            }
            self.stray_bye(now, key);
            self.drop_dialog(key);
            self.events.push_back(SipEvent::Lost { dialog: key });
        } else if timer == Timer::Cancel {
            let invite = dialog.invite;
            if let Some(id) = invite {
                self.drop_client(id);
            }
            self.refused(key, 487, reason_phrase(487).to_owned(), None);
        }
    }
}

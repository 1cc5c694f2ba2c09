//! Timers that fired: retransmissions, timeouts, expired contacts.

use std::time::Instant;

use super::Endpoint;
use crate::sip::timers::{Owner, T2, Timer, TimerHandle};
use crate::sip::transaction::{ClientMachine, Holder, Purpose, ServerMachine, TimerAction};
use crate::sip::{Caller, DialogKey, SipEvent};

impl Endpoint {
    pub(super) fn on_timers(&mut self, now: Instant) {
        while let Some((owner, timer)) = self.timers.pop(now) {
            match owner {
                Owner::Server(id) => self.on_server_timer(now, id, timer),
                Owner::Client(id) => self.on_client_timer(now, id, timer),
                Owner::Dialog(key) => self.on_dialog_timer(now, key, timer),
                Owner::Subscription(key) => self.subscription_expired(now, key),
            }
        }
        let changes = self.registrar.handle_timeout(now);
        self.emit_contact_changes(changes);
    }

    fn on_server_timer(&mut self, now: Instant, id: u64, timer: Timer) {
        let Some(transaction) = self.server_transactions.get_mut(id) else {
            return;
        };
        let mut timers = TimerHandle {
            timers: &mut self.timers,
            owner: Owner::Server(id),
            now,
        };
        let due = match &mut transaction.machine {
            ServerMachine::Invite(machine) => machine.on_timer(timer, &mut timers),
            ServerMachine::Other(machine) => machine.on_timer(timer),
        };
        match due {
            TimerAction::Nothing => {}
            TimerAction::Retransmit => {
                let (response_to, source) = (transaction.head.response_to, transaction.head.origin.ip());
                // Whoever writes a trunk's address on calls must not have us flood it with what it does not acknowledge.
                let may_be_forged = matches!(transaction.holder, Holder::Caller(Caller::Trunk(_)));
                let wire = transaction.last.clone();
                let may = !may_be_forged || self.strangers.may_respond(now, source);
                if let Some(wire) = wire.filter(|_| may) {
                    self.transmit(response_to, wire);
                }
            }
            TimerAction::TimedOut | TimerAction::Over => {
                self.timers.clear_all(Owner::Server(id));
                self.server_transactions.remove(id);
            }
        }
    }

    fn on_client_timer(&mut self, now: Instant, id: u64, timer: Timer) {
        if let Some(Purpose::Invite(key)) = self.client_transactions.get(id).map(|it| it.purpose)
            && matches!(timer, Timer::Failover | Timer::Unreachable | Timer::B)
            && let silent = self.client_transactions.get(id).map(|it| it.request.five_tuple)
            && self.fail_over(now, id, key)
        {
            if let Some((silent, next)) = silent.zip(self.dialogs.get(key).map(|dialog| dialog.peer)) {
                self.datagrams_only.note(now, silent, next);
            }
            // What was not sent needs no answer.
            if timer != Timer::Failover {
                self.drop_client(id);
            }
            return;
        }
        let Some(transaction) = self.client_transactions.get_mut(id) else {
            return;
        };
        let mut timers = TimerHandle {
            timers: &mut self.timers,
            owner: Owner::Client(id),
            now,
        };
        let due = match &mut transaction.machine {
            ClientMachine::Invite(machine) => machine.on_timer(timer, &mut timers),
            ClientMachine::Other(machine) => machine.on_timer(timer, &mut timers),
        };
        match due {
            TimerAction::Nothing => {}
            TimerAction::Retransmit => {
                let (five_tuple, wire) = (transaction.request.five_tuple, transaction.wire.clone());
                self.transmit(five_tuple, wire);
            }
            TimerAction::Over => _ = self.drop_client(id),
            TimerAction::TimedOut => {
                if let Some(transaction) = self.drop_client(id) {
                    self.on_timeout(now, transaction.purpose, timer);
                }
            }
        }
    }

    /// No response to a request of ours, or no way to send it: as if 408 had come. RFC 3261 §8.1.3.1.
    fn on_timeout(&mut self, now: Instant, purpose: Purpose, timer: Timer) {
        match purpose {
            // Its connection is gone, and it may make another: the call need not be over.
            Purpose::InDialog(_) if timer == Timer::Unreachable => {}
            Purpose::Invite(key) => self.unanswered(key, 408),
            Purpose::Bye(key) => self.ended(key),
            // The next try, or the end of the interval, says more.
            Purpose::Refresh(key) if timer == Timer::Unreachable => self.refresh_later(now, key),
            Purpose::Reinvite(key) if timer == Timer::Unreachable => {
                if let Some(dialog) = self.dialogs.get_mut(key) {
                    dialog.reinvite = None;
                    self.events.push_back(SipEvent::Unchanged { dialog: key });
                    self.refresh_later(now, key);
                }
            }
            Purpose::InDialog(key) | Purpose::Probe(key) | Purpose::Refresh(key) | Purpose::Reinvite(key) => {
                self.on_in_dialog_response(now, key, 408)
            }
            Purpose::Show(_) | Purpose::Notify(_) => {}
            Purpose::Subscription(key) => self.on_notify_response(key, 408),
            Purpose::Register(registration) => {
                self.events.push_back(SipEvent::RegisterFailed {
                    registration,
                    status: 408,
                });
            }
            Purpose::Options(probe) => self.events.push_back(SipEvent::Probed { probe, status: 408 }),
            Purpose::Abandoned | Purpose::Cancel | Purpose::StrayBye => {}
        }
    }

    fn on_dialog_timer(&mut self, now: Instant, key: DialogKey, timer: Timer) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        if timer == Timer::Retransmit2xx {
            if let Some(unacknowledged) = &mut dialog.unacknowledged {
                unacknowledged.interval = (unacknowledged.interval * 2).min(T2);
                let (after, to, wire) = (unacknowledged.interval, unacknowledged.to, unacknowledged.wire.clone());
                self.timers.set(now + after, Owner::Dialog(key), Timer::Retransmit2xx);
                self.transmit(to, wire);
            }
        } else if timer == Timer::AckTimeout {
            if let Some(reason) = dialog.hangup.take() {
                return self.bye(now, key, reason.as_ref());
            }
            self.give_up(now, key, None);
        } else if timer == Timer::SessionRefresh {
            self.refresh_session(now, key);
        } else if timer == Timer::SessionExpired {
            self.session_expired(now, key);
        } else if timer == Timer::Cancel {
            let invite = dialog.invite;
            if let Some(id) = invite {
                self.drop_client(id);
            }
            self.unanswered(key, 487);
        }
    }
}

//! What the control socket is told: the state of the gateway as JSON, and what an operator asks of it.

use std::collections::BTreeMap;
use std::time::Instant;

use super::control::{ControlRequest, PendingControlRequest, Reply};
use super::reflector::ReflectorServer;
use super::signalling::Signalling;
use super::sip::place_name;

impl Signalling {
    pub(super) fn answer(&mut self, now: Instant, asked: PendingControlRequest) {
        let PendingControlRequest { question, reply } = asked;
        let answer = match question {
            ControlRequest::Status => Reply::Ok(serde_json::json!({
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_s": self.started.elapsed().as_secs(),
                "calls": self.exchange.call_count(),
                "legs": self.media.legs(),
                "media_sockets": self.media.sockets(),
                "sip_transactions": self.exchange.transaction_count(),
                "phones": self.exchange.phones(now).len(),
                "hub_sessions": self.hub.server().map_or(0, |server| server.counts().0),
                "sip_connections": self.sip.connection_count(),
                "sip": self.sip.addresses().map(place_name).collect::<Vec<_>>(),
                "trunks": self.exchange.trunks(),
                "hub": self.hub.address(),
                "hub_up": self.exchange.is_up(&self.hub_network),
                "telegram": self.exchange.accounts(now, &self.telegram_network).into_iter().collect::<BTreeMap<_, _>>(),
                "reflector": self.reflector.as_ref().map(ReflectorServer::status),
            })),
            ControlRequest::Calls => Reply::Ok(serde_json::json!(self.exchange.calls(now))),
            ControlRequest::Phones => Reply::Ok(serde_json::json!(self.exchange.phones(now))),
            ControlRequest::Locked => Reply::Ok(serde_json::json!(self.exchange.locked(now))),
            ControlRequest::Unlock { who } => {
                if self.exchange.unlock(now, &who) {
                    Reply::Ok(serde_json::json!({ "unlocked": who }))
                } else {
                    Reply::Error(format!("{who} is not locked; `quartet locked` lists who is"))
                }
            }
            ControlRequest::Hangup { id } => {
                let key = id.parse();
                if key.is_ok_and(|key| self.exchange.hang_up(now, key)) {
                    Reply::Ok(serde_json::json!({ "id": id }))
                } else {
                    Reply::Error(format!("there is no call {id}; `quartet calls` lists them"))
                }
            }
            ControlRequest::Reload => return self.reloader.begin(&self.loaded, reply),
            ControlRequest::Invite { user, gateway } => match self.hub.server() {
                Some(server) => return server.invite(user, gateway, reply),
                None => self.not_here("invitations are made"),
            },
            ControlRequest::Revoke { user } => match self.hub.server() {
                Some(server) => return server.revoke(user, reply),
                None => self.not_here("invitations are taken back"),
            },
        };
        reply.send(answer).ok();
    }

    fn not_here(&self, what: &str) -> Reply {
        Reply::Error(format!("the hub is elsewhere, at {}; {what} there", self.hub.address()))
    }
}

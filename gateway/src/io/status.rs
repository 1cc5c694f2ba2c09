//! What the control socket is told: the state of the gateway as JSON, and what an operator asks of it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::control::{ControlRequest, PendingControlRequest, Reply};
use super::signalling::{Signalling, generator};
use super::startup::unix_seconds;

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
                "hub_sessions": self.rendezvous.sessions(),
                "sip": self.sip.addresses().map(|(protocol, address)| format!("{}:{address}", protocol.name().to_ascii_lowercase())).collect::<Vec<_>>(),
                "hub": format!("http:{}", self.hub_listener.address()),
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
            // The disk is waited for elsewhere.
            ControlRequest::Invite { user } => {
                let (invitations, hub) = (
                    Arc::clone(&self.invitations),
                    format!("ws://{}/hub/v1", reachable(self.hub_listener.address())),
                );
                tokio::task::spawn_blocking(move || {
                    let answer = match invitations.invite(&user, unix_seconds(SystemTime::now()), &mut *generator()) {
                        Ok(token) => {
                            Reply::Ok(serde_json::json!({ "user": user, "token": *token.to_text(), "hub": hub }))
                        }
                        Err(error) => Reply::Error(error.to_string()),
                    };
                    reply.send(answer).ok();
                });
                return;
            }
            ControlRequest::Revoke { user } => {
                let (invitations, revoked) = (Arc::clone(&self.invitations), self.revoked.clone());
                tokio::task::spawn_blocking(move || {
                    let answer = match invitations.revoke(&user, unix_seconds(SystemTime::now())) {
                        Ok(count) => Reply::Ok(serde_json::json!({ "user": user, "revoked": count })),
                        Err(error) => Reply::Error(error.to_string()),
                    };
                    revoked.send(user).ok();
                    reply.send(answer).ok();
                });
                return;
            }
        };
        reply.send(answer).ok();
    }
}

/// The address itself; loopback for "all addresses".
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

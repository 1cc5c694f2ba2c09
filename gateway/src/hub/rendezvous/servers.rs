//! What clients are told of the servers for their media.

use std::time::Instant;

use quartet_proto::hub::{Event, IceServer, Name};

use super::Rendezvous;
use crate::hub::calls::Relays;
use crate::hub::handout::reflectors;

impl Rendezvous {
    /// The servers for ICE, as this account is told them.
    pub(super) fn ice_servers(&self, now: Instant, account: &Name) -> Vec<IceServer> {
        let (servers, unix) = (self.config.ice_servers.iter(), self.unix(now));
        servers.filter_map(|server| server.told_to(account, unix)).collect()
    }

    /// Tells the parties of a call the servers for its media, each when it learns the other's key: relays with credentials of its
    /// own, and reflectors with a tag that both have.
    pub(super) fn name_servers(&mut self, now: Instant, relays: &mut Relays) {
        for (session, event) in relays {
            let ice_servers = match event {
                Event::CallAccept(body) => {
                    let (servers, unix) = (&self.config.ice_servers, self.unix(now));
                    body.reflectors = reflectors(servers, &mut self.reflector_tags, unix, &mut *self.rng);
                    self.calls.keep_reflectors(body.call, body.reflectors.clone());
                    &mut body.ice_servers
                }
                Event::CallConfirm(body) => {
                    body.reflectors = self.calls.take_reflectors(body.call);
                    &mut body.ice_servers
                }
                Event::CallRequest(_)
                | Event::CallReceived(_)
                | Event::CallSignal(_)
                | Event::CallDiscard(_)
                | Event::CallTaken(_)
                | Event::CallAway(_)
                | Event::CallBack(_) => continue,
            };
            *ice_servers = match self.sessions.get(session) {
                // The gateway in this process has its own conf files.
                Some(entry) if !entry.is_local => self.ice_servers(now, &entry.account.user),
                Some(_) | None => Vec::new(),
            };
        }
    }
}

//! The endpoint: the one machine in front.

use std::net::SocketAddr;
use std::time::Instant;

use rand_core::CryptoRng;

use super::{Account, Contact, DialogKey, Limits, SipCommand, SipError, SipEvent};
use crate::net::{Protocol, Receive, Transmit};

/// What an endpoint is told once.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// `[a-z0-9]{4..12}`; begins every tag, branch (after the cookie) and Contact user.
    pub instance: String,
    /// `Server` and `User-Agent`.
    pub user_agent: String,
    /// Digest realm.
    pub realm: String,
    /// Bounds.
    pub limits: Limits,
}

/// A SIP endpoint.
pub struct Endpoint {
    next: u64,
}

#[allow(unused_variables, clippy::needless_pass_by_ref_mut, missing_docs)]
impl Endpoint {
    pub fn new(config: EndpointConfig, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self { next: 0 }
    }
    pub fn set_accounts(&mut self, accounts: Vec<Account>) {}
    pub fn set_local(&mut self, local: Vec<(Protocol, SocketAddr)>) {}
    pub fn handle_input(&mut self, now: Instant, input: Receive<'_>) {}
    pub fn handle_timeout(&mut self, now: Instant) {}
    pub fn handle_command(&mut self, now: Instant, command: SipCommand) -> Result<(), SipError> {
        Ok(())
    }
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }
    pub fn poll_event(&mut self) -> Option<SipEvent> {
        None
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn contacts(&self, now: Instant, user: &str) -> Vec<Contact> {
        Vec::new()
    }
    pub fn registrations(&self, now: Instant) -> Vec<(String, Vec<Contact>)> {
        Vec::new()
    }
    pub fn next_dialog(&mut self) -> DialogKey {
        self.next += 1;
        DialogKey(self.next)
    }
}

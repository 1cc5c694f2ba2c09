//! Where the hub listens: bound at the start, or as soon as this machine has the address.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::super::{cannot_listen, is_not_there_yet};
use super::{HubInput, WebSocketSettings, serve_with};
use crate::config::HttpListen;

/// The listener of the hub.
#[derive(Debug)]
pub struct HubListener {
    wanted: HttpListen,
    /// As bound.
    local: Option<SocketAddr>,
    /// What was in the way, as it was last said.
    said: Option<io::ErrorKind>,
    /// For the listener, until there is one.
    waiting: Option<(mpsc::Sender<HubInput>, WebSocketSettings)>,
}

impl HubListener {
    /// Listens, or waits for an address that this machine does not have yet.
    ///
    /// # Errors
    /// If it cannot be bound for another reason; the text names it and what to change.
    pub fn open(
        wanted: HttpListen,
        inputs: mpsc::Sender<HubInput>,
        settings: WebSocketSettings,
    ) -> anyhow::Result<Self> {
        let mut listener = Self {
            wanted,
            local: None,
            said: None,
            waiting: Some((inputs, settings)),
        };
        if let Err(error) = listener.try_open() {
            let sentence = cannot_listen(wanted.scheme(), wanted.address, &error, "[network.hub] listen");
            if !is_not_there_yet(&error) {
                return Err(sentence);
            }
            tracing::warn!("{sentence}; it is tried again");
        }
        Ok(listener)
    }

    /// The addresses of this machine may have changed: tries again, if it has to.
    pub fn follow(&mut self) {
        if self.local.is_some() {
            return;
        }
        match self.try_open() {
            Ok(()) => tracing::info!("{} is there now; the hub is reached there", self.name()),
            // The address has come, and something else is in the way.
            Err(error) if !is_not_there_yet(&error) && self.said != Some(error.kind()) => {
                self.said = Some(error.kind());
                let sentence = cannot_listen(
                    self.wanted.scheme(),
                    self.wanted.address,
                    &error,
                    "[network.hub] listen",
                );
                tracing::warn!("{sentence}; it is tried again");
            }
            Err(_) => {}
        }
    }

    /// Where it listens, or will.
    pub fn address(&self) -> SocketAddr {
        self.local.unwrap_or(self.wanted.address)
    }

    /// The same as `http:ADDRESS`, or `https:ADDRESS`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.wanted.scheme(), self.address())
    }

    fn try_open(&mut self) -> io::Result<()> {
        let listener = std::net::TcpListener::bind(self.wanted.address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        self.local = Some(listener.local_addr()?);
        if let Some((inputs, settings)) = self.waiting.take() {
            tokio::spawn(serve_with(listener, inputs, settings));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 192.0.2.0/24 is nobody's (RFC 5737).
    #[tokio::test]
    async fn an_address_that_is_not_here_yet_is_waited_for_and_a_taken_port_is_an_error() {
        let (inputs, _received) = mpsc::channel(1);
        let at = |address| HttpListen {
            is_secure: false,
            address,
        };
        let open = |address| HubListener::open(at(address), inputs.clone(), WebSocketSettings::default());
        let floating: SocketAddr = "192.0.2.77:8080".parse().unwrap();
        let mut listener = open(floating).unwrap();
        listener.follow();
        assert_eq!((listener.address(), listener.local), (floating, None));
        // It comes.
        listener.wanted = at("127.0.0.1:0".parse().unwrap());
        listener.follow();
        let there = listener.address();
        assert!(tokio::net::TcpStream::connect(there).await.is_ok());
        let error = open(there).unwrap_err();
        assert!(error.to_string().contains("another program has this port"), "{error}");
    }
}

//! A hub alone: accounts named on the command line, their tokens and the address printed as one JSON line.
//!
//! `cargo run -p quartet --example hub -- 127.0.0.1:0 anna bob`. Nothing is stored; for tests and experiments.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use quartet::hub::{Account, Directory, Limits, Rendezvous, RendezvousConfig};
use quartet::io::websocket::{Connections, serve};
use quartet_proto::hub::{Name, Token};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout, reason = "the caller reads the address and the tokens")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let listen: SocketAddr = arguments.next().context("usage: hub ADDRESS:PORT USER...")?.parse()?;
    let directory = Arc::new(Directory::default());
    let mut tokens = serde_json::Map::new();
    for user in arguments {
        let token = Token::generate(&mut rand::rng());
        directory.insert(Account::person(Name::new(user.as_str())?), token.hash());
        tokens.insert(user, token.to_text().to_string().into());
    }
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let url = format!("ws://{}/hub/v1", listener.local_addr()?);
    println!("{}", serde_json::json!({ "hub": url, "tokens": tokens }));

    let (input, mut received) = mpsc::channel(256);
    tokio::spawn(serve(listener, input));
    let epoch = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let config = RendezvousConfig {
        gateway: None,
        limits: Limits::default(),
        ice_servers: vec![],
        epoch,
    };
    let mut hub = Rendezvous::new(config, directory, quartet::io::signalling::generator());
    let mut connections = Connections::new();
    loop {
        let due = hub
            .poll_timeout()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            event = received.recv() => match event {
                Some(event) => connections.handle_input(Instant::now(), event, &mut hub),
                None => return Ok(()),
            },
            () = tokio::time::sleep_until(due.into()) => hub.handle_timeout(Instant::now()),
        }
        connections.flush(Instant::now(), &mut hub, &mut |_| ());
    }
}

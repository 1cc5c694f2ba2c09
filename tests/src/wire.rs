//! A wire between a client and a server on TCP that a test can cut and mend.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A forwarder; it ends when dropped.
#[derive(Debug)]
pub struct Wire {
    local: SocketAddr,
    whole: watch::Sender<bool>,
}

impl Wire {
    /// A whole wire to that server, reached at the same address.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((server.ip(), 0)).await.expect("a free port");
        let local = listener.local_addr().expect("it is bound");
        let (whole, state) = watch::channel(true);
        tokio::spawn(serve(listener, server, state));
        Self { local, whole }
    }

    /// Where clients reach the server.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Cuts all connections, and refuses new ones.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, state: watch::Receiver<bool>) {
    let mut gone = state.clone();
    loop {
        let mut client = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => client,
                Err(_) => return,
            },
            changed = gone.changed() => match changed {
                Ok(()) => continue,
                // The wire was dropped.
                Err(_) => return,
            },
        };
        let mut state = state.clone();
        if !*state.borrow_and_update() {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(server).await else {
                return;
            };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = state.changed() => {}
            }
        });
    }
}

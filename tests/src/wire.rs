//! A wire between a client and a server on TCP that a test can cut and mend.

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
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
        Self::from(server.ip(), server).await
    }

    /// The same for clients whom the server sees at another address of this machine.
    pub async fn from(source: IpAddr, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((server.ip(), 0)).await.expect("a free port");
        let local = listener.local_addr().expect("it is bound");
        let (whole, state) = watch::channel(true);
        tokio::spawn(serve(listener, source, server, state));
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

async fn serve(listener: TcpListener, source: IpAddr, server: SocketAddr, state: watch::Receiver<bool>) {
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
            let Ok(mut server) = connect(source, server).await else {
                return;
            };
            // A wire waits for nothing.
            if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
                return;
            }
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = state.changed() => {}
            }
        });
    }
}

async fn connect(source: IpAddr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if server.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind((source, 0).into())?;
    socket.connect(server).await
}

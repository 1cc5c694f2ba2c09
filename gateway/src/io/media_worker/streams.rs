//! Connections of media legs to relays: dialled, under TLS where that is wanted, and never waited for.

use std::{
    borrow::Cow,
    fmt,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    sync::Arc,
};

use mio::net::TcpStream;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use zeroize::Zeroizing;

use crate::media::{IceService, Via, Way};

/// Connections of one leg; their numbers must fit the poller's token.
pub(super) const MAX_STREAMS: usize = 16;
/// What may wait for a connection that does not take it: two seconds of speech. What comes then is lost, as on a full link.
const MAX_WAITING: usize = 32 * 1024;

/// A server, looked up: what the worker needs to reach it.
#[derive(Clone)]
pub struct Dial {
    /// Its address.
    pub address: SocketAddr,
    /// The name that its certificate must have.
    pub name: String,
    /// What it does.
    pub service: IceService,
    /// The path plugin that speaks with it.
    pub path: Cow<'static, str>,
    /// Who we are there, as options of its plugin.
    pub user: Zeroizing<String>,
    /// Whom TLS trusts.
    pub tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Dial {
    /// Prints neither name nor password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dial({} {})", self.path, self.address)
    }
}

impl Dial {
    /// By which way media goes over it.
    pub(super) fn way(&self) -> Way {
        Way::over(self.service)
    }

    /// What the plugin is told.
    pub(super) fn options(&self) -> Zeroizing<String> {
        let via = self.service.via().word();
        let (ip, port, name, user) = (self.address.ip(), self.address.port(), &self.name, &*self.user);
        Zeroizing::new(format!("server:{ip} {port}\nname:{name}\nvia:{via}\n{user}"))
    }
}

/// One connection.
pub(super) struct Stream {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Until it stands: what for.
    dial: Option<Dial>,
    waiting: Vec<u8>,
}

impl Stream {
    /// Begins to connect.
    ///
    /// # Errors
    /// The system's; or the name is none that a certificate could have.
    pub(super) fn dial(dial: Dial) -> io::Result<Self> {
        let tls = match (dial.service.via(), &dial.tls) {
            (Via::Tls, Some(config)) => {
                let name = ServerName::try_from(dial.name.clone()).map_err(io::Error::other)?;
                let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Some(Box::new(connection))
            }
            (Via::Tls, None) => return Err(io::Error::other("TLS without anybody to trust")),
            (Via::Udp | Via::Tcp, _) => None,
        };
        let tcp = TcpStream::connect(dial.address)?;
        // Without it small packets wait for each other; the connection works all the same.
        let _ = tcp.set_nodelay(true);
        Ok(Self {
            tcp,
            tls,
            dial: Some(dial),
            waiting: Vec::new(),
        })
    }

    /// Whether it is dialled for this, and does not stand yet.
    pub(super) fn is_for(&self, dial: &Dial) -> bool {
        let is_it = |of: &Dial| (&of.path, of.address, of.service) == (&dial.path, dial.address, dial.service);
        self.dial.as_ref().is_some_and(is_it)
    }

    /// For the poller.
    pub(super) fn source(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// Our end, once it is connected.
    pub(super) fn local(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Goes on after the poller has said something; once it stands, what it was dialled for.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn go_on(&mut self) -> io::Result<Option<Dial>> {
        if self.dial.is_some() {
            if let Some(error) = self.tcp.take_error()? {
                return Err(error);
            }
            match self.tcp.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        self.take_in()?;
        self.flush()?;
        if self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            return Ok(None);
        }
        Ok(self.dial.take())
    }

    /// Reads a piece: `None` if there is nothing now.
    ///
    /// # Errors
    /// The connection is over, also at its end.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<Option<usize>> {
        let read = match &mut self.tls {
            None => self.tcp.read(room),
            Some(tls) => match tls.reader().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.take_in()?;
                    self.flush()?;
                    match &mut self.tls {
                        Some(tls) => tls.reader().read(room),
                        None => return Ok(None),
                    }
                }
                read => read,
            },
        };
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => Ok(Some(length)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends all of this, now or later, or nothing of it; false if it is lost.
    pub(super) fn write(&mut self, bytes: &[u8]) -> bool {
        if self.dial.is_some() || self.flush().is_err() || self.waiting.len() + bytes.len() > MAX_WAITING {
            return false;
        }
        match &mut self.tls {
            None => self.waiting.extend_from_slice(bytes),
            Some(tls) => {
                if tls.writer().write_all(bytes).is_err() {
                    return false;
                }
            }
        }
        self.flush().is_ok()
    }

    /// Says goodbye, as far as that goes without waiting.
    pub(super) fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        let _ = self.flush();
    }

    /// Takes what has come into TLS.
    fn take_in(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_read() {
            match tls.read_tls(&mut self.tcp) {
                Ok(0) => break,
                Ok(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() && self.waiting.len() < MAX_WAITING {
                tls.write_tls(&mut self.waiting)?;
            }
        }
        while !self.waiting.is_empty() {
            match self.tcp.write(&self.waiting) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => _ = self.waiting.drain(..length),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

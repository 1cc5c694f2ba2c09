//! A SIP client over a stream, written and read by hand where that matters, and by the machines of the product where it does not.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use quartet::io::signalling::generator;
use quartet_proto::net::{ConnectionId, FiveTuple, Protocol, Receive};
use quartet_proto::sip::stream::{Piece, StreamBuffer};
use quartet_proto::sip::{Credentials, Endpoint, EndpointConfig, Limits, SipCommand, SipEvent};
use rand_core::Rng as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Bytes both ways, whatever carries them.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

enum Carrier {
    Stream(Box<dyn Wire>, StreamBuffer),
    WebSocket(Box<WebSocketStream<Box<dyn Wire>>>),
}

/// A connection to a gateway.
pub struct SipStream {
    carrier: Carrier,
    way: FiveTuple,
    pieces: VecDeque<Vec<u8>>,
}

/// How a client connects.
#[derive(Clone, Default)]
pub struct Client {
    /// Whom it trusts, in PEM form.
    pub authority: String,
    /// Who it says it is, in PEM form: certificate and key.
    pub identity: Option<(String, String)>,
    /// The web page that it is of.
    pub origin: Option<String>,
    /// The protocol that it asks for in a WebSocket; none: `sip`.
    pub subprotocol: Option<String>,
}

impl Client {
    /// Who trusts this authority.
    pub fn trusting(authority: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            ..Self::default()
        }
    }

    fn tls(&self) -> io::Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            roots
                .add(certificate.map_err(io::Error::other)?)
                .map_err(io::Error::other)?;
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?;
                builder
                    .with_client_auth_cert(chain.map_err(io::Error::other)?, key)
                    .map_err(io::Error::other)?
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// Connects over `tcp`, `tls`, `ws` or `wss`.
    ///
    /// # Errors
    /// If the gateway does not let it in.
    pub async fn connect(&self, transport: &str, gateway: SocketAddr) -> io::Result<SipStream> {
        let stream = TcpStream::connect(gateway).await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let is_secure = matches!(transport, "tls" | "wss");
        let wire: Box<dyn Wire> = if is_secure {
            let name = ServerName::IpAddress(gateway.ip().into());
            Box::new(self.tls()?.connect(name, stream).await?)
        } else {
            Box::new(stream)
        };
        let carrier = if transport.starts_with("ws") {
            let mut request = format!("{transport}://{gateway}/")
                .into_client_request()
                .map_err(io::Error::other)?;
            let subprotocol = self.subprotocol.as_deref().unwrap_or("sip");
            let headers = request.headers_mut();
            headers.insert("sec-websocket-protocol", subprotocol.parse().map_err(io::Error::other)?);
            if let Some(origin) = &self.origin {
                headers.insert("origin", origin.parse().map_err(io::Error::other)?);
            }
            let (socket, _) = tokio_tungstenite::client_async(request, wire)
                .await
                .map_err(io::Error::other)?;
            Carrier::WebSocket(Box::new(socket))
        } else {
            Carrier::Stream(wire, StreamBuffer::default())
        };
        let protocol: Protocol = transport.parse().map_err(io::Error::other)?;
        let way = FiveTuple {
            connection: Some(ConnectionId::opened(0)),
            ..FiveTuple::new(protocol, local, gateway)
        };
        Ok(SipStream {
            carrier,
            way,
            pieces: VecDeque::new(),
        })
    }
}

impl SipStream {
    /// The way to the gateway.
    pub fn way(&self) -> FiveTuple {
        self.way
    }

    /// Sends bytes, as they are.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.carrier {
            Carrier::Stream(wire, _) => {
                wire.write_all(bytes).await?;
                wire.flush().await
            }
            Carrier::WebSocket(socket) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                socket.send(Message::text(text)).await.map_err(io::Error::other)
            }
        }
    }

    /// The next message, or `None` once the gateway has closed; keep-alives are messages of their own.
    ///
    /// # Errors
    /// If the connection breaks, or what comes is no SIP.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            match &mut self.carrier {
                Carrier::Stream(wire, buffer) => {
                    let mut bytes = [0; 4096];
                    let count = wire.read(&mut bytes).await?;
                    if count == 0 {
                        return Ok(None);
                    }
                    if bytes[..count].iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                        return Ok(Some(bytes[..count].to_vec()));
                    }
                    buffer.push(&bytes[..count]);
                    while let Some(piece) = buffer.next_piece().map_err(io::Error::other)? {
                        self.pieces.extend(match piece {
                            Piece::Message(message) => Some(message),
                            Piece::Ping => None,
                        });
                    }
                }
                Carrier::WebSocket(socket) => match socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(Some(text.as_bytes().to_vec())),
                    Some(Ok(Message::Binary(bytes))) => return Ok(Some(bytes.to_vec())),
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Close(_))) | None => return Ok(None),
                    Some(Err(error)) => return Err(io::Error::other(error)),
                },
            }
        }
    }
}

/// A phone of signalling alone over one connection: it registers, and tells of what happens.
pub struct StreamPhone {
    endpoint: Endpoint,
    stream: SipStream,
    user: String,
    credentials: Credentials,
}

impl StreamPhone {
    /// A phone on this connection.
    pub fn new(stream: SipStream, user: &str, password: &str) -> Self {
        let config = EndpointConfig {
            instance: format!("s{:07x}", generator().next_u32() >> 4),
            user_agent: "stream phone".into(),
            realm: String::new(),
            limits: Limits::default(),
            trusted_proxies: Vec::new(),
        };
        let mut endpoint = Endpoint::new(config, generator());
        endpoint.set_local(vec![(stream.way.protocol, stream.way.local)]);
        endpoint.handle_opened(stream.way);
        Self {
            endpoint,
            stream,
            user: user.into(),
            credentials: Credentials {
                user: user.into(),
                password: password.to_owned().into(),
            },
        }
    }

    /// Registers for so long, and waits for the answer: how long it holds, or the status that refused it.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn register(&mut self, expires: Duration) -> io::Result<Result<Duration, u16>> {
        let command = SipCommand::Register {
            domain: None,
            registration: 1,
            aor: self.user.clone(),
            five_tuple: self.stream.way,
            credentials: Some(self.credentials.clone()),
            expires,
        };
        self.endpoint
            .handle_command(Instant::now(), command)
            .map_err(io::Error::other)?;
        loop {
            match self.next(Duration::from_secs(40)).await? {
                Some(SipEvent::Registered { expires, .. }) => return Ok(Ok(expires)),
                Some(SipEvent::RegisterFailed { status, .. }) => return Ok(Err(status)),
                Some(_) => {}
                None => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    /// Its login.
    pub fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    /// The way to the gateway.
    pub fn way(&self) -> FiveTuple {
        self.stream.way
    }

    /// The machine.
    pub fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// The next event; `None` if there is none within `limit`.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn next(&mut self, limit: Duration) -> io::Result<Option<SipEvent>> {
        let end = Instant::now() + limit;
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit() {
                self.stream.send(&transmit.payload).await?;
            }
            if let Some(event) = self.endpoint.poll_event() {
                return Ok(Some(event));
            }
            let now = Instant::now();
            if now >= end {
                return Ok(None);
            }
            let wake = self.endpoint.poll_timeout().map_or(end, |at| at.min(end));
            match timeout(wake.saturating_duration_since(now), self.stream.next()).await {
                Ok(message) => {
                    let message = message?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    let input = Receive {
                        five_tuple: self.stream.way,
                        payload: &message,
                    };
                    self.endpoint.handle_input(Instant::now(), input);
                }
                Err(_) => self.endpoint.handle_timeout(Instant::now()),
            }
        }
    }
}

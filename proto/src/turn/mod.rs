//! A client of one TURN server, over datagrams or a stream (over `turn-client-proto`). RFC 8656; RFC 8489 for [`Binding`].
//!
//! It allocates one address of the server's own family, keeps it, and passes datagrams of peers both ways. Leave for a peer is
//! asked for with the first datagram for it; what comes meanwhile waits. Once more than checks goes to a peer it gets a channel.

mod binding;
mod framing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;
use turn_client_proto::api::{DelayedMessageOrChannelSend, TransmitBuild, TurnClientApi as _};
use turn_client_proto::api::{Transmit, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::prelude::DelayedTransmitBuild as _;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::stun::attribute::ErrorCode;
use turn_client_proto::types::stun::message::{Message, MessageClass};
use turn_client_proto::types::{AddressFamily, Instant as AgentInstant, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

pub use self::binding::{Answer, Binding};
use self::framing::Framing;

/// An allocation must be there within this time: as long as a call waits for media.
const ALLOCATE_WITHIN: Duration = Duration::from_secs(20);
/// A request is first repeated after this, then at twice the distance each time, at most this far apart and so often.
const FIRST_RTO: Duration = Duration::from_millis(300);
const MAX_RTO: Duration = Duration::from_secs(2);
const REPEATS: u32 = 9;
/// Datagrams that wait for leave to be sent; checks are repeated anyway.
const MAX_WAITING: usize = 32;
/// Peers that leave is asked for: as many as one generation of candidates has.
const MAX_PEERS: usize = 64;
/// Leave that was refused is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// What one message to the server adds to a datagram at most: a Send indication with an IPv6 address and its pad.
pub const OVERHEAD: usize = 20 + 24 + 4 + 3;
/// Rounds of one step; only a bug needs more.
const MAX_ROUNDS: usize = 256;

/// Why there is no relay (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnFailure {
    /// User name or password are wrong.
    Credentials,
    /// The server does not want to, by this STUN error code (RFC 8656 §19); 0 if it gave none.
    Refused(u16),
    /// It does not answer.
    Timeout,
    /// The stream has ended, or says what is no message.
    Closed,
}

impl TurnFailure {
    /// The cause word of the transport contract.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Refused(_) => "refused",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
        }
    }
}

/// What the machine makes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the server: a datagram, or whole messages of a stream.
    Transmit(Vec<u8>),
    /// A peer's datagram, out of a stream.
    Datagram {
        /// Who sent it.
        peer: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// The address by which peers reach us over the server. Once.
    Relay(SocketAddr),
    /// As which address the server sees us.
    Outer(SocketAddr),
    /// It is over. Once, and nothing comes after it.
    Failed(TurnFailure),
}

/// Where the server is and who we are there.
pub struct Server<'a> {
    /// Its address.
    pub address: SocketAddr,
    /// Ours below: of the socket, or of our end of the connection.
    pub local: SocketAddr,
    /// Whether it is a stream.
    pub stream: bool,
    /// The user name; RFC 8656 §5 knows no server without one.
    pub username: &'a str,
    /// The password.
    pub password: &'a str,
}

enum Agent {
    Udp(TurnClientUdp),
    Tcp(TurnClientTcp),
}

/// Calls a method of either agent.
macro_rules! agent {
    ($self:expr, $agent:ident => $call:expr) => {
        match &mut $self.agent {
            Agent::Udp($agent) => $call,
            Agent::Tcp($agent) => $call,
        }
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Allocating,
    Ready,
    Closing,
    Over,
}

/// A client of one TURN server. `now` must not go backwards. Drain [`Client::poll_output`] after every other call.
pub struct Client {
    agent: Agent,
    /// Over datagrams the server is a STUN server as well.
    binding: Option<Binding>,
    framing: Option<Framing>,
    server: SocketAddr,
    local: SocketAddr,
    /// Where the agent's clock begins.
    origin: Instant,
    state: State,
    allocate_by: Instant,
    /// The error that the server last gave while we allocate, and whether it was its challenge.
    refusal: Option<u16>,
    challenges: u32,
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    /// When leave was asked for.
    asked: BTreeMap<IpAddr, Instant>,
    channels: BTreeSet<SocketAddr>,
    outputs: VecDeque<Output>,
    due: Option<Instant>,
}

impl std::fmt::Debug for Client {
    /// Prints neither user name nor password, which the agent holds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Client");
        shown.field("server", &self.server).field("state", &self.state);
        shown.finish_non_exhaustive()
    }
}

impl Client {
    /// Begins to allocate.
    pub fn new<R: CryptoRng + ?Sized>(now: Instant, server: &Server<'_>, rng: &mut R) -> Self {
        let mut config = TurnConfig::new(TurnCredentials::new(server.username, server.password));
        if server.address.is_ipv6() {
            config.set_address_family(AddressFamily::IPV6);
        }
        config.set_request_retransmits(FIRST_RTO, MAX_RTO, REPEATS, MAX_RTO);
        let agent = if server.stream {
            Agent::Tcp(TurnClientTcp::allocate(server.local, server.address, config))
        } else {
            Agent::Udp(TurnClientUdp::allocate(server.local, server.address, config))
        };
        let mut client = Self {
            agent,
            binding: (!server.stream).then(|| Binding::new(now, rng)),
            framing: server.stream.then(Framing::default),
            server: server.address,
            local: server.local,
            origin: now,
            state: State::Allocating,
            allocate_by: now + ALLOCATE_WITHIN,
            refusal: None,
            challenges: 0,
            waiting: VecDeque::new(),
            asked: BTreeMap::new(),
            channels: BTreeSet::new(),
            outputs: VecDeque::new(),
            due: None,
        };
        client.advance(now);
        client
    }

    /// Takes a datagram of the server: which part of it is a peer's, and whose.
    ///
    /// Out of a stream peers' datagrams come as [`Output::Datagram`]s.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Option<(SocketAddr, Range<usize>)> {
        if self.state == State::Over {
            return None;
        }
        let received = match self.framing.take() {
            Some(mut framing) => {
                let ended = self.receive_stream(now, &mut framing, bytes);
                self.framing = Some(framing);
                if ended {
                    self.fail(TurnFailure::Closed);
                }
                None
            }
            None => self.receive_message(now, bytes),
        };
        self.advance(now);
        received
    }

    /// Wraps a datagram for a peer: into `out`, unless it has to wait. True if there is something to send.
    pub fn send(&mut self, now: Instant, peer: SocketAddr, datagram: &[u8], out: &mut Vec<u8>) -> bool {
        if self.state != State::Ready || peer.is_ipv4() != self.server.is_ipv4() {
            return false;
        }
        if self.wrap(now, peer, datagram, out) {
            // More than a check (RFC 7983): this pair is in use.
            if datagram.first().is_some_and(|first| *first > 3) && !self.channels.contains(&peer) {
                self.open_channel(now, peer);
            }
            return true;
        }
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((peer, datagram.to_vec()));
        self.ask_leave(now, peer.ip());
        self.advance(now);
        false
    }

    /// Gives the address back. Drain the outputs once more, then drop the machine.
    pub fn close(&mut self, now: Instant) {
        if self.state == State::Ready {
            self.state = State::Closing;
            let at = self.at(now);
            // Without an allocation there is nothing to give back.
            let _ = agent!(self, agent => agent.delete(at));
            self.advance(now);
        }
        self.state = State::Over;
    }

    /// The stream below has ended.
    pub fn closed(&mut self) {
        self.fail(TurnFailure::Closed);
    }

    /// Advances time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Over {
            return;
        }
        if self.state == State::Allocating && self.allocate_by <= now {
            return self.fail(self.reason());
        }
        if let Some(binding) = &mut self.binding {
            binding.handle_timeout(now);
        }
        self.advance(now);
    }

    /// The next thing that the machine made by itself.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Client::handle_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.state == State::Over {
            return None;
        }
        let allocation = (self.state == State::Allocating).then_some(self.allocate_by);
        let binding = self.binding.as_ref().and_then(Binding::poll_timeout);
        [self.due, allocation, binding].into_iter().flatten().min()
    }

    fn at(&self, now: Instant) -> AgentInstant {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        AgentInstant::from_nanos(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Takes a piece of a stream; true if that is over.
    fn receive_stream(&mut self, now: Instant, framing: &mut Framing, piece: &[u8]) -> bool {
        framing.push(piece);
        loop {
            match framing.next() {
                Ok(Some(message)) => {
                    if let Some((peer, part)) = self.receive_message(now, message) {
                        let bytes = message[part].to_vec();
                        self.outputs.push_back(Output::Datagram { peer, bytes });
                    }
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    fn receive_message(&mut self, now: Instant, bytes: &[u8]) -> Option<(SocketAddr, Range<usize>)> {
        if let Some(binding) = &mut self.binding {
            match binding.receive(bytes) {
                Answer::Other => {}
                Answer::Refused => return None,
                Answer::Outer(outer) => {
                    self.outputs.push_back(Output::Outer(outer));
                    return None;
                }
            }
        }
        if self.state == State::Allocating {
            self.note_refusal(bytes);
        }
        let (at, server, local) = (self.at(now), self.server, self.local);
        let received = match &mut self.agent {
            Agent::Udp(agent) => agent.recv(Transmit::new(bytes, TransportType::Udp, server, local), at),
            Agent::Tcp(agent) => agent.recv(Transmit::new(bytes, TransportType::Tcp, server, local), at),
        };
        match received {
            TurnRecvRet::PeerData(data) => {
                let begin = (data.data().as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
                let part = begin..begin.wrapping_add(data.data().len());
                // Owned data would lie elsewhere; the agents own none of a message that was given whole.
                bytes.get(part.clone()).map(|_| (data.peer, part))
            }
            TurnRecvRet::Handled | TurnRecvRet::Ignored(_) | TurnRecvRet::PeerIcmp { .. } => None,
        }
    }

    /// Remembers why the server refuses: the agent does not say.
    fn note_refusal(&mut self, bytes: &[u8]) {
        let Ok(message) = Message::from_bytes(bytes) else {
            return;
        };
        if !message.has_class(MessageClass::Error) {
            return;
        }
        let Ok(error) = message.attribute::<ErrorCode>() else {
            return;
        };
        self.challenges += u32::from(error.code() == ErrorCode::UNAUTHORIZED);
        self.refusal = Some(error.code());
    }

    fn reason(&self) -> TurnFailure {
        match self.refusal {
            Some(ErrorCode::UNAUTHORIZED) if self.challenges > 1 => TurnFailure::Credentials,
            Some(ErrorCode::UNAUTHORIZED) | None => TurnFailure::Timeout,
            Some(code) => TurnFailure::Refused(code),
        }
    }

    fn fail(&mut self, why: TurnFailure) {
        if self.state != State::Over {
            tracing::debug!(server = %self.server, why = why.word(), "no relay");
            self.state = State::Over;
            self.waiting.clear();
            self.outputs.push_back(Output::Failed(why));
        }
    }

    /// Writes the message that carries the datagram; false if there is no leave yet.
    fn wrap(&mut self, now: Instant, peer: SocketAddr, datagram: &[u8], out: &mut Vec<u8>) -> bool {
        let at = self.at(now);
        if !agent!(self, agent => agent.have_permission(TransportType::Udp, peer.ip())) {
            return false;
        }
        let wrapped = agent!(self, agent => agent.send_to(TransportType::Udp, peer, datagram, at));
        let Ok(Some(message)) = wrapped else { return false };
        write(message, out);
        if self.framing.is_some() {
            framing::pad(out);
        }
        true
    }

    fn ask_leave(&mut self, now: Instant, peer: IpAddr) {
        let is_asked = self.asked.get(&peer).is_some_and(|asked| *asked + ASK_AGAIN > now);
        if is_asked || self.asked.len() >= MAX_PEERS && !self.asked.contains_key(&peer) {
            return;
        }
        self.asked.insert(peer, now);
        let at = self.at(now);
        if let Err(error) = agent!(self, agent => agent.create_permission(TransportType::Udp, peer, at)) {
            tracing::debug!(%error, "no leave asked for");
        }
    }

    fn open_channel(&mut self, now: Instant, peer: SocketAddr) {
        if self.channels.len() >= MAX_PEERS {
            return;
        }
        self.channels.insert(peer);
        let at = self.at(now);
        if let Err(error) = agent!(self, agent => agent.bind_channel(TransportType::Udp, peer, at)) {
            tracing::debug!(%error, "no channel");
        }
        self.advance(now);
    }

    /// Runs the agent until it is quiet.
    fn advance(&mut self, now: Instant) {
        if self.state == State::Over {
            return;
        }
        if let Some(request) = self.binding.as_mut().and_then(Binding::poll_transmit) {
            let request = request.to_vec();
            self.outputs.push_back(Output::Transmit(request));
        }
        let at = self.at(now);
        for _ in 0..MAX_ROUNDS {
            let polled = agent!(self, agent => agent.poll(at));
            let mut is_quiet = true;
            while let Some(message) = agent!(self, agent => agent.poll_transmit(at)) {
                is_quiet = false;
                self.outputs.push_back(Output::Transmit(message.data.to_vec()));
            }
            while let Some(event) = agent!(self, agent => agent.poll_event()) {
                is_quiet = false;
                self.on_event(now, event);
            }
            match polled {
                TurnPollRet::Closed if self.state != State::Closing => return self.fail(self.reason()),
                TurnPollRet::Closed => return,
                TurnPollRet::WaitUntil(until) => {
                    let wait = until.checked_duration_since(at).unwrap_or_default();
                    // A time that has come and gives nothing must not keep the host busy.
                    self.due = Some(now + wait.max(Duration::from_millis(1)));
                }
                TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => {}
            }
            if is_quiet {
                return;
            }
        }
    }

    fn on_event(&mut self, now: Instant, event: TurnEvent) {
        match event {
            TurnEvent::AllocationCreated(_, relay) if self.state == State::Allocating => {
                self.state = State::Ready;
                self.outputs.push_back(Output::Relay(relay));
            }
            TurnEvent::AllocationCreateFailed(_) => self.fail(self.reason()),
            TurnEvent::PermissionCreated(_, peer) => self.send_waiting(now, peer),
            TurnEvent::PermissionCreateFailed(_, peer) => self.waiting.retain(|(of, _)| of.ip() != peer),
            TurnEvent::AllocationCreated(..)
            | TurnEvent::ChannelCreated(..)
            | TurnEvent::ChannelCreateFailed(..)
            | TurnEvent::TcpConnected(_)
            | TurnEvent::TcpConnectFailed(_) => {}
        }
    }

    fn send_waiting(&mut self, now: Instant, peer: IpAddr) {
        self.asked.remove(&peer);
        for (to, datagram) in std::mem::take(&mut self.waiting) {
            if to.ip() != peer {
                self.waiting.push_back((to, datagram));
                continue;
            }
            let mut out = Vec::new();
            if self.wrap(now, to, &datagram, &mut out) {
                self.outputs.push_back(Output::Transmit(out));
            }
        }
    }
}

fn write<T: AsRef<[u8]> + std::fmt::Debug>(message: TransmitBuild<DelayedMessageOrChannelSend<T>>, out: &mut Vec<u8>) {
    out.clear();
    out.resize(message.data.len(), 0);
    message.write_into(out);
}

//! A hub elsewhere: the session that outlives its connections, and the adapter whose frames it carries.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quartet_proto::hub::{ClientName, ClientSession, Failure, Heard, Name, Token, Welcome};

use super::Adapter;
use crate::networks::{CallRequest, Link, Network, NetworkCall, NetworkCommand, NetworkEvent, Refusal, Terms};

/// How long a call that is begun without a connection waits for one. A lost connection is mostly there again within a second;
/// whoever dials must not be left in silence for long.
const HOLD: Duration = Duration::from_secs(2);

/// How the client stands with its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no connection, or its hello is not answered yet.
    Away,
    /// The hub knows us.
    Up,
    /// The hub refuses us, and says why; the next connection may do better.
    Refused(Failure),
}

/// The gateway on a hub elsewhere. [`Network::handle_link`] says only whether there is a connection; it says hello itself.
///
/// Drain [`Network::poll_frame`] and [`Network::poll_event`] after every `handle_*`.
#[derive(Debug)]
pub struct Client {
    session: ClientSession,
    adapter: Adapter,
    standing: Standing,
    /// The hub has known us: the account's name is what it says.
    has_begun: bool,
    /// Calls that wait for a connection, and until when.
    held: VecDeque<(Instant, CallRequest)>,
    refusals: VecDeque<NetworkEvent>,
}

impl Client {
    /// A client of the account that this token is for. Until the hub says its name, `account` stands for it.
    #[must_use]
    pub fn new(token: Token, name: ClientName, account: Name) -> Self {
        Self {
            session: ClientSession::new(token, name),
            adapter: Adapter::new(account),
            standing: Standing::Away,
            has_begun: false,
            held: VecDeque::new(),
            refusals: VecDeque::new(),
        }
    }

    /// The name of the account, as the hub says it.
    #[must_use]
    pub fn account(&self) -> &Name {
        &self.adapter.account
    }

    /// How it stands with its hub.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Calls and requests of which something is still to come.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.adapter.pending() + self.held.len()
    }

    fn is_up(&self) -> bool {
        self.standing == Standing::Up
    }

    fn on_up(&mut self, now: Instant, welcome: Welcome, link: Link) {
        tracing::info!(account = %welcome.account, resumed = welcome.resumed, "the hub knows us");
        self.adapter.account = welcome.account;
        (self.standing, self.has_begun) = (Standing::Up, true);
        self.adapter.handle_link(now, link);
        for (_, request) in std::mem::take(&mut self.held) {
            self.adapter.handle_command(now, NetworkCommand::Request(request));
        }
    }

    fn refuse(&mut self, call: NetworkCall) {
        let why = Refusal::Lost;
        self.refusals.push_back(NetworkEvent::Refused { call, why });
    }

    /// Takes a call out of those that wait.
    fn take_held(&mut self, call: NetworkCall) -> bool {
        let before = self.held.len();
        self.held.retain(|(_, request)| request.call != call);
        self.held.len() < before
    }
}

impl Network for Client {
    fn terms(&self) -> Terms {
        self.adapter.terms()
    }

    fn user_of(&self, dialled: &str) -> String {
        self.adapter.user_of(dialled)
    }

    fn name_of(&self, extension: &str) -> String {
        self.adapter.name_of(extension)
    }

    fn extension_of(&self, name: &str) -> String {
        self.adapter.extension_of(name)
    }

    fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        let Ok(heard) = str::from_utf8(frame)
            .map_err(drop)
            .and_then(|text| self.session.handle_input(text).map_err(drop))
        else {
            return self.adapter.drop_frame();
        };
        match heard {
            Heard::Up(welcome) => self.on_up(now, *welcome, Link::Up),
            Heard::Anew(welcome) => self.on_up(now, *welcome, Link::Anew),
            Heard::Refused(failure) => {
                let refused = Standing::Refused(failure);
                // Each try ends the same way; it is said once.
                if self.standing != refused
                    && let Standing::Refused(failure) = &refused
                {
                    tracing::warn!(
                        code = failure.code.as_str(),
                        message = failure.message,
                        "the hub refuses this gateway"
                    );
                }
                self.standing = refused;
            }
            Heard::Frame(frame) => self.adapter.handle_server_frame(now, frame),
            Heard::Nothing => {}
        }
    }

    fn poll_frame(&mut self) -> Option<Vec<u8>> {
        while let Some(request) = self.adapter.transmits.pop_front() {
            self.session.send(&request);
        }
        self.session.poll_transmit().map(String::into_bytes)
    }

    fn handle_link(&mut self, now: Instant, link: Link) {
        match link {
            Link::Up | Link::Anew => self.session.connected(),
            Link::Away | Link::Down => {
                self.session.disconnected();
                if self.is_up() {
                    self.standing = Standing::Away;
                }
                self.adapter.handle_link(now, link);
            }
        }
        if link == Link::Down {
            for (_, request) in std::mem::take(&mut self.held) {
                self.refuse(request.call);
            }
        }
    }

    fn is_up(&self) -> bool {
        Client::is_up(self)
    }

    fn calls(&self) -> usize {
        self.adapter.calls() + self.held.len()
    }

    fn handle_command(&mut self, now: Instant, command: NetworkCommand) {
        if let NetworkCommand::Discard { call, .. } = &command
            && self.take_held(*call)
        {
            return;
        }
        if let NetworkCommand::Request(request) = &command
            && !self.is_up()
        {
            // Before the hub has named our account, the caller cannot be named either.
            if self.has_begun && self.standing == Standing::Away {
                self.held.push_back((now + HOLD, request.clone()));
            } else {
                self.refuse(request.call);
            }
            return;
        }
        self.adapter.handle_command(now, command);
    }

    fn handle_timeout(&mut self, now: Instant) {
        while self.held.front().is_some_and(|(until, _)| *until <= now)
            && let Some((_, request)) = self.held.pop_front()
        {
            self.refuse(request.call);
        }
        self.adapter.handle_timeout(now);
    }

    fn poll_event(&mut self) -> Option<NetworkEvent> {
        self.refusals.pop_front().or_else(|| self.adapter.poll_event())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let held = self.held.front().map(|(until, _)| *until);
        held.into_iter().chain(self.adapter.poll_timeout()).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quartet_proto::hub::{self as wire, ErrorCode};
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::hub::tests::schema;
    use crate::hub::{Account, ConnKey, Directory, HandedServer, Limits, Rendezvous, RendezvousConfig};
    use crate::networks::hub::tests::{accept, confirm, request, signal};
    use crate::networks::{DiscardReason, NetworkEvent::Refused};

    const CALL: NetworkCall = NetworkCall([7; 16]);
    const SECOND: Duration = Duration::from_secs(1);

    /// Two clients of one hub that can be restarted.
    struct World {
        now: Instant,
        directory: Arc<Directory>,
        hub: Rendezvous,
        clients: [Client; 2],
        conns: [Option<ConnKey>; 2],
        next_conn: u64,
    }

    fn token(user: u8) -> Token {
        Token::generate(&mut ChaCha8Rng::seed_from_u64(user.into()))
    }

    impl World {
        #[allow(clippy::disallowed_methods, reason = "the base of a virtual clock")]
        fn new() -> Self {
            let now = Instant::now();
            let directory = Arc::new(Directory::default());
            let client = |user: u8, name: &str| {
                directory.insert(Account::person(Name::new(name).unwrap()), token(user).hash());
                let unknown = Name::new("unknown").unwrap();
                Client::new(token(user), ClientName::new("test").unwrap(), unknown)
            };
            let clients = [client(0, "anna"), client(1, "bob")];
            Self {
                now,
                hub: Self::hub(now, &directory),
                directory,
                clients,
                conns: [None; 2],
                next_conn: 1,
            }
        }

        fn hub(now: Instant, directory: &Arc<Directory>) -> Rendezvous {
            let config = RendezvousConfig {
                gateway: None,
                limits: Limits::default(),
                ice_servers: vec![],
                epoch: (now, 0),
            };
            let rng = Box::new(ChaCha8Rng::seed_from_u64(3));
            Rendezvous::new(config, Arc::clone(directory) as _, rng)
        }

        fn connect(&mut self, client: usize) {
            let conn = ConnKey(self.next_conn);
            self.next_conn += 1;
            self.conns[client] = Some(conn);
            self.hub.connect(self.now, conn, "192.0.2.1:1".parse().unwrap());
            self.clients[client].handle_link(self.now, Link::Up);
            self.settle();
        }

        fn cut(&mut self, client: usize) {
            if let Some(conn) = self.conns[client].take() {
                self.hub.disconnect(self.now, conn);
                self.clients[client].handle_link(self.now, Link::Away);
            }
        }

        /// The hub forgets all that it has not stored.
        fn restart(&mut self) {
            self.cut(0);
            self.cut(1);
            self.hub = Self::hub(self.now, &self.directory);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            for client in &mut self.clients {
                client.handle_timeout(self.now);
            }
            self.hub.handle_timeout(self.now);
            self.settle();
        }

        fn settle(&mut self) {
            loop {
                let mut moved = false;
                for (client, conn) in self.clients.iter_mut().zip(self.conns) {
                    while let Some(frame) = client.poll_frame() {
                        let conn = conn.expect("a client without a connection says nothing");
                        let text = str::from_utf8(&frame).unwrap();
                        schema::check(text);
                        self.hub.handle_input(self.now, conn, text);
                        moved = true;
                    }
                }
                while let Some((conn, text)) = self.hub.poll_transmit() {
                    schema::check(&text);
                    if let Some(client) = self.conns.iter().position(|of| *of == Some(conn)) {
                        self.clients[client].handle_frame(self.now, text.as_bytes());
                        moved = true;
                    }
                }
                while let Some((conn, _)) = self.hub.poll_close() {
                    if let Some(client) = self.conns.iter().position(|of| *of == Some(conn)) {
                        self.conns[client] = None;
                        self.clients[client].handle_link(self.now, Link::Away);
                    }
                }
                if !moved {
                    return;
                }
            }
        }

        fn ask(&mut self, client: usize, command: NetworkCommand) {
            self.clients[client].handle_command(self.now, command);
            self.settle();
        }

        fn events(&mut self, client: usize) -> Vec<NetworkEvent> {
            std::iter::from_fn(|| self.clients[client].poll_event()).collect()
        }

        /// Both are there, and talk.
        fn talking() -> Self {
            let mut world = Self::new();
            world.connect(0);
            world.connect(1);
            world.ask(0, request(CALL, "anna", "bob"));
            world.ask(1, NetworkCommand::Received { call: CALL });
            world.ask(1, accept(CALL));
            world.ask(0, confirm(CALL));
            world.events(0);
            world.events(1);
            world
        }
    }

    #[test]
    fn each_call_is_told_the_servers_of_the_hub_before_it_needs_them() {
        let mut world = World::new();
        let server = |urls: &[&str], secret: Option<&str>| HandedServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            secret: secret.map(|secret| zeroize::Zeroizing::new(secret.to_owned())),
        };
        world.hub.set_ice_servers(vec![
            server(&["stun:192.0.2.5", "http:nothing"], None),
            server(&["turn:[2001:db8::5]", "turns:turn.example"], Some("shared")),
            server(
                &["reflector:192.0.2.6", "reflector:192.0.2.6?transport=tcp"],
                Some("of the reflector"),
            ),
        ]);
        world.connect(0);
        world.connect(1);
        world.ask(0, request(CALL, "anna", "bob"));
        world.ask(1, accept(CALL));
        world.ask(0, confirm(CALL));
        let mut tags = Vec::new();
        for client in 0..2 {
            let events = world.events(client);
            let told = events.iter().filter_map(|event| {
                if let NetworkEvent::Servers { call: CALL, servers } = event {
                    Some(servers)
                } else {
                    None
                }
            });
            let [servers] = told.collect::<Vec<_>>()[..] else {
                panic!("{events:?}");
            };
            assert!(servers.p2p);
            tags.extend(servers.reflectors.iter().map(|reflector| reflector.tag.clone()));
            let relays: Vec<_> = servers.relays().collect();
            let seen: Vec<_> = relays.iter().map(|relay| format!("{relay:?}")).collect();
            assert_eq!(
                seen,
                [
                    "Relay(Stun 192.0.2.5:3478)",
                    "Relay(Turn(Udp) 2001:db8::5:3478)",
                    "Relay(Turn(Tls) turn.example:5349)",
                    "Relay(Reflector(Udp) 192.0.2.6:599)",
                    "Relay(Reflector(Tcp) 192.0.2.6:599)"
                ]
            );
            assert!(relays.iter().all(|relay| !relay.may_be_here));
            let name = ["anna", "bob"][client];
            assert!(servers.turn[0].username.ends_with(name) && !servers.turn[0].password.0.is_empty());
            let place = |wanted: fn(&NetworkEvent) -> bool| events.iter().position(wanted);
            let told = place(|event| matches!(event, NetworkEvent::Servers { .. }));
            if client == 0 {
                assert!(
                    told < place(|event| matches!(event, NetworkEvent::Accepted { .. })),
                    "{events:?}"
                );
            } else {
                assert!(
                    told < place(|event| matches!(event, NetworkEvent::Confirmed { .. })),
                    "{events:?}"
                );
            }
        }
        assert!(
            tags.len() == 4 && tags.iter().all(|tag| *tag == tags[0]),
            "one tag a call"
        );
        // Where the hub has none, nothing is said of them.
        let mut world = World::talking();
        assert_eq!(world.events(0), []);
    }

    #[test]
    fn of_a_hub_with_very_many_servers_few_are_used() {
        let urls: Vec<String> = (0..1_000).map(|n| format!("turn:192.0.2.{}:{n}", n % 250)).collect();
        let told = wire::IceServer {
            urls,
            username: Some("a".into()),
            credential: Some("b".into()),
        };
        let servers = super::super::servers::read(&[told], Vec::new());
        assert_eq!(servers.relays().count(), 8);
    }

    fn lost(call: NetworkCall) -> NetworkEvent {
        let why = Refusal::Lost;
        Refused { call, why }
    }

    #[test]
    fn the_hub_says_whose_account_it_is() {
        let mut world = World::new();
        assert_eq!(
            (world.clients[0].standing(), world.clients[0].account().as_str()),
            (&Standing::Away, "unknown")
        );
        world.connect(0);
        assert_eq!(
            (world.clients[0].standing(), world.clients[0].account().as_str()),
            (&Standing::Up, "anna")
        );
        assert_eq!(world.clients[0].name_of("100"), "100@anna");
    }

    #[test]
    fn a_call_before_the_hub_has_said_so_has_no_name_and_is_refused_at_once() {
        let mut world = World::new();
        world.ask(0, request(CALL, "unknown", "bob"));
        assert_eq!(world.events(0), [lost(CALL)]);
        assert_eq!((world.clients[0].calls(), world.clients[0].poll_timeout()), (0, None));
    }

    #[test]
    fn a_call_waits_a_moment_for_a_connection() {
        let mut world = World::new();
        world.connect(0);
        world.connect(1);
        world.cut(0);
        world.ask(0, request(CALL, "anna", "bob"));
        let ended = NetworkCall([8; 16]);
        world.ask(0, request(ended, "anna", "bob"));
        let reason = DiscardReason::Hangup;
        let duration = Duration::ZERO;
        world.ask(
            0,
            NetworkCommand::Discard {
                call: ended,
                reason,
                duration,
            },
        );
        assert_eq!((world.events(0), world.clients[0].calls()), (vec![], 1));
        world.pass(HOLD - SECOND);
        world.connect(0);
        // Bob hears of the one call, never of the other.
        let heard = world.events(1);
        assert!(
            matches!(&heard[..], [NetworkEvent::Requested(request)] if request.call == CALL),
            "{heard:?}"
        );

        world.cut(0);
        let late = NetworkCall([9; 16]);
        world.ask(0, request(late, "anna", "bob"));
        assert_eq!(world.clients[0].poll_timeout(), Some(world.now + HOLD));
        world.pass(HOLD);
        assert_eq!(world.events(0), [lost(late)]);
        world.connect(0);
        assert_eq!(world.events(1), []);
    }

    #[test]
    fn what_was_said_while_away_arrives_once() {
        let mut world = World::talking();
        world.cut(0);
        world.ask(0, signal(CALL));
        world.ask(1, signal(CALL));
        world.pass(10 * SECOND);
        world.connect(0);
        for client in [0, 1] {
            let heard = world.events(client);
            assert!(
                matches!(heard[..], [NetworkEvent::Signal { call: CALL, .. }]),
                "{heard:?}"
            );
        }
        // And once more after another cut there is nothing left to repeat.
        world.cut(0);
        world.connect(0);
        assert_eq!((world.events(0), world.events(1)), (vec![], vec![]));
    }

    #[test]
    fn a_call_outlives_its_hub() {
        for first in [0, 1] {
            let mut world = World::talking();
            world.restart();
            world.pass(20 * SECOND);
            world.connect(first);
            world.pass(30 * SECOND);
            world.connect(1 - first);
            world.ask(0, signal(CALL));
            world.ask(1, signal(CALL));
            for client in [0, 1] {
                let heard = world.events(client);
                assert!(
                    matches!(heard[..], [NetworkEvent::Signal { call: CALL, .. }]),
                    "{heard:?}"
                );
            }
            let (reason, duration) = (DiscardReason::Hangup, SECOND);
            world.ask(
                first,
                NetworkCommand::Discard {
                    call: CALL,
                    reason,
                    duration,
                },
            );
            let over = NetworkEvent::Discarded { call: CALL, reason };
            assert_eq!(world.events(1 - first), [over]);
        }
    }

    /// Seen: the other side heard nothing of it, and its call ended by silence.
    #[test]
    fn a_call_hung_up_while_its_hub_restarts_ends_on_both_sides() {
        for (first, hangs_up) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let mut world = World::talking();
            world.restart();
            let (reason, duration) = (DiscardReason::Hangup, SECOND);
            world.ask(
                hangs_up,
                NetworkCommand::Discard {
                    call: CALL,
                    reason,
                    duration,
                },
            );
            world.pass(20 * SECOND);
            world.connect(first);
            world.pass(20 * SECOND);
            world.connect(1 - first);
            let over = NetworkEvent::Discarded { call: CALL, reason };
            assert_eq!(world.events(1 - hangs_up), [over], "{first} {hangs_up}");
            assert_eq!(world.events(hangs_up), []);
            assert_eq!(
                (world.clients[0].calls(), world.clients[1].calls(), world.hub.calls()),
                (0, 0, 0)
            );
            world.pass(60 * SECOND);
            assert_eq!((world.events(0), world.events(1)), (vec![], vec![]));
        }
    }

    #[test]
    fn a_token_that_is_not_known_is_said_and_tried_again() {
        let mut world = World::new();
        world.directory.remove("anna");
        for _ in 0..2 {
            world.connect(0);
            let standing = world.clients[0].standing();
            assert!(matches!(standing, Standing::Refused(failure) if failure.code == ErrorCode::Unauthorized));
            assert_eq!(world.conns[0], None);
        }
        world.ask(0, request(CALL, "anna", "bob"));
        assert_eq!(world.events(0), [lost(CALL)]);
        let anna = Account::person(Name::new("anna").unwrap());
        world.directory.insert(anna, token(0).hash());
        world.connect(0);
        assert_eq!(world.clients[0].standing(), &Standing::Up);
    }

    #[test]
    fn the_end_of_all_ends_what_waits() {
        let mut world = World::talking();
        world.cut(0);
        let second = NetworkCall([8; 16]);
        world.ask(0, request(second, "anna", "bob"));
        world.clients[0].handle_link(world.now, Link::Down);
        let mut events = world.events(0);
        events.sort_by_key(NetworkEvent::call);
        assert_eq!(events, [lost(CALL), lost(second)]);
        assert_eq!((world.clients[0].calls(), world.clients[0].poll_timeout()), (0, None));
    }
}

//! A data centre of our own for tests: enough of MTProto and of the service's functions that unmodified clients log in and call each other.

mod between;
mod calls;
mod config;
mod keys;
mod links;
mod messages;
mod mtproto;
pub mod office;
mod password;
mod poison;
mod service;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grammers_session::types::DcOption;
use quartet::networks::telegram::client::session::Login;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub use self::between::Overheard;
pub use self::keys::{auth_key, public_pem};
use self::mtproto::{Keys, Wire};
pub use self::poison::Poison;
use self::service::To;
pub use self::service::{CODE, Fault, Service, User};

/// Makes a login that knows where the data centre is and has the key of that name; `me` is logged in, if anybody.
///
/// # Panics
/// If it cannot be written, or the address is none of IPv4.
pub fn prepare_login(session: &Path, key: &Path, address: SocketAddr, name: &str, me: Option<i64>) {
    let login = Login::open(session, key).expect("a login");
    let SocketAddr::V4(ipv4) = address else {
        panic!("an IPv4 address");
    };
    let option = DcOption {
        id: 2,
        ipv4,
        ipv6: "[::1]:1".parse().expect("an address"),
        auth_key: Some(auth_key(name)),
    };
    login.set_centre(option).expect("written");
    if let Some(me) = me {
        login.logged_in(me, 1).expect("written");
    }
}

/// The data centre, without IO: bytes of connections in, bytes for connections out.
pub struct DataCentre {
    keys: Keys,
    /// What it knows.
    pub service: Service,
    wires: BTreeMap<u64, Wire>,
    next: u64,
    /// Why connections were closed.
    pub closed: Vec<String>,
    /// A user whose connections are not served.
    pub shut_out: Option<i64>,
}

impl DataCentre {
    /// One with these users, of whom nobody is logged in.
    #[must_use]
    pub fn new(users: Vec<User>, seed: u64) -> Self {
        Self {
            keys: Keys::new(ChaCha8Rng::seed_from_u64(seed)),
            service: Service::new(users),
            wires: BTreeMap::new(),
            next: 1,
            closed: Vec::new(),
            shut_out: None,
        }
    }

    /// A client with this key is logged in as that user.
    pub fn log_in(&mut self, key: [u8; 256], user: i64) {
        let id = self.keys.learn(key);
        self.service.logins.insert(id, user);
    }

    /// A client may use this key.
    pub fn know(&mut self, key: [u8; 256]) {
        self.keys.learn(key);
    }

    /// That user has a password from now on.
    pub fn set_password(&mut self, user: i64, password: &str) {
        if let Some(user) = self.service.users.get_mut(&user) {
            user.password = Some(password.to_owned());
        }
    }

    /// The sessions of that user are over.
    pub fn revoke(&mut self, user: i64) {
        self.service.logins.retain(|_, of| *of != user);
    }

    /// The keys of that user are not known any more.
    pub fn forget(&mut self, user: i64) {
        let of = |(key, logged_in): (&[u8; 8], &i64)| (*logged_in == user).then_some(*key);
        let gone: Vec<[u8; 8]> = self.service.logins.iter().filter_map(of).collect();
        gone.iter().for_each(|key| self.keys.forget(key));
    }

    /// A connection has come.
    pub fn connect(&mut self) -> u64 {
        self.next += 1;
        self.wires.insert(self.next, Wire::new());
        self.next
    }

    /// A connection is gone.
    pub fn disconnect(&mut self, connection: u64) {
        self.wires.remove(&connection);
    }

    /// Takes bytes of a connection.
    ///
    /// # Errors
    /// If it has to be closed, once what there is for it is sent.
    pub fn handle_input(&mut self, connection: u64, bytes: &[u8]) -> Result<(), String> {
        let Some(wire) = self.wires.get_mut(&connection) else {
            return Ok(());
        };
        let requests = wire.handle_input(&mut self.keys, bytes)?;
        for request in requests {
            let Some(key) = self.wires.get(&connection).and_then(Wire::key) else {
                continue;
            };
            let (answer, pushes) = self
                .service
                .handle(&mut self.keys, key, request.function, &request.body);
            if let Some(wire) = self.wires.get_mut(&connection) {
                wire.answer(&mut self.keys, request.message, &answer);
            }
            for push in pushes {
                let copies = self.service.copies();
                let body = self.service.update_for(&push);
                let logins = &self.service.logins;
                let of = |wire: &&mut Wire| {
                    wire.key().is_some_and(|key| match push.to {
                        To::User(user) => logins.get(&key) == Some(&user),
                        To::Others(user, but) => logins.get(&key) == Some(&user) && key != but,
                        To::Key(wanted) => key == wanted,
                    })
                };
                for wire in self.wires.values_mut().filter(of) {
                    for _ in 0..copies {
                        wire.push(&mut self.keys, &body);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether this connection is one of a user who is shut out.
    fn is_shut_out(&self, connection: u64) -> bool {
        let key = self.wires.get(&connection).and_then(Wire::key);
        let user = key.and_then(|key| self.service.logins.get(&key));
        user.is_some() && user == self.shut_out.as_ref()
    }

    /// Bytes for a connection.
    pub fn poll_transmit(&mut self, connection: u64) -> Vec<u8> {
        let wire = self.wires.get_mut(&connection);
        wire.map(|wire| std::mem::take(&mut wire.out)).unwrap_or_default()
    }
}

/// A data centre that listens.
pub struct Served {
    centre: Arc<Mutex<DataCentre>>,
    address: SocketAddr,
    gate: Arc<tokio::sync::watch::Sender<bool>>,
    news: Arc<Notify>,
}

impl Served {
    /// Serves it on this address.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(centre: DataCentre, address: std::net::IpAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let centre = Arc::new(Mutex::new(centre));
        let (news, gate) = (Arc::new(Notify::new()), Arc::new(tokio::sync::watch::Sender::new(true)));
        let served = Self {
            centre: Arc::clone(&centre),
            address,
            gate: Arc::clone(&gate),
            news: Arc::clone(&news),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if *gate.borrow() {
                    tokio::spawn(serve(stream, Arc::clone(&centre), Arc::clone(&news), gate.subscribe()));
                }
            }
        });
        Ok(served)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The centre itself.
    pub fn centre(&self) -> MutexGuard<'_, DataCentre> {
        self.centre.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves this user no more, and ends the connections there are; `None`: everybody again.
    pub fn shut_out(&self, user: Option<i64>) {
        self.centre().shut_out = user;
        self.news.notify_waiters();
    }

    /// Sends that user's clients what cannot be read.
    pub fn poison(&self, user: i64, poison: Poison) {
        let body = poison.body();
        let mut centre = self.centre();
        let DataCentre {
            keys, service, wires, ..
        } = &mut *centre;
        let of = |wire: &&mut Wire| wire.key().and_then(|key| service.logins.get(&key)) == Some(&user);
        for wire in wires.values_mut().filter(of) {
            wire.push(keys, &body);
        }
        self.news.notify_waiters();
    }

    /// Whether connections are taken; if not, those that there are end.
    pub fn open(&self, is_open: bool) {
        self.gate.send_replace(is_open);
    }

    /// How often that user has asked for that.
    pub fn count(&self, user: i64, function: &str) -> usize {
        let centre = self.centre();
        let requests = centre.service.requests.iter();
        requests.filter(|(of, what)| *of == user && *what == function).count()
    }
}

/// Connections are to end.
async fn closed(gate: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = gate.wait_for(|is_open| !is_open).await;
}

async fn serve(
    mut stream: TcpStream,
    centre: Arc<Mutex<DataCentre>>,
    news: Arc<Notify>,
    mut gate: tokio::sync::watch::Receiver<bool>,
) {
    let lock = || centre.lock().unwrap_or_else(PoisonError::into_inner);
    let connection = lock().connect();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let told = news.notified();
        tokio::pin!(told);
        told.as_mut().enable();
        let out = lock().poll_transmit(connection);
        if !out.is_empty() && stream.write_all(&out).await.is_err() {
            break;
        }
        tokio::select! {
            read = stream.read(&mut buffer) => {
                let Ok(count) = read else { break };
                if count == 0 {
                    break;
                }
                let taken = {
                    let mut centre = lock();
                    let taken = centre.handle_input(connection, &buffer[..count]);
                    if centre.is_shut_out(connection) {
                        break;
                    }
                    taken
                };
                // Others may have been told something.
                news.notify_waiters();
                if let Err(why) = taken {
                    let out = {
                        let mut centre = lock();
                        centre.closed.push(why);
                        centre.poll_transmit(connection)
                    };
                    let _ = stream.write_all(&out).await;
                    break;
                }
            }
            () = &mut told => {
                if lock().is_shut_out(connection) {
                    break;
                }
            }
            () = closed(&mut gate) => break,
        }
    }
    lock().disconnect(connection);
}

//! The server of the templates of a path: a relay with a protocol that fits on their page.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const ADDRESS: usize = 19;

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct FramedServer {
    /// Where it is reached.
    pub address: SocketAddr,
    passed: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FramedServer {
    /// Starts it at this address, and gives its clients addresses there.
    pub fn start(ip: IpAddr) -> Self {
        let (socket, _) = bind(ip);
        let address = socket.local_addr().expect("bound");
        let (passed, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&passed), Arc::clone(&ends));
        let thread = std::thread::spawn(move || serve(&socket, &count, &stop));
        Self {
            address,
            passed,
            ends,
            thread: Some(thread),
        }
    }

    /// How many datagrams it has passed on, either way.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

impl Drop for FramedServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn bind(ip: IpAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a time");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

fn serve(socket: &UdpSocket, passed: &AtomicUsize, ends: &AtomicBool) {
    let mut clients: HashMap<SocketAddr, (UdpSocket, SocketAddr)> = HashMap::new();
    let mut bytes = [0; 2_048];
    while !ends.load(Ordering::Relaxed) {
        if let Ok((length, source)) = socket.recv_from(&mut bytes) {
            let (outer, address) = clients
                .entry(source)
                .or_insert_with(|| bind(socket.local_addr().expect("bound").ip()));
            match bytes[..length].split_first() {
                Some((1, [])) => {
                    let answer = [&[2][..], &write(*address)].concat();
                    socket.send_to(&answer, source).ok();
                }
                Some((3, rest)) if rest.len() >= ADDRESS => {
                    passed.fetch_add(1, Ordering::Relaxed);
                    outer.send_to(&rest[ADDRESS..], read(rest)).ok();
                }
                _ => panic!("a client says {:?}", &bytes[..length.min(40)]),
            }
        }
        for (client, (outer, _)) in &clients {
            while let Ok((length, peer)) = outer.recv_from(&mut bytes) {
                passed.fetch_add(1, Ordering::Relaxed);
                let data = [&[3][..], &write(peer), &bytes[..length]].concat();
                socket.send_to(&data, client).ok();
            }
        }
    }
}

/// IPv4 alone.
fn write(address: SocketAddr) -> [u8; ADDRESS] {
    let mut bytes = [0; ADDRESS];
    let IpAddr::V4(ip) = address.ip() else {
        panic!("{address}")
    };
    bytes[0] = 4;
    bytes[1..3].copy_from_slice(&address.port().to_be_bytes());
    bytes[3..7].copy_from_slice(&ip.octets());
    bytes
}

fn read(bytes: &[u8]) -> SocketAddr {
    assert_eq!(bytes[0], 4);
    let ip = [bytes[3], bytes[4], bytes[5], bytes[6]];
    SocketAddr::from((ip, u16::from_be_bytes([bytes[1], bytes[2]])))
}

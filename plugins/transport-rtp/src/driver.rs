//! For tests: a transport driven through its exported C table, as a host does. transport-webrtc uses this file too.

#![allow(unsafe_code, reason = "it plays the host's side of the C contract")]
#![allow(dead_code, reason = "each of the two plugins uses a part")]

use core::ffi::{c_char, c_void};
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::ffi::CString;

use quartet_plugin::{Kind, Role, abi};

static SEED: AtomicU64 = AtomicU64::new(1);

unsafe extern "C" fn random(_: *mut c_void, out: *mut u8, len: usize) {
    for at in 0..len {
        // splitmix64: repeatable, and different at each call.
        let mut word = SEED.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        // SAFETY: the contract gives `len` writable bytes.
        unsafe { out.add(at).write((word >> 32) as u8) };
    }
}

unsafe extern "C" fn log(_: *mut c_void, _: u32, _: *const c_char, _: usize) {}

/// What `poll` gave, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// A datagram.
    Transmit(u32, SocketAddr, Vec<u8>),
    /// A message, and whether it is text.
    Data(u16, bool, Vec<u8>),
    /// An event and its text.
    Event(u32, String),
}

/// What `receive` and `send` gave: the code, the packet's bytes, path and destination.
pub(crate) type Done = (i32, Vec<u8>, u32, Option<SocketAddr>);

/// One handle of the plugin's first table.
pub(crate) struct Driver {
    table: abi::Transport,
    handle: *mut c_void,
}

impl Driver {
    /// Initialises the plugin and makes a handle.
    pub(crate) fn new(plugin: &abi::Plugin, role: Role, now_ns: u64) -> Self {
        let host = Box::leak(Box::new(abi::Host {
            abi_major: abi::ABI_MAJOR,
            abi_minor: abi::ABI_MINOR,
            size: size_of::<abi::Host>() as u32,
            ctx: core::ptr::null_mut(),
            log: Some(log),
            random: Some(random),
        }));
        let config = abi::TransportConfig {
            size: size_of::<abi::TransportConfig>() as u32,
            role: if role == Role::Offer {
                abi::ROLE_OFFER
            } else {
                abi::ROLE_ANSWER
            },
            now_ns,
            options: c"".as_ptr(),
            reserved: [0; 4],
        };
        let mut handle = core::ptr::null_mut();
        // SAFETY: the plugin's own constants; the host is leaked, so it lives until the end; the config lives for the call.
        let table = unsafe {
            assert_eq!(plugin.init.unwrap()(host), 0);
            let table = plugin.tables.read().cast::<abi::Transport>().read();
            assert_eq!(table.create.unwrap()(&raw const config, &raw mut handle), 0);
            table
        };
        Driver { table, handle }
    }

    /// New lines of our description.
    pub(crate) fn local(&mut self, now_ns: u64) -> String {
        let mut out = vec![0u8; 4096];
        // SAFETY: our handle; 4096 writable bytes.
        let length = unsafe { self.table.local.unwrap()(self.handle, now_ns, out.as_mut_ptr().cast(), 4096) };
        out.truncate(usize::try_from(length).unwrap());
        String::from_utf8(out).unwrap()
    }

    /// Tells lines; the code.
    pub(crate) fn tell(&mut self, now_ns: u64, about: u32, lines: &str) -> i32 {
        let lines = CString::new(lines).unwrap();
        // SAFETY: our handle; the text lives for the call.
        unsafe { self.table.tell.unwrap()(self.handle, now_ns, about, lines.as_ptr()) }
    }

    /// A datagram from below.
    pub(crate) fn receive(&mut self, now_ns: u64, path: u32, src: SocketAddr, bytes: &[u8]) -> Done {
        self.packet(self.table.receive.unwrap(), now_ns, bytes, |packet| {
            packet.path = path;
            packet.src = abi::Addr::from_socket(src);
        })
    }

    /// A packet from above, with as much tailroom as the table asks for.
    pub(crate) fn send(&mut self, now_ns: u64, kind: Kind, bytes: &[u8]) -> Done {
        self.packet(self.table.send.unwrap(), now_ns, bytes, |packet| {
            packet.kind = kind.word();
            packet.path = if kind == Kind::Data { abi::DATA_TEXT } else { 0 };
        })
    }

    fn packet(&mut self, call: abi::PacketFn, now: u64, bytes: &[u8], fill: impl Fn(&mut abi::Packet)) -> Done {
        let (head, tail) = (self.table.headroom as usize, self.table.tailroom as usize);
        let mut buffer = vec![0xEE; head];
        buffer.extend_from_slice(bytes);
        buffer.resize(head + bytes.len() + tail, 0xEE);
        let range = buffer.as_ptr_range();
        let mut packet = abi::zeroed::<abi::Packet>();
        packet.len = bytes.len() as u32;
        packet.headroom = head as u32;
        packet.tailroom = tail as u32;
        fill(&mut packet);
        // SAFETY: `packet` describes `buffer`, which nothing else touches; the result is checked to lie inside.
        unsafe {
            packet.data = buffer.as_mut_ptr().add(head);
            let code = call(self.handle, now, &raw mut packet);
            let data = packet.data.cast_const();
            assert!(
                data >= range.start && data.add(packet.len as usize) <= range.end,
                "left its buffer"
            );
            let bytes = core::slice::from_raw_parts(data, packet.len as usize).to_vec();
            (code, bytes, packet.path, packet.dst.to_socket())
        }
    }

    /// Time passes.
    pub(crate) fn timeout(&mut self, now_ns: u64) {
        // SAFETY: our handle.
        assert_eq!(unsafe { self.table.timeout.unwrap()(self.handle, now_ns) }, 0);
    }

    /// All that the machine made, and its deadline.
    pub(crate) fn poll(&mut self) -> (Vec<Polled>, Option<u64>) {
        let mut all = Vec::new();
        for _ in 0..1000 {
            let mut out = abi::zeroed::<abi::Output>();
            // SAFETY: our handle, and a place for the answer.
            let code = unsafe { self.table.poll.unwrap()(self.handle, &raw mut out) };
            let bytes = |data: *const u8, len: u32| {
                if len == 0 {
                    return Vec::new();
                }
                // SAFETY: the plugin's memory is valid to the next call, which comes after the copy.
                unsafe { core::slice::from_raw_parts(data, len as usize).to_vec() }
            };
            let packet = out.packet;
            all.push(match code {
                abi::NONE => return (all, Some(out.deadline_ns).filter(|at| *at != abi::NO_DEADLINE)),
                abi::TRANSMIT => {
                    let dst = packet.dst.to_socket().unwrap();
                    Polled::Transmit(packet.path, dst, bytes(packet.data, packet.len))
                }
                abi::DATA => {
                    let text = packet.path & abi::DATA_TEXT != 0;
                    Polled::Data(packet.path as u16, text, bytes(packet.data, packet.len))
                }
                abi::EVENT => {
                    let text = bytes(out.text.cast(), out.text_len);
                    Polled::Event(out.event, String::from_utf8(text).unwrap())
                }
                other => panic!("poll returned {other}"),
            });
        }
        panic!("poll does not end");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: our handle, once.
        unsafe { self.table.destroy.unwrap()(self.handle) };
    }
}

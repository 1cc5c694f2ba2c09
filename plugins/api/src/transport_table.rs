//! From the safe transport trait to the C table.

use core::ffi::{c_char, c_void};
use core::marker::PhantomData;

use crate::codec_table::{free, guard, handle, text, write_text};
use crate::transport::{About, Event, Outcome, Output, Role, Transport, TransportConfig};
use crate::{Error, Options, Packet, abi};

/// Builds the constant table of a transport.
pub struct TransportTable<T>(PhantomData<T>);

impl<T: Transport> TransportTable<T> {
    /// The table.
    pub const TABLE: &'static abi::Shared<abi::Transport> = &abi::Shared(abi::Transport {
        size: size_of::<abi::Transport>() as u32,
        flags: if T::STREAM { abi::FLAG_STREAM } else { 0 },
        name: T::NAME.as_ptr(),
        headroom: T::HEADROOM,
        tailroom: T::TAILROOM,
        create: Some(create::<T>),
        destroy: Some(free::<Machine<T>>),
        local: Some(local::<T>),
        tell: Some(tell::<T>),
        receive: Some(receive::<T>),
        send: Some(send::<T>),
        timeout: Some(timeout::<T>),
        poll: Some(poll::<T>),
    });
}

/// A machine, and those lines of its description that did not fit the host's last buffer.
struct Machine<T> {
    transport: T,
    lines: String,
}

impl<T> Machine<T> {
    fn wipe_lines(&mut self) {
        let mut bytes = core::mem::take(&mut self.lines).into_bytes();
        bytes.fill(0);
        core::hint::black_box(&mut bytes);
    }
}

impl<T> Drop for Machine<T> {
    fn drop(&mut self) {
        self.wipe_lines();
    }
}

unsafe extern "C" fn create<T: Transport>(config: *const abi::TransportConfig, out: *mut *mut c_void) -> i32 {
    guard(|| {
        if config.is_null() || out.is_null() {
            return Err(Error::Argument);
        }
        // SAFETY: the host's config begins with its size and is readable for that many bytes.
        let raw = unsafe { abi::adopt(config, config.cast::<u32>().read()) };
        let role = match raw.role {
            abi::ROLE_OFFER => Role::Offer,
            abi::ROLE_ANSWER => Role::Answer,
            _ => return Err(Error::Argument),
        };
        // SAFETY: null, or a text that ends with 0 and lives through the call.
        let options = unsafe { text(raw.options) };
        let transport = T::create(&TransportConfig {
            role,
            now_ns: raw.now_ns,
            options: Options::new(&options),
        })?;
        let machine = Box::new(Machine {
            transport,
            lines: String::new(),
        });
        // SAFETY: the host passes a place for one pointer.
        unsafe { out.write(Box::into_raw(machine).cast()) };
        Ok(0)
    })
}

unsafe extern "C" fn local<T: Transport>(machine: *mut c_void, now_ns: u64, out: *mut c_char, cap: u32) -> i32 {
    guard(|| {
        // SAFETY: the host passes its own handle.
        let machine = unsafe { handle::<Machine<T>>(machine)? };
        machine.transport.local(now_ns, &mut machine.lines)?;
        // SAFETY: the host passes `cap` writable bytes. If they do not suffice, the lines wait for a larger buffer.
        let count = unsafe { write_text(&machine.lines, out, cap)? };
        machine.wipe_lines();
        Ok(count)
    })
}

unsafe extern "C" fn tell<T: Transport>(machine: *mut c_void, now_ns: u64, about: u32, lines: *const c_char) -> i32 {
    guard(|| {
        // SAFETY: the host passes its own handle, and a text that ends with 0 and lives through the call.
        let (machine, lines) = unsafe { (handle::<Machine<T>>(machine)?, text(lines)) };
        let about = match about {
            abi::TELL_REMOTE => About::Remote,
            abi::TELL_PATHS => About::Paths,
            abi::TELL_CONTROL => About::Control,
            _ => return Err(Error::Unsupported),
        };
        machine.transport.tell(now_ns, about, &lines)?;
        Ok(0)
    })
}

const fn outcome(outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Kept => abi::NONE,
        Outcome::Transmit => abi::TRANSMIT,
        Outcome::Rtp => abi::RTP,
        Outcome::Rtcp => abi::RTCP,
        Outcome::Data => abi::DATA,
        Outcome::Datagram => abi::DATAGRAM,
    }
}

unsafe extern "C" fn receive<T: Transport>(machine: *mut c_void, now_ns: u64, packet: *mut abi::Packet) -> i32 {
    guard(|| {
        // SAFETY: the host passes its own handle and its own packet, for this call only.
        let (machine, raw) = unsafe { (handle::<Machine<T>>(machine)?, packet.as_mut().ok_or(Error::Argument)?) };
        // SAFETY: the packet lies in one buffer of the host's, headroom and tailroom included.
        let mut packet = unsafe { Packet::new(raw) };
        Ok(outcome(machine.transport.receive(now_ns, &mut packet)?))
    })
}

unsafe extern "C" fn send<T: Transport>(machine: *mut c_void, now_ns: u64, packet: *mut abi::Packet) -> i32 {
    guard(|| {
        // SAFETY: the host passes its own handle and its own packet, for this call only.
        let (machine, raw) = unsafe { (handle::<Machine<T>>(machine)?, packet.as_mut().ok_or(Error::Argument)?) };
        // SAFETY: the packet lies in one buffer of the host's, headroom and tailroom included.
        let mut packet = unsafe { Packet::new(raw) };
        Ok(outcome(machine.transport.send(now_ns, &mut packet)?))
    })
}

unsafe extern "C" fn timeout<T: Transport>(machine: *mut c_void, now_ns: u64) -> i32 {
    guard(|| {
        // SAFETY: the host passes its own handle.
        unsafe { handle::<Machine<T>>(machine)? }.transport.timeout(now_ns)?;
        Ok(0)
    })
}

/// Describes bytes of the plugin's own, which the host reads before its next call.
fn lend(out: &mut abi::Output, bytes: &[u8]) -> Result<(), Error> {
    out.packet.data = bytes.as_ptr().cast_mut();
    out.packet.len = u32::try_from(bytes.len()).map_err(|_| Error::Internal)?;
    Ok(())
}

unsafe extern "C" fn poll<T: Transport>(machine: *mut c_void, output: *mut abi::Output) -> i32 {
    guard(|| {
        // SAFETY: the host passes its own handle.
        let machine = unsafe { handle::<Machine<T>>(machine)? };
        if output.is_null() {
            return Err(Error::Argument);
        }
        let mut out = abi::zeroed::<abi::Output>();
        out.deadline_ns = abi::NO_DEADLINE;
        let result = match machine.transport.poll() {
            Output::None { deadline_ns } => {
                out.deadline_ns = deadline_ns.unwrap_or(abi::NO_DEADLINE);
                abi::NONE
            }
            Output::Transmit { path, dst, bytes } => {
                lend(&mut out, bytes)?;
                out.packet.path = path;
                out.packet.dst = abi::Addr::from_socket(dst);
                abi::TRANSMIT
            }
            Output::Rtp(bytes) => {
                lend(&mut out, bytes)?;
                abi::RTP
            }
            Output::Rtcp(bytes) => {
                lend(&mut out, bytes)?;
                abi::RTCP
            }
            Output::Data { channel, text, bytes } => {
                lend(&mut out, bytes)?;
                out.packet.path = u32::from(channel) | if text { abi::DATA_TEXT } else { 0 };
                abi::DATA
            }
            Output::Datagram { src, bytes } => {
                lend(&mut out, bytes)?;
                out.packet.src = abi::Addr::from_socket(src);
                abi::DATAGRAM
            }
            Output::Event(event) => {
                let (word, text) = match event {
                    Event::Connected => (abi::EVENT_CONNECTED, ""),
                    Event::Failed(cause) => (abi::EVENT_FAILED, cause),
                    Event::Local => (abi::EVENT_LOCAL, ""),
                    Event::Address(line) => (abi::EVENT_ADDRESS, line),
                    Event::Stats(lines) => (abi::EVENT_STATS, lines),
                };
                out.event = word;
                out.text = text.as_ptr().cast();
                out.text_len = u32::try_from(text.len()).map_err(|_| Error::Internal)?;
                abi::EVENT
            }
        };
        // SAFETY: the host passes a place for one output; the struct is frozen, so it is as large as ours.
        unsafe { output.write(out) };
        Ok(result)
    })
}

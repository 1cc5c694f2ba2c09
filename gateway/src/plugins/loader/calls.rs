//! One safe method for each function of the tables; the numbers that come back are judged by the handles above.

use std::ffi::{CStr, c_void};
use std::net::SocketAddr;
use std::ptr::NonNull;

use quartet_plugin::abi;

use super::super::packet::Packet;
use super::super::watch::{self, Function};

/// A packet and its PCM that a codec brings along.
#[derive(Debug, Clone)]
pub(in crate::plugins) struct SampleData {
    pub(in crate::plugins) packet: Vec<u8>,
    pub(in crate::plugins) pcm: Vec<i16>,
    pub(in crate::plugins) sample_rate: u32,
    pub(in crate::plugins) channels: u32,
    pub(in crate::plugins) tolerance: u32,
}

/// The functions of a codec; the required ones are there.
#[derive(Debug, Clone, Copy)]
pub(in crate::plugins) struct CodecCalls {
    /// For [`watch`], as in everything that calls a plugin.
    plugin: u64,
    fmtp: Option<abi::FmtpFn>,
    encoder_new: abi::NewFn,
    encode: abi::EncodeFn,
    encoder_set: Option<abi::SetFn>,
    encoder_free: abi::FreeFn,
    decoder_new: abi::NewFn,
    decode: abi::DecodeFn,
    decoder_set: Option<abi::SetFn>,
    decoder_free: abi::FreeFn,
    packet_samples: Option<abi::PacketSamplesFn>,
}

/// What a new codec handle is told.
pub(in crate::plugins) struct NewCodec<'a> {
    pub(in crate::plugins) sample_rate: u32,
    pub(in crate::plugins) channels: u32,
    pub(in crate::plugins) frame_us: u32,
    pub(in crate::plugins) local_fmtp: &'a CStr,
    pub(in crate::plugins) remote_fmtp: &'a CStr,
    pub(in crate::plugins) options: &'a CStr,
}

/// The length of a buffer in the contract's width; a longer one is offered only as far as that goes.
fn room(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl CodecCalls {
    /// # Errors
    /// The name of a required function that is missing.
    pub(super) fn new(plugin: u64, raw: &abi::Codec) -> Result<Self, &'static str> {
        Ok(Self {
            plugin,
            fmtp: raw.fmtp,
            encoder_new: raw.encoder_new.ok_or("encoder_new")?,
            encode: raw.encode.ok_or("encode")?,
            encoder_set: raw.encoder_set,
            encoder_free: raw.encoder_free.ok_or("encoder_free")?,
            decoder_new: raw.decoder_new.ok_or("decoder_new")?,
            decode: raw.decode.ok_or("decode")?,
            decoder_set: raw.decoder_set,
            decoder_free: raw.decoder_free.ok_or("decoder_free")?,
            packet_samples: raw.packet_samples,
        })
    }

    /// `None` without the function; else the length of the text in `out` or a negative code.
    pub(in crate::plugins) fn fmtp(
        &self,
        role: u32,
        options: &CStr,
        remote: Option<&CStr>,
        out: &mut [u8],
    ) -> Option<i32> {
        let fmtp = self.fmtp?;
        let remote = remote.map_or(std::ptr::null(), CStr::as_ptr);
        let _in = watch::enter(self.plugin, Function::Fmtp);
        // SAFETY: texts end with 0 and live through the call; `out` is writable for the length given.
        Some(unsafe { fmtp(role, options.as_ptr(), remote, out.as_mut_ptr().cast(), room(out.len())) })
    }

    /// `None` without the function; else samples per channel or a negative code.
    pub(in crate::plugins) fn packet_samples(&self, data: &[u8], rate: u32) -> Option<i32> {
        let samples = self.packet_samples?;
        let _in = watch::enter(self.plugin, Function::PacketSamples);
        // SAFETY: `data` is readable for the length given.
        Some(unsafe { samples(data.as_ptr(), room(data.len()), rate) })
    }

    pub(in crate::plugins) fn encoder(&self, new: &NewCodec<'_>) -> Result<EncoderHandle, i32> {
        let _in = watch::enter(self.plugin, Function::EncoderNew);
        let handle = make(self.plugin, self.encoder_new, self.encoder_free, new)?;
        Ok(EncoderHandle {
            handle,
            encode: self.encode,
            set: self.encoder_set,
        })
    }

    pub(in crate::plugins) fn decoder(&self, new: &NewCodec<'_>) -> Result<DecoderHandle, i32> {
        let _in = watch::enter(self.plugin, Function::DecoderNew);
        let handle = make(self.plugin, self.decoder_new, self.decoder_free, new)?;
        Ok(DecoderHandle {
            handle,
            decode: self.decode,
            set: self.decoder_set,
        })
    }

    /// Calls `encoder_new` or `decoder_new` with arguments that must be refused; says whether `out` was left alone.
    pub(in crate::plugins) fn leaves_out_alone(&self, decoder: bool, new: &NewCodec<'_>) -> (i32, bool) {
        let marker = std::ptr::dangling_mut::<u64>().cast::<c_void>();
        let mut out = marker;
        let (make, free) = if decoder {
            (self.decoder_new, self.decoder_free)
        } else {
            (self.encoder_new, self.encoder_free)
        };
        // SAFETY: the config lives through the call and `out` is a place for one pointer.
        let code = unsafe { make(&config(new), &raw mut out) };
        if code >= 0 && out != marker {
            // SAFETY: the plugin has made a handle after all: give it back.
            unsafe { free(out) };
        }
        (code, out == marker)
    }
}

fn config(new: &NewCodec<'_>) -> abi::CodecConfig {
    abi::CodecConfig {
        size: size_of::<abi::CodecConfig>() as u32,
        sample_rate: new.sample_rate,
        channels: new.channels,
        frame_us: new.frame_us,
        local_fmtp: new.local_fmtp.as_ptr(),
        remote_fmtp: new.remote_fmtp.as_ptr(),
        options: new.options.as_ptr(),
    }
}

fn make(plugin: u64, make: abi::NewFn, free: abi::FreeFn, new: &NewCodec<'_>) -> Result<Handle, i32> {
    let mut out = std::ptr::null_mut();
    // SAFETY: the config lives through the call and `out` is a place for one pointer.
    let code = unsafe { make(&config(new), &raw mut out) };
    Handle::new(plugin, code, out, free)
}

/// A foreign handle; freed once, when dropped.
#[derive(Debug)]
struct Handle {
    plugin: u64,
    at: NonNull<c_void>,
    free: abi::FreeFn,
}

// SAFETY: the contract says `[call]`: one thread at a time, not always the same one. `&mut` in the methods keeps that.
unsafe impl Send for Handle {}

impl Handle {
    fn new(plugin: u64, code: i32, at: *mut c_void, free: abi::FreeFn) -> Result<Self, i32> {
        match NonNull::new(at) {
            Some(at) if code >= 0 => Ok(Self { plugin, at, free }),
            // It said yes and gave nothing: broken promise.
            None if code >= 0 => Err(abi::E_INTERNAL),
            _ => Err(code),
        }
    }

    fn get(&self) -> *mut c_void {
        self.at.as_ptr()
    }

    fn enter(&self, function: Function) -> watch::Entered {
        watch::enter(self.plugin, function)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _in = self.enter(Function::Free);
        // SAFETY: the handle came from this plugin's own function, and this is the only free.
        unsafe { (self.free)(self.at.as_ptr()) };
    }
}

#[derive(Debug)]
pub(in crate::plugins) struct EncoderHandle {
    handle: Handle,
    encode: abi::EncodeFn,
    set: Option<abi::SetFn>,
}

impl EncoderHandle {
    pub(in crate::plugins) fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> i32 {
        let _in = self.handle.enter(Function::Encode);
        // SAFETY: our own handle; both buffers are as long as said, for this call only.
        unsafe {
            (self.encode)(
                self.handle.get(),
                pcm.as_ptr(),
                room(pcm.len()),
                out.as_mut_ptr(),
                room(out.len()),
            )
        }
    }

    pub(in crate::plugins) fn set(&mut self, key: u32, value: i64) -> i32 {
        let _in = self.handle.enter(Function::EncoderSet);
        // SAFETY: our own handle.
        self.set
            .map_or(abi::E_UNSUPPORTED, |set| unsafe { set(self.handle.get(), key, value) })
    }
}

#[derive(Debug)]
pub(in crate::plugins) struct DecoderHandle {
    handle: Handle,
    decode: abi::DecodeFn,
    set: Option<abi::SetFn>,
}

impl DecoderHandle {
    pub(in crate::plugins) fn decode(&mut self, mode: u32, data: &[u8], pcm: &mut [i16]) -> i32 {
        let data_at = if data.is_empty() {
            std::ptr::null()
        } else {
            data.as_ptr()
        };
        let _in = self.handle.enter(Function::Decode);
        // SAFETY: our own handle; both buffers are as long as said, for this call only.
        unsafe {
            (self.decode)(
                self.handle.get(),
                mode,
                data_at,
                room(data.len()),
                pcm.as_mut_ptr(),
                room(pcm.len()),
            )
        }
    }

    pub(in crate::plugins) fn set(&mut self, key: u32, value: i64) -> i32 {
        let _in = self.handle.enter(Function::DecoderSet);
        // SAFETY: our own handle.
        self.set
            .map_or(abi::E_UNSUPPORTED, |set| unsafe { set(self.handle.get(), key, value) })
    }
}

/// The functions of a transport, all there.
#[derive(Debug, Clone, Copy)]
pub(in crate::plugins) struct TransportCalls {
    plugin: u64,
    create: abi::CreateFn,
    destroy: abi::FreeFn,
    local: abi::LocalFn,
    tell: abi::TellFn,
    receive: abi::PacketFn,
    send: abi::PacketFn,
    timeout: abi::TimeoutFn,
    poll: abi::PollFn,
}

impl TransportCalls {
    /// # Errors
    /// The name of a function that is missing.
    pub(super) fn new(plugin: u64, raw: &abi::Transport) -> Result<Self, &'static str> {
        Ok(Self {
            plugin,
            create: raw.create.ok_or("create")?,
            destroy: raw.destroy.ok_or("destroy")?,
            local: raw.local.ok_or("local")?,
            tell: raw.tell.ok_or("tell")?,
            receive: raw.receive.ok_or("receive")?,
            send: raw.send.ok_or("send")?,
            timeout: raw.timeout.ok_or("timeout")?,
            poll: raw.poll.ok_or("poll")?,
        })
    }

    pub(in crate::plugins) fn create(&self, role: u32, now_ns: u64, options: &CStr) -> Result<TransportHandle, i32> {
        let config = abi::TransportConfig {
            size: size_of::<abi::TransportConfig>() as u32,
            role,
            now_ns,
            options: options.as_ptr(),
            reserved: [0; 4],
        };
        let mut out = std::ptr::null_mut();
        let _in = watch::enter(self.plugin, Function::Create);
        // SAFETY: the config lives through the call and `out` is a place for one pointer.
        let code = unsafe { (self.create)(&config, &raw mut out) };
        Ok(TransportHandle {
            handle: Handle::new(self.plugin, code, out, self.destroy)?,
            calls: *self,
        })
    }
}

#[derive(Debug)]
pub(in crate::plugins) struct TransportHandle {
    handle: Handle,
    calls: TransportCalls,
}

/// What `poll` returned, its bytes borrowed from the plugin until the next call.
pub(in crate::plugins) struct Polled<'a> {
    pub(in crate::plugins) code: i32,
    pub(in crate::plugins) path: u32,
    pub(in crate::plugins) src: Option<SocketAddr>,
    pub(in crate::plugins) dst: Option<SocketAddr>,
    pub(in crate::plugins) bytes: &'a [u8],
    pub(in crate::plugins) event: u32,
    pub(in crate::plugins) text: &'a [u8],
    pub(in crate::plugins) deadline_ns: u64,
}

/// No packet and no event's text is longer: a larger length is garbage and is not read.
const MAX_BYTES: u32 = 65_536;

impl TransportHandle {
    pub(in crate::plugins) fn local(&mut self, now_ns: u64, out: &mut [u8]) -> i32 {
        let _in = self.handle.enter(Function::Local);
        // SAFETY: our own handle; `out` is writable for the length given.
        unsafe { (self.calls.local)(self.handle.get(), now_ns, out.as_mut_ptr().cast(), room(out.len())) }
    }

    pub(in crate::plugins) fn tell(&mut self, now_ns: u64, about: u32, lines: &CStr) -> i32 {
        let _in = self.handle.enter(Function::Tell);
        // SAFETY: our own handle; the text ends with 0 and lives through the call.
        unsafe { (self.calls.tell)(self.handle.get(), now_ns, about, lines.as_ptr()) }
    }

    pub(in crate::plugins) fn timeout(&mut self, now_ns: u64) -> i32 {
        let _in = self.handle.enter(Function::Timeout);
        // SAFETY: our own handle.
        unsafe { (self.calls.timeout)(self.handle.get(), now_ns) }
    }

    pub(in crate::plugins) fn receive(&mut self, now_ns: u64, packet: &mut Packet) -> Option<i32> {
        self.through(Function::Receive, self.calls.receive, now_ns, packet)
    }

    pub(in crate::plugins) fn send(&mut self, now_ns: u64, packet: &mut Packet) -> Option<i32> {
        self.through(Function::Send, self.calls.send, now_ns, packet)
    }

    /// Passes a packet through; `None` if it came back outside its buffer.
    fn through(&mut self, function: Function, call: abi::PacketFn, now_ns: u64, packet: &mut Packet) -> Option<i32> {
        let (path, src, dst) = (packet.path, packet.src, packet.dst);
        let (len, tailroom) = (packet.len(), packet.tailroom());
        let kind = packet.kind.map_or(0, quartet_plugin::Kind::word);
        let ecn = u32::from(packet.ecn);
        let (buffer, start) = packet.whole_mut();
        let base = buffer.as_mut_ptr();
        let mut raw = abi::Packet {
            data: base.wrapping_add(start),
            len: room(len),
            headroom: room(start),
            tailroom: room(tailroom),
            path,
            src: abi::Addr::from_socket(src),
            dst: abi::Addr::from_socket(dst),
            kind,
            ecn,
        };
        let code = {
            let _in = self.handle.enter(function);
            // SAFETY: our own handle; the packet describes one buffer of ours, its room included, for this call only.
            unsafe { call(self.handle.get(), now_ns, &raw mut raw) }
        };
        let start = (raw.data as usize).wrapping_sub(base as usize);
        if code > 0 {
            if !packet.place(start, raw.len as usize) {
                return None;
            }
            packet.path = raw.path;
            if let Some(dst) = raw.dst.to_socket() {
                packet.dst = dst;
            }
            if let Some(src) = raw.src.to_socket() {
                packet.src = src;
            }
            packet.ecn = (raw.ecn & 3) as u8;
        }
        Some(code)
    }

    pub(in crate::plugins) fn poll(&mut self) -> Polled<'_> {
        let mut out = abi::zeroed::<abi::Output>();
        out.deadline_ns = abi::NO_DEADLINE;
        let mut code = {
            let _in = self.handle.enter(Function::Poll);
            // SAFETY: our own handle and a place for one output, a frozen struct.
            unsafe { (self.calls.poll)(self.handle.get(), &raw mut out) }
        };
        let mut borrow = |at: *const u8, len: u32| -> &[u8] {
            if len == 0 {
                return &[];
            }
            if at.is_null() || len > MAX_BYTES {
                code = abi::E_INTERNAL;
                return &[];
            }
            // SAFETY: the contract promises `len` bytes until the next call on this handle, which `&mut self` prevents.
            unsafe { std::slice::from_raw_parts(at, len as usize) }
        };
        let bytes = borrow(out.packet.data, out.packet.len);
        let text = borrow(out.text.cast(), out.text_len);
        Polled {
            bytes,
            text,
            code,
            path: out.packet.path,
            src: out.packet.src.to_socket(),
            dst: out.packet.dst.to_socket(),
            event: out.event,
            deadline_ns: out.deadline_ns,
        }
    }
}

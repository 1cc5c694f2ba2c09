//! What a plugin gets from its host: log lines and random numbers.

use core::ffi::c_void;
use std::sync::OnceLock;

use crate::{Error, abi, sinks};

/// How urgent a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A thing is broken.
    Error,
    /// Worth waking for if it repeats.
    Warn,
    /// What an operator would tell a colleague.
    Info,
    /// A decision or a change of state.
    Debug,
    /// Each packet.
    Trace,
}

impl Level {
    const fn word(self) -> u32 {
        match self {
            Self::Error => abi::LOG_ERROR,
            Self::Warn => abi::LOG_WARN,
            Self::Info => abi::LOG_INFO,
            Self::Debug => abi::LOG_DEBUG,
            Self::Trace => abi::LOG_TRACE,
        }
    }
}

struct HostRef(abi::Host);

// SAFETY: the contract says that the host lives until the process ends and that `log` and `random` take any thread.
unsafe impl Send for HostRef {}
// SAFETY: as above.
unsafe impl Sync for HostRef {}

static HOST: OnceLock<HostRef> = OnceLock::new();

/// Writes a line to the host's log. Never a key, a password or a description's text. Without a host the line is lost.
pub fn log(level: Level, text: &str) {
    let Some(HostRef(host)) = HOST.get() else { return };
    if let Some(log) = host.log {
        // SAFETY: the host's own function and context; it reads `text` for the length of the call only.
        unsafe { log(host.ctx, level.word(), text.as_ptr().cast(), text.len()) };
    }
}

/// Fills `out` with random numbers fit for keys.
///
/// # Errors
/// [`Error::State`] if no host has called `init`; `out` is unchanged.
pub fn random(out: &mut [u8]) -> Result<(), Error> {
    let host = &HOST.get().ok_or(Error::State)?.0;
    let random = host.random.ok_or(Error::State)?;
    // SAFETY: the host's own function and context; it writes `out.len()` bytes and keeps nothing.
    unsafe { random(host.ctx, out.as_mut_ptr(), out.len()) };
    Ok(())
}

/// The host's generator behind the traits of `rand_core` 0.10.
#[cfg(feature = "rand_core")]
#[derive(Debug, Clone, Copy)]
pub struct HostRng(());

#[cfg(feature = "rand_core")]
impl HostRng {
    /// Takes the host's generator.
    ///
    /// # Errors
    /// [`Error::State`] if no host has called `init`, or it offers no random numbers.
    pub fn new() -> Result<Self, Error> {
        random(&mut [0]).map(|()| Self(()))
    }
}

#[cfg(feature = "rand_core")]
impl rand_core::TryRng for HostRng {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        random(out).expect("`new` has seen the host's generator, and a host stays until the process ends");
        Ok(())
    }
}

#[cfg(feature = "rand_core")]
impl rand_core::TryCryptoRng for HostRng {}

/// Keeps the host and, in a shared library of its own, sends `tracing`, `log` and panic messages to it.
///
/// Linked into the host itself, the plugin shares its `tracing` and its panic hook, and leaves them alone.
///
/// # Safety
/// `host` is null, or readable for as many bytes as its `size` says and there until the process ends.
pub unsafe fn init(host: *const abi::Host, module: &'static str) -> i32 {
    crate::codec_table::guard(|| {
        if host.is_null() {
            return Err(Error::Argument);
        }
        // SAFETY: the caller's promise; `size` is the word at offset 4.
        let own = unsafe { abi::adopt(host, host.cast::<u32>().add(1).read()) };
        let first = HOST.set(HostRef(own)).is_ok();
        if first && !linked_into_program() {
            sinks::install(module);
        }
        Ok(0)
    })
}

/// Says whether this code is part of the program itself and not of a library loaded by it.
///
/// Compares the image that holds the program's headers with the image that holds this function.
#[cfg(target_os = "linux")]
fn linked_into_program() -> bool {
    #[repr(C)]
    struct DlInfo {
        file: *const core::ffi::c_char,
        base: *mut c_void,
        symbol: *const core::ffi::c_char,
        address: *mut c_void,
    }
    unsafe extern "C" {
        fn dladdr(address: *const c_void, info: *mut DlInfo) -> i32;
        fn getauxval(kind: core::ffi::c_ulong) -> core::ffi::c_ulong;
    }
    /// Where the program's headers lie in memory, getauxval(3).
    const AT_PHDR: core::ffi::c_ulong = 3;
    let base = |address: *const c_void| {
        let mut info = DlInfo {
            file: core::ptr::null(),
            base: core::ptr::null_mut(),
            symbol: core::ptr::null(),
            address: core::ptr::null_mut(),
        };
        // SAFETY: `info` is a place for the answer; any address may be asked about.
        (unsafe { dladdr(address, &raw mut info) } != 0).then_some(info.base)
    };
    // SAFETY: no argument can be wrong; an unknown kind returns 0.
    let program = unsafe { getauxval(AT_PHDR) } as *const c_void;
    let own = linked_into_program as fn() -> bool as *const c_void;
    match (base(program), base(own)) {
        (Some(program), Some(own)) => program == own,
        _ => true,
    }
}

/// Elsewhere nobody has tried it: leave the program's hooks alone.
#[cfg(not(target_os = "linux"))]
fn linked_into_program() -> bool {
    let _ = core::ptr::null::<c_void>();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_the_program_itself() {
        assert!(linked_into_program());
    }
}

//! What we give a plugin: log lines go to `tracing`, random numbers come from the system.

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use quartet_plugin::abi;

/// A log line longer than this is cut: a plugin must not flood the log.
const MAX_LINE: usize = 1024;

/// What the callbacks need to know about their plugin.
struct Context {
    id: String,
}

/// Makes the host struct of one plugin; it lives until the process ends, as the contract says.
pub(super) fn for_plugin(id: &str) -> *const abi::Host {
    let context = Box::leak(Box::new(Context { id: id.to_owned() }));
    Box::leak(Box::new(abi::Host {
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        size: size_of::<abi::Host>() as u32,
        ctx: std::ptr::from_mut(context).cast(),
        log: Some(log),
        random: Some(random),
    }))
}

unsafe extern "C" fn log(ctx: *mut c_void, level: u32, text: *const c_char, len: usize) {
    // A panic must not leave an extern "C" function: that would abort.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if ctx.is_null() || text.is_null() {
            return;
        }
        // SAFETY: `ctx` is the leaked context that `for_plugin` gave out; only read.
        let context = unsafe { &*ctx.cast::<Context>() };
        // SAFETY: the plugin promises `len` bytes; no more than MAX_LINE of them are read.
        let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len.min(MAX_LINE)) };
        line(&context.id, level, &String::from_utf8_lossy(bytes));
    }));
}

fn line(plugin: &str, level: u32, text: &str) {
    // One call is one line: what a peer sent must not look like a line of ours.
    let text = text.trim_end().replace(char::is_control, " ");
    match level {
        abi::LOG_ERROR => tracing::error!(plugin, "{text}"),
        abi::LOG_WARN => tracing::warn!(plugin, "{text}"),
        abi::LOG_INFO => tracing::info!(plugin, "{text}"),
        abi::LOG_DEBUG => tracing::debug!(plugin, "{text}"),
        _ => tracing::trace!(plugin, "{text}"),
    }
}

unsafe extern "C" fn random(_ctx: *mut c_void, out: *mut u8, len: usize) {
    let filled = catch_unwind(AssertUnwindSafe(|| {
        if out.is_null() || len == 0 {
            return true;
        }
        // SAFETY: the plugin promises `len` writable bytes; written without being read first.
        let out = unsafe {
            std::ptr::write_bytes(out, 0, len);
            std::slice::from_raw_parts_mut(out, len)
        };
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, out).is_ok()
    }));
    if !matches!(filled, Ok(true)) {
        // The callback cannot say no, and numbers that are not random would become keys.
        tracing::error!("the system gives no random numbers");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_take_nonsense() {
        let host = for_plugin("codec-x");
        // SAFETY: the struct was made above and is never freed.
        let host = unsafe { *host };
        let (log, random) = (host.log.unwrap(), host.random.unwrap());
        let long = vec![b'x'; 65_536];
        let mut out = [0_u8; 64];
        // SAFETY: each pointer is null or as long as said.
        unsafe {
            log(host.ctx, 3, long.as_ptr().cast(), long.len());
            log(host.ctx, 99, b"\xff\xfe".as_ptr().cast(), 2);
            log(host.ctx, 1, std::ptr::null(), 5);
            random(host.ctx, out.as_mut_ptr(), out.len());
            random(host.ctx, std::ptr::null_mut(), 5);
        }
        assert!(out.iter().any(|byte| *byte != 0));
    }
}

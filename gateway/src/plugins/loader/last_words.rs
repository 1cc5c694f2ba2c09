//! What is still said when a plugin crashes the process: its name and the function it was in.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::plugins::watch;

static IS_SET: AtomicBool = AtomicBool::new(false);

/// The signals of a crash.
const SIGNALS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The name that [`watch`] keeps; it is never freed.
pub(in crate::plugins) fn name(kept: Option<*mut &'static str>) -> &'static str {
    // SAFETY: watch::number stores nothing but pointers to leaked boxes.
    kept.map_or("a plugin", |kept| unsafe { *kept })
}

/// Has a crash say which plugin it was in, once for the process.
pub(in crate::plugins) fn install() {
    if IS_SET.swap(true, Ordering::Relaxed) {
        return;
    }
    for signal in SIGNALS {
        // SAFETY: the handler only reads what is never freed, writes to standard error and lets the signal do its work.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = speak as *const () as libc::sighandler_t;
            // On its own stack where the thread has one, as Rust gives it: the plugin's may be used up. Then as by default.
            action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

extern "C" fn speak(signal: libc::c_int) {
    if let Some((plugin, function)) = watch::read(watch::current()) {
        for part in ["quartet: plugin ", plugin, " crashed in ", function, "\n"] {
            // SAFETY: a slice of ours; write is safe in a handler.
            unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
        }
    }
    // SAFETY: the handler is reset: this ends the process as it would have ended.
    unsafe { libc::raise(signal) };
}

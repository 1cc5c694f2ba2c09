//! What is still said when a plugin crashes the process: its name and the function it was in.

use std::sync::OnceLock;

use crate::plugins::watch;

/// The signals of a crash.
const SIGNALS: [libc::c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

/// What was to be done before: Rust's own words about a stack that overflows.
static BEFORE: [OnceLock<libc::sigaction>; 5] = [const { OnceLock::new() }; 5];

/// Has a crash say which plugin it was in, once for the process.
pub(in crate::plugins) fn install() {
    for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
        before.get_or_init(|| {
            // SAFETY: the handler only reads what is never freed, writes to standard error and lets the signal do its work.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = speak as *const () as libc::sighandler_t;
                // On its own stack where the thread has one, as Rust gives it: the plugin's may be used up. Then as by default.
                action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
                libc::sigemptyset(&mut action.sa_mask);
                let mut old: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &action, &mut old);
                old
            }
        });
    }
}

extern "C" fn speak(signal: libc::c_int) {
    if let Some((plugin, function)) = watch::read(watch::current()) {
        for part in ["quartet: plugin ", plugin, " crashed in ", function, "\n"] {
            // SAFETY: a slice of ours; write is safe in a handler.
            unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
        }
    }
    let at = SIGNALS.iter().position(|known| *known == signal);
    if let Some(before) = at.and_then(|at| BEFORE[at].get()) {
        // SAFETY: what stood before stands again; the instruction that failed fails once more, now for that handler, with all that
        // the system says of it.
        unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
    }
    if signal == libc::SIGABRT {
        // SAFETY: abort alone has to be told; it comes from no instruction.
        unsafe { libc::raise(signal) };
    }
}

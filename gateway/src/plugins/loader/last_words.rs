//! What is still said when a plugin crashes the process: its name and the function it was in.

use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::plugins::watch;

static IS_SET: AtomicBool = AtomicBool::new(false);

/// The signals of a crash.
const SIGNALS: [libc::c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

/// What was to be done before: Rust's own words about a stack that overflows.
static BEFORE: [AtomicPtr<libc::sigaction>; 5] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 5];

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
    for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
        // SAFETY: the handler only reads what is never freed, writes to standard error and lets the signal do its work.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = speak as *const () as libc::sighandler_t;
            // On its own stack where the thread has one, as Rust gives it: the plugin's may be used up. Then as by default.
            action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
            libc::sigemptyset(&mut action.sa_mask);
            let mut old: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, &action, &mut old) == 0 {
                before.store(Box::leak(Box::new(old)), Ordering::Release);
            }
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
    let at = SIGNALS.iter().position(|known| *known == signal);
    let before = at.map_or(std::ptr::null_mut(), |at| BEFORE[at].load(Ordering::Acquire));
    // SAFETY: what was stored is never freed. What stood before stands again; the instruction that failed fails once more, now for that
    // handler, with all that the system says of it. Only abort has to be told.
    unsafe {
        if !before.is_null() {
            libc::sigaction(signal, before, std::ptr::null_mut());
        }
        if signal == libc::SIGABRT {
            libc::raise(signal);
        }
    }
}

//! What is still said when a plugin crashes or ends the process: its name and the function it was in.

use std::io::Write as _;
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
    static AT_EXIT: std::sync::Once = std::sync::Once::new();
    AT_EXIT.call_once(|| {
        // SAFETY: the handler takes nothing and does not unwind. We never come to it ourselves: [`leave`] passes it by.
        let code = unsafe { libc::atexit(ended) };
        debug_assert_eq!(code, 0, "there is room for 32 handlers");
    });
}

/// Ends the process, and no plugin's destructor, which may hang or crash, has a say in it.
pub(in crate::plugins) fn leave(code: u8) -> ! {
    std::io::stdout().flush().ok();
    // SAFETY: nothing of this process is used after it.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Somebody has called `exit`, whose code may say that all is well: a supervisor has to see a crash.
extern "C" fn ended() {
    match watch::read(watch::current()) {
        Some((plugin, function)) => say(&["quartet: plugin ", plugin, " ended the process in ", function, "\n"]),
        None => say(&["quartet: a plugin, or a library of one, ended the process\n"]),
    }
    // SAFETY: what an abort does by default, without [`speak`] saying it again.
    unsafe { libc::signal(libc::SIGABRT, libc::SIG_DFL) };
    std::process::abort();
}

fn say(parts: &[&str]) {
    for part in parts {
        // SAFETY: a slice of ours; write is safe in a handler of signals.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
}

extern "C" fn speak(signal: libc::c_int) {
    if let Some((plugin, function)) = watch::read(watch::current()) {
        say(&["quartet: plugin ", plugin, " crashed in ", function, "\n"]);
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

//! Which plugin function each thread is in, and a watchdog over them: a plugin that never returns is named, and ends the process
//! before its silence is anybody's riddle. A thread cannot be killed safely.
//!
//! Entering writes two numbers of the thread's own slot, leaving one; no clock is read (contract §7).

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// How often the watchdog looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks after which a call is said to hang (2 s), and after which the process ends (10 s).
const HANGS: u32 = 4;
const ENDS: u32 = 20;

/// Plugins that can be named; further ones are called "a plugin".
const MAX_NAMES: usize = 64;
static NAMES: [OnceLock<&'static str>; MAX_NAMES] = [const { OnceLock::new() }; MAX_NAMES];
static SLOTS: Mutex<Vec<Weak<Slot>>> = Mutex::new(Vec::new());

thread_local! {
    static SLOT: Arc<Slot> = Slot::register();
    /// The same for the handler of signals, which may use nothing that has to be made first.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// A function of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // their names are the contract's
pub enum Function {
    Load,
    Init,
    EncoderNew,
    DecoderNew,
    Encode,
    EncoderSet,
    Decode,
    DecoderSet,
    Fmtp,
    PacketSamples,
    Free,
    Create,
    Local,
    Tell,
    Receive,
    Send,
    Timeout,
    Poll,
}

/// The words of [`Function`], in its order.
const WORDS: [&str; 18] = [
    "its constructors",
    "init",
    "encoder_new",
    "decoder_new",
    "encode",
    "encoder_set",
    "decode",
    "decoder_set",
    "fmtp",
    "packet_samples",
    "free",
    "create",
    "local",
    "tell",
    "receive",
    "send",
    "timeout",
    "poll",
];

/// The number of a plugin, for [`enter`]; one that was loaded before has the same.
pub(super) fn number(id: &str) -> u64 {
    // Plugins are loaded once and stay: so does the name, for a handler of signals to read.
    let keep = || &*Box::leak(id.to_owned().into_boxed_str());
    let at = NAMES.iter().position(|name| *name.get_or_init(keep) == id);
    at.unwrap_or(MAX_NAMES) as u64
}

/// The plugin and the function of what [`enter`] wrote; `None` in none.
pub(super) fn read(entered: u64) -> Option<(&'static str, &'static str)> {
    let entered = entered.checked_sub(1)?;
    let function = WORDS.get((entered & 0xff) as usize)?;
    let name = NAMES.get((entered >> 8) as usize).and_then(OnceLock::get);
    Some((name.copied().unwrap_or("a plugin"), function))
}

/// What this thread is in, for the handler of signals.
pub(super) fn current() -> u64 {
    CURRENT.try_with(Cell::get).unwrap_or_default()
}

/// Has a crash of the process, and an end that is not [`leave`], say which plugin it was in.
pub fn name_the_crashed() {
    super::loader::last_words::install();
}

/// Ends this process with an exit code, as all of its ends have to.
pub fn leave(code: u8) -> ! {
    super::loader::last_words::leave(code)
}

/// The place of one thread.
#[derive(Debug)]
pub struct Slot {
    thread: String,
    entered: AtomicU64,
    turn: AtomicU64,
    hangs: AtomicBool,
}

impl Slot {
    fn register() -> Arc<Self> {
        let slot = Arc::new(Self {
            thread: std::thread::current().name().unwrap_or("a thread").to_owned(),
            entered: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            hangs: AtomicBool::new(false),
        });
        let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(&slot));
        slot
    }

    /// Whether a plugin does not return to this thread.
    pub fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Relaxed)
    }
}

/// The place of this thread.
pub fn slot() -> Arc<Slot> {
    SLOT.with(Arc::clone)
}

/// Says that this thread is in a function of a plugin, until it is dropped.
pub(super) struct Entered(());

/// Enters a function of the plugin with this number.
pub(super) fn enter(plugin: u64, function: Function) -> Entered {
    let entered = (plugin << 8 | function as u64) + 1;
    CURRENT.set(entered);
    SLOT.with(|slot| {
        slot.turn.fetch_add(1, Ordering::Relaxed);
        slot.entered.store(entered, Ordering::Release);
    });
    Entered(())
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(0);
        // While a thread ends there may be no slot any more.
        let _ = SLOT.try_with(|slot| slot.entered.store(0, Ordering::Release));
    }
}

/// What the watchdog has seen of one thread.
#[derive(Debug)]
struct Seen {
    slot: Weak<Slot>,
    call: (u64, u64),
    looks: u32,
}

/// A call that does not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hang {
    /// The plugin.
    pub plugin: &'static str,
    /// Its function.
    pub function: &'static str,
    /// The thread.
    pub thread: String,
    /// It has been too long: the process has to end.
    pub is_final: bool,
}

/// Looks at all threads, every [`LOOK_EVERY`].
#[derive(Debug, Default)]
pub struct Watchdog {
    seen: Vec<Seen>,
}

impl Watchdog {
    /// Looks once; the calls that have just become known to hang, or that are to end the process.
    pub fn look(&mut self) -> Vec<Hang> {
        let slots: Vec<Arc<Slot>> = {
            let slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
            slots.iter().filter_map(Weak::upgrade).collect()
        };
        self.seen.retain(|seen| seen.slot.strong_count() > 0);
        for slot in &slots {
            if !self.seen.iter().any(|seen| seen.slot.as_ptr() == Arc::as_ptr(slot)) {
                let (slot, call, looks) = (Arc::downgrade(slot), (0, 0), 0);
                self.seen.push(Seen { slot, call, looks });
            }
        }
        self.seen.iter_mut().filter_map(look_at).collect()
    }
}

fn look_at(seen: &mut Seen) -> Option<Hang> {
    let slot = seen.slot.upgrade()?;
    let call = (slot.turn.load(Ordering::Relaxed), slot.entered.load(Ordering::Acquire));
    if call.1 == 0 || call != seen.call {
        (seen.call, seen.looks) = (call, 0);
        if slot.hangs.swap(false, Ordering::Relaxed) {
            tracing::warn!(thread = slot.thread, "the plugin has returned; its worker goes on");
        }
        return None;
    }
    seen.looks += 1;
    if seen.looks != HANGS && seen.looks < ENDS {
        return None;
    }
    slot.hangs.store(true, Ordering::Relaxed);
    let (plugin, function) = read(call.1)?;
    Some(Hang {
        plugin,
        function,
        thread: slot.thread.clone(),
        is_final: seen.looks >= ENDS,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn every_function_has_its_word() {
        assert_eq!(WORDS[Function::Poll as usize], "poll");
        assert_eq!(WORDS.len(), Function::Poll as usize + 1);
    }

    #[test]
    fn a_call_that_does_not_return_is_named_and_one_that_does_is_not() {
        let plugin = number("codec-spins");
        let ((spin, wait), (ready, entered)) = (mpsc::channel::<()>(), mpsc::channel());
        let spinning = thread::Builder::new().name("media-9".into()).spawn(move || {
            let guard = enter(plugin, Function::Encode);
            ready.send(slot()).unwrap();
            wait.recv().unwrap();
            drop(guard);
        });
        let slot = entered.recv().unwrap();
        let mut watchdog = Watchdog::default();
        let mut told = Vec::new();
        for look in 0..=ENDS {
            for hang in watchdog.look().into_iter().filter(|hang| hang.thread == "media-9") {
                assert_eq!((hang.plugin, hang.function), ("codec-spins", "encode"));
                told.push((look, hang.is_final));
            }
        }
        assert_eq!(told, [(HANGS, false), (ENDS, true)]);
        assert!(slot.hangs());
        spin.send(()).unwrap();
        spinning.unwrap().join().unwrap();
        watchdog.look();
        assert!(!slot.hangs());
        // A thread that calls all the time is always in another call.
        for _ in 0..3 * ENDS {
            let busy = enter(plugin, Function::Decode);
            let ours = thread::current().name().unwrap_or_default().to_owned();
            assert!(!watchdog.look().iter().any(|hang| hang.thread == ours));
            drop(busy);
        }
    }
}

//! The thread that runs the watchdog of the plugins ([`crate::plugins::watch`]).

use std::thread;

use tracing::error;

use crate::plugins::watch::{LOOK_EVERY, Watchdog, name_the_crashed};

/// Watches until the process ends: names a plugin that does not return, and ends the process if it does not for too long. A plugin
/// that crashes is named as well.
///
/// # Errors
/// The system's, if it has no thread left.
pub fn start() -> std::io::Result<()> {
    name_the_crashed();
    let watch = || {
        let mut watchdog = Watchdog::default();
        loop {
            thread::sleep(LOOK_EVERY);
            for hang in watchdog.look() {
                let (plugin, function, thread) = (hang.plugin, hang.function, hang.thread);
                if hang.is_final {
                    error!(
                        plugin,
                        function, thread, "the plugin has not returned for 10 s: the gateway ends"
                    );
                    std::process::abort();
                }
                error!(
                    plugin,
                    function, thread, "the plugin does not return; its worker gets no new calls"
                );
            }
        }
    };
    thread::Builder::new().name("watchdog".into()).spawn(watch).map(drop)
}

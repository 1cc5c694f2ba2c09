//! The thread for work too slow for the signalling task: the powers of the key exchange (some milliseconds each).

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::call::{Power, PowerDone};
use crate::media::LegKey;

/// How many powers may wait; a call needs at most three, so this is more than the calls of a busy second.
const WAITING: usize = 1024;

/// A handle to the thread; dropping it ends the thread after its last job.
#[derive(Debug)]
pub struct Compute {
    jobs: SyncSender<(LegKey, Power)>,
}

impl Compute {
    /// Starts the thread; each result goes to `done`, with the key that came with the job.
    ///
    /// # Errors
    /// The system's, if it has no thread left.
    pub fn start(mut done: impl FnMut(LegKey, PowerDone) + Send + 'static) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<(LegKey, Power)>(WAITING);
        thread::Builder::new().name("compute".into()).spawn(move || {
            for (key, power) in queue {
                done(key, power.run());
            }
        })?;
        Ok(Self { jobs })
    }

    /// Hands a job over; false if the queue is full, then the call cannot go on.
    #[must_use]
    pub fn run(&self, key: LegKey, power: Power) -> bool {
        self.jobs.try_send((key, power)).is_ok()
    }
}

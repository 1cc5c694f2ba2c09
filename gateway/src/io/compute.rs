//! The thread for work too slow for the signalling task: the jobs of the key exchange (some milliseconds each).

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::call::{KeyExchangeJob, KeyExchangeResult};
use crate::media::LegKey;

/// How many jobs may wait; a call needs at most three, so this is more than the calls of a busy second.
const WAITING: usize = 1024;

/// A handle to the thread; dropping it ends the thread after its last job.
#[derive(Debug)]
pub struct Compute {
    jobs: SyncSender<(LegKey, KeyExchangeJob)>,
}

impl Compute {
    /// Starts the thread; each result goes to `done`, with the key that came with the job.
    ///
    /// # Errors
    /// The system's, if it has no thread left.
    pub fn start(mut done: impl FnMut(LegKey, KeyExchangeResult) + Send + 'static) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<(LegKey, KeyExchangeJob)>(WAITING);
        thread::Builder::new().name("compute".into()).spawn(move || {
            for (key, job) in queue {
                done(key, job.run());
            }
        })?;
        Ok(Self { jobs })
    }

    /// Hands a job over; false if the queue is full, then the call cannot go on.
    #[must_use]
    pub fn run(&self, key: LegKey, job: KeyExchangeJob) -> bool {
        self.jobs.try_send((key, job)).is_ok()
    }
}

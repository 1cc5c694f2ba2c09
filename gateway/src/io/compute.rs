//! The thread for work too slow for the signalling task: the jobs of key exchanges (some milliseconds each), and the sound
//! of announcements (about a millisecond for each second of speech).

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::exchange::{Job, JobResult};
use crate::ivr::prompts::Prompts;
use crate::media::LegKey;

/// How many jobs may wait; a call needs at most four, so this is more than the calls of a busy second.
const WAITING: usize = 1024;

/// A handle to the thread; dropping it ends the thread after its last job.
#[derive(Debug)]
pub struct Compute {
    work: SyncSender<Work>,
}

/// What the thread is given.
enum Work {
    Job(LegKey, Job),
    /// Recordings for the announcements from now on.
    Prompts(Box<Prompts>),
}

impl Compute {
    /// Starts the thread; each result goes to `done`, with the key that came with the job.
    ///
    /// # Errors
    /// The system's, if it has no thread left.
    pub fn start(
        mut prompts: Prompts,
        mut done: impl FnMut(LegKey, JobResult) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (work, queue) = sync_channel(WAITING);
        thread::Builder::new().name("compute".into()).spawn(move || {
            for work in queue {
                match work {
                    Work::Job(key, job) => done(key, run(job, &mut prompts)),
                    Work::Prompts(others) => prompts = *others,
                }
            }
        })?;
        Ok(Self { work })
    }

    /// Has other recordings spoken from now on; false if the thread has too much to do.
    pub fn set_prompts(&self, prompts: Prompts) -> bool {
        self.work.try_send(Work::Prompts(Box::new(prompts))).is_ok()
    }

    /// Hands a job over; if the queue is full it comes back as its result: not done.
    ///
    /// # Errors
    /// The result of a job that is not taken.
    pub fn run(&self, key: LegKey, job: Job) -> Result<(), JobResult> {
        let refused = match &job {
            Job::KeyExchange(_) => JobResult::KeyExchange(None),
            Job::Speak { play, .. } => JobResult::Speak(*play, None),
        };
        self.work.try_send(Work::Job(key, job)).map_err(|_| refused)
    }
}

/// Does a job, here and now.
pub fn run(job: Job, prompts: &mut Prompts) -> JobResult {
    match job {
        Job::KeyExchange(job) => JobResult::KeyExchange(Some(job.run())),
        Job::Speak { play, script, language } => {
            let clips = prompts.clips(&language, &script);
            let clips = clips.inspect_err(|error| tracing::error!(%error, "the announcement cannot be spoken"));
            JobResult::Speak(play, clips.ok())
        }
    }
}

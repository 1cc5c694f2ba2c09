//! Cells of a trial, each a process of its own, so many at a time: the threads of a cell stand in its network for good.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;

use serde_json::Value;

use crate::peers;

/// Whether cells can be run here; says why not, if so.
pub fn can_run() -> bool {
    if peers::may_make_namespaces().is_none() || peers::python().is_none() {
        return false;
    }
    let has_tun = Path::new("/dev/net/tun").exists();
    if !has_tun {
        // No package brings it.
        eprintln!("SKIPPED: this kernel has no TUN devices");
    }
    has_tun
}

/// Does something for each, in this order, so many at a time.
///
/// # Errors
/// The first that occurs; what has not begun then is not done.
pub fn for_each<C: Copy + Send + Sync, E: Send>(
    cells: &[C],
    lanes: usize,
    work: impl Fn(C) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let queue = Mutex::new(cells.iter().rev().copied().collect::<Vec<_>>());
    let lane = || -> Result<(), E> {
        loop {
            let next = queue.lock().expect("nobody panics with it").pop();
            let Some(cell) = next else {
                return Ok(());
            };
            work(cell).inspect_err(|_| queue.lock().expect("nobody panics with it").clear())?;
        }
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes
            .into_iter()
            .try_for_each(|lane| lane.join().expect("a lane does not panic"))
    })
}

/// What a cell has said.
#[derive(Debug)]
pub struct Said {
    /// All but its outcome.
    pub lines: String,
    /// Its last line, if that is JSON.
    pub outcome: Option<Value>,
    /// How it has ended.
    pub status: ExitStatus,
}

/// Runs this program once more, for one cell.
///
/// # Errors
/// The system's.
pub fn run_again(words: &[&str]) -> io::Result<Said> {
    let output = Command::new(std::env::current_exe()?)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?
        .wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = text.trim_end();
    let (lines, last) = text.rsplit_once('\n').unwrap_or(("", text));
    let outcome = serde_json::from_str(last).ok();
    let lines = if outcome.is_some() { lines } else { text };
    Ok(Said {
        lines: lines.to_owned(),
        outcome,
        status: output.status,
    })
}

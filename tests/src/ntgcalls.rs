//! An unmodified native client of Telegram-style calls as an E2EE user, in a process and a namespace of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::namespace::Host;
use crate::peers;
use crate::recording::Recording;

/// A running client; it is ended when dropped.
#[derive(Debug)]
pub struct Ntgcalls {
    child: Child,
    lines: Receiver<Value>,
    /// Every event so far.
    pub events: Vec<Value>,
    record: PathBuf,
}

impl Ntgcalls {
    /// Starts it inside a namespace; none, with a visible line, where it is not installed.
    pub fn start(namespace: &Host, hub: &str, token: &str, more: &[&str]) -> Option<Self> {
        let started = Self::try_start(namespace, hub, token, more)?;
        Some(started.unwrap_or_else(|error| panic!("{error}")))
    }

    /// The same where the hub may be too far away.
    ///
    /// # Errors
    /// If the hub does not know it in time; the text has all that it said.
    pub fn try_start(namespace: &Host, hub: &str, token: &str, more: &[&str]) -> Option<Result<Self, std::io::Error>> {
        let token_argument = format!("--token={token}");
        let arguments = ["--hub", hub, &token_argument, "--max-time", "180"];
        let arguments: Vec<&str> = arguments.iter().chain(more).copied().collect();
        Self::run(namespace, "hub_peer.py", &arguments, token)
    }

    /// Runs another driver of the client, from `tests/peers`, which says `registered` as this one does; `name` tells its recording from
    /// those of others. None, with a visible line, where it is not installed.
    ///
    /// # Errors
    /// If it does not get so far in time; the text has all that it said.
    pub fn run(namespace: &Host, script: &str, arguments: &[&str], name: &str) -> Option<Result<Self, std::io::Error>> {
        let python = peers::python()?;
        let record = std::env::temp_dir().join(format!("q-ntgcalls-{}-{:x}.wav", std::process::id(), hash(name)));
        let mut command: Command = namespace.command(python);
        command
            .arg(peers::root().join("tests/peers").join(script))
            .arg("--record")
            .arg(&record)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the namespace runs a program");
        let (sender, lines) = channel();
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let also = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                if also.send(Value::String(line)).is_err() {
                    return;
                }
            }
        });
        let mut client = Self {
            child,
            lines,
            events: Vec::new(),
            record,
        };
        let registered = client.try_wait("registered", Duration::from_secs(20), |event| {
            event["event"] == "registered"
        });
        Some(registered.map(|_| client))
    }

    /// Waits for an event of that name, old or new.
    pub fn wait_for(&mut self, name: &str, limit: Duration) -> Value {
        self.wait(name, limit, |event| event["event"] == name)
    }

    /// Waits for an event, old or new.
    pub fn wait(&mut self, what: &str, limit: Duration, matches: impl Fn(&Value) -> bool) -> Value {
        let found = self.try_wait(what, limit, matches);
        found.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same where it need not come.
    ///
    /// # Errors
    /// If it does not come in time; the text has all that came.
    pub fn try_wait(
        &mut self,
        what: &str,
        limit: Duration,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value, std::io::Error> {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = self.events.iter().find(|event| matches(event)) {
                return Ok(found.clone());
            }
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => self.events.push(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let said = format!("ntgcalls: no {what} within {limit:?}; it said {:#?}", self.events);
                    return Err(std::io::Error::other(said));
                }
            }
        }
    }

    /// Forgets the events so far.
    pub fn forget(&mut self) {
        self.read();
        self.events.clear();
    }

    /// Whether it still runs: an error inside ntgcalls may end the process.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Reads what has come.
    pub fn read(&mut self) {
        self.events.extend(self.lines.try_iter());
    }

    /// Asks it to hang up and end, and waits until it has; then its recording is whole.
    pub fn end(&mut self) {
        self.signal("-TERM");
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it stand still (SIGSTOP).
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    fn signal(&self, signal: &str) {
        // `ip netns exec` becomes the program itself, so this is Python's own process.
        let pid = self.child.id().to_string();
        Command::new("kill").args([signal, &pid]).status().expect("kill");
    }

    /// Kills it without a word (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// The file with what it has heard, which is gone with this.
    pub fn recording(&self) -> &Path {
        &self.record
    }

    /// What it has heard; whole once it has ended.
    pub fn heard(&self) -> Recording {
        Recording::read(&self.record)
    }
}

impl Drop for Ntgcalls {
    fn drop(&mut self) {
        self.kill();
        std::fs::remove_file(&self.record).ok();
    }
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

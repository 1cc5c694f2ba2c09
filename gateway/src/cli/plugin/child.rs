//! Loading a stranger's file in a child process, which is this program again with a hidden verb: its code may end the process at
//! once, hang, or print.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::describe;
use crate::config::{Plugins, Settings};
use crate::io::startup::prompts;
use crate::io::unserved::unserved;
use crate::plugins::Registry;
use crate::plugins::conformance;
use crate::plugins::watch::name_the_crashed;

/// More than any report has, and all that is looked at of what a plugin prints.
const MAX_REPORT: u64 = 1 << 20;

/// How a child ended: with a report, or not.
pub(super) struct Ended {
    pub(super) report: Option<Value>,
    /// What came out of its standard output: that of the plugin, for ours goes elsewhere.
    pub(super) printed: String,
    status: ExitStatus,
    late: bool,
}

impl Ended {
    /// Says how the child ended without a report.
    pub(super) fn death(&self, what: &str) -> String {
        use std::os::unix::process::ExitStatusExt as _;
        if self.late {
            return format!("{what} did not end within {} s", conformance::ALARM.as_secs());
        }
        match (self.status.signal(), self.status.code()) {
            (Some(11), _) => format!("{what} ended the process by signal 11, an access outside its memory"),
            (Some(6), _) => format!("{what} ended the process by signal 6, an abort"),
            (Some(signal), _) => format!("{what} ended the process by signal {signal}"),
            (None, code) => format!("{what} ended the process with code {}", code.unwrap_or_default()),
        }
    }
}

/// Starts this program as a child for one file; ends it when the alarm rings.
pub(super) fn start_child(file: &Path, check: Option<u32>, seed: u64) -> anyhow::Result<Ended> {
    let mut arguments: Vec<OsString> = vec!["child".into(), file.into(), "--seed".into(), seed.to_string().into()];
    if let Some(check) = check {
        arguments.extend(["--check".into(), check.to_string().into()]);
    }
    start_plugin_verb(&arguments)
}

/// Starts `quartet plugin` with these arguments; ends it when the alarm rings.
fn start_plugin_verb(arguments: &[OsString]) -> anyhow::Result<Ended> {
    let program = std::env::current_exe().context("this program does not know where it lies")?;
    // The report comes by its standard input, so that a plugin can print what it likes.
    let (reports, report) = std::io::pipe().context("no pipe for the report")?;
    let mut child = Command::new(program)
        .arg("plugin")
        .args(arguments)
        .stdin(Stdio::from(report))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("this program cannot be started again")?;
    let printed = child.stdout.take().context("the child has no output")?;
    let read = |from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.take(MAX_REPORT).read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let (reports, printed) = (read(Box::new(reports)), read(Box::new(printed)));
    let begin = Instant::now();
    let mut late = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > conformance::ALARM {
            late = true;
            child.kill()?;
            break child.wait()?;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |bytes: JoinHandle<std::io::Result<Vec<u8>>>| {
        let bytes = bytes.join().ok().and_then(Result::ok).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (report, printed) = (text(reports), text(printed));
    let report = serde_json::from_str(&report).ok();
    Ok(Ended {
        report: if late || !status.success() { None } else { report },
        printed,
        status,
        late,
    })
}

/// What the plugins make of the settings.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::cli) struct Survey {
    /// Required ones that are not there, and why.
    pub(in crate::cli) missing: Vec<String>,
    /// Files that are not used, and what the settings name and nothing provides.
    pub(in crate::cli) lacking: Vec<String>,
}

/// Has a child load what `run` would load: a plugin that crashes takes the child with it.
///
/// # Errors
/// How it ended without an answer.
pub(in crate::cli) fn survey(folder: &Path) -> anyhow::Result<Survey> {
    let ended = start_plugin_verb(&["survey".into(), "--conf".into(), folder.into()])?;
    let report = ended.report.clone();
    let survey = report.and_then(|report| serde_json::from_value(report).ok());
    survey.with_context(|| ended.death("loading the plugins"))
}

/// The child's side of [`survey`].
pub(super) fn report_survey(settings: &Settings) -> anyhow::Result<u8> {
    name_the_crashed();
    let any = Plugins {
        required: Vec::new(),
        ..settings.plugins.clone()
    };
    let registry = Arc::new(Registry::load(&any)?);
    let mut survey = Survey::default();
    for id in &settings.plugins.required {
        survey
            .missing
            .extend(registry.lacks(id, &settings.plugins).map(|error| error.to_string()));
    }
    survey.lacking = registry
        .refused()
        .iter()
        .map(|refusal| refusal.sentence.clone())
        .collect();
    match prompts(&settings.ivr.prompts, &registry) {
        Ok(prompts) => survey.lacking.extend(unserved(settings, &registry, &prompts)),
        Err(error) => survey.missing.push(format!("{error:#}")),
    }
    send_report(&survey)
}

/// Hands the report to the parent.
fn send_report(report: &impl Serialize) -> anyhow::Result<u8> {
    let pipe = std::io::stdin().as_fd().try_clone_to_owned()?;
    File::from(pipe).write_all(&serde_json::to_vec(report)?)?;
    Ok(0)
}

/// The child's side: loads the file and reports one value of JSON.
pub(super) fn child(file: &Path, check: Option<u32>, seed: u64) -> anyhow::Result<u8> {
    name_the_crashed();
    let said = Said::listen();
    let registry = match Registry::load_file(file, &Plugins::default()) {
        Ok(registry) => registry,
        Err(refusal) => return send_report(&json!({ "refused": said.added_to(refusal.sentence) })),
    };
    let report = match check {
        Some(number) => {
            let findings: Vec<Value> = conformance::run(&registry, number, seed)
                .into_iter()
                .map(|finding| {
                    let ok = finding.verdict.is_ok();
                    let seen = finding.verdict.unwrap_or_else(|wrong| said.added_to(wrong));
                    json!({ "table": finding.table, "ok": ok, "seen": seen })
                })
                .collect();
            json!({ "findings": findings })
        }
        None => match registry.loaded().first() {
            Some(loaded) => describe::description(loaded, &registry),
            None => json!({}),
        },
    };
    send_report(&report)
}

/// What was said at ERROR: a panic's text, which the plugin logs, and which of its results was wrong.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    /// Listens from now on.
    fn listen() -> Self {
        let said = Self::default();
        // A child has no log of its own; only another of these could be there already.
        let _ = tracing_subscriber::registry().with(said.clone()).try_init();
        said
    }

    /// Adds to a sentence what was said since the last time.
    fn added_to(&self, sentence: String) -> String {
        let said = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut all: Vec<String> = Vec::new();
        for line in said {
            if all.len() < 3 && !all.contains(&line) {
                all.push(line);
            }
        }
        if all.is_empty() {
            sentence
        } else {
            format!("{sentence} ({})", all.join("; "))
        }
    }
}

impl<S: Subscriber> Layer<S> for Said {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::ERROR {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        let line = match (words.call, words.result) {
            (Some(call), Some(result)) => match words.room {
                Some(room) => format!("{call} returned {result}, room {room}"),
                None => format!("{call} returned {result}"),
            },
            _ => words.message,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// The fields of a line.
#[derive(Default)]
struct Words {
    message: String,
    call: Option<String>,
    result: Option<i64>,
    room: Option<u64>,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "call" {
            self.call = Some(value.to_owned());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "result" {
            self.result = Some(value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "room" {
            self.room = Some(value);
        }
    }
}

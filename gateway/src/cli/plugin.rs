//! `quartet plugin list | inspect FILE | test FILE`.
//!
//! `inspect` and `test` load a stranger's file, whose code may end the process at once: they do it in a child, which is
//! this program again with a hidden verb.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{Plugins, Settings};
use crate::io::startup::prompts;
use crate::io::unserved::unserved;
use crate::plugins::conformance::{self, Check};
use crate::plugins::watch::name_the_crashed;
use crate::plugins::{Kind, Registry, read_facts};

mod describe;

/// The arguments of `quartet plugin`.
#[derive(Debug, Args)]
pub struct PluginArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show which plugins are in use, and why others are not.
    List,
    /// Show what a plugin's file is and whether it passes the self-check.
    Inspect {
        /// The plugin's file.
        file: PathBuf,
    },
    /// Put a plugin to the proof, a line a check.
    Test {
        /// The plugin's file.
        file: PathBuf,
        /// Repeats the random checks of an earlier run.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Runs only the check of this number.
        #[arg(long)]
        check: Option<u32>,
    },
    /// What `quartet check` runs in a child: loads what `quartet run` would load.
    #[command(hide = true)]
    Survey,
    /// What the first two run in a child.
    #[command(hide = true)]
    Child {
        file: PathBuf,
        /// Without it: inspect.
        #[arg(long)]
        check: Option<u32>,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

impl PluginArgs {
    /// Whether the verb needs to know what the conf files say.
    pub fn needs_settings(&self) -> bool {
        matches!(self.verb, Verb::List | Verb::Survey)
    }
}

/// Runs the verb; returns the exit code: 0 fine, 1 a plugin is refused or fails a check.
///
/// # Errors
/// If this program cannot be started again as a child.
pub fn run(args: PluginArgs, json: bool, settings: Option<&Settings>) -> anyhow::Result<u8> {
    let none = Plugins::default();
    match args.verb {
        Verb::List => list(settings.map_or(&none, |settings| &settings.plugins), json),
        Verb::Survey => settings.map_or(Ok(1), report_survey),
        Verb::Inspect { file } => inspect(&file, json),
        Verb::Test { file, seed, check } => test(&file, json, seed, check),
        Verb::Child { file, check, seed } => child(&file, check, seed),
    }
}

/// Writes to the standard output; a reader that has gone away is no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn print_json(value: &Value) {
    print(&format!("{value:#}\n"));
}

fn list(search: &Plugins, json: bool) -> anyhow::Result<u8> {
    let settings = Plugins {
        required: Vec::new(),
        ..search.clone()
    };
    let registry = Registry::load(&settings)?;
    let missing: Vec<&String> = search
        .required
        .iter()
        .filter(|id| registry.loaded().iter().all(|loaded| loaded.id != **id))
        .collect();
    if json {
        let loaded: Vec<Value> = registry
            .loaded()
            .iter()
            .map(|plugin| {
                json!({ "id": plugin.id, "version": plugin.version, "kind": plugin.kind.word(), "licence": plugin.licence,
                        "summary": plugin.summary, "file": plugin.file })
            })
            .collect();
        let refused: Vec<Value> = registry
            .refused()
            .iter()
            .map(|refusal| json!({ "file": refusal.file, "sentence": refusal.sentence }))
            .collect();
        print_json(&json!({ "loaded": loaded, "refused": refused, "missing": missing }));
    } else {
        let mut text = String::new();
        let width = registry
            .loaded()
            .iter()
            .map(|plugin| plugin.id.len())
            .max()
            .unwrap_or(0);
        for plugin in registry.loaded() {
            let _ = writeln!(
                text,
                "{:width$}  {:9}  {:8}  {}",
                plugin.id,
                plugin.kind.word(),
                plugin.version,
                plugin.file.display()
            );
        }
        if registry.loaded().is_empty() {
            let folders: Vec<String> = crate::plugins::search_folders(search)
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            let _ = writeln!(text, "no plugin in {}", folders.join(", "));
        }
        for refusal in registry.refused() {
            let _ = writeln!(text, "{}", refusal.sentence);
        }
        for id in &missing {
            let _ = writeln!(text, "required plugin {id} is missing");
        }
        print(&text);
    }
    Ok(u8::from(!missing.is_empty()))
}

fn inspect(file: &Path, json: bool) -> anyhow::Result<u8> {
    // What the file says by itself needs no child.
    if let Err(reason) = read_facts(file) {
        return Ok(refused(
            &format!("plugin {} is not used: {reason}.", file.display()),
            json,
        ));
    }
    let ended = start_child(file, None, 1)?;
    let Some(report) = ended.report else {
        return Ok(refused(
            &format!("plugin {} is not used: {}.", file.display(), ended.death("loading it")),
            json,
        ));
    };
    if let Some(sentence) = report["refused"].as_str() {
        return Ok(refused(sentence, json));
    }
    if json {
        print_json(&report);
    } else {
        print(report["text"].as_str().unwrap_or_default());
    }
    Ok(0)
}

fn refused(sentence: &str, json: bool) -> u8 {
    if json {
        print_json(&json!({ "refused": sentence }));
    } else {
        print(&format!("{sentence}\n"));
    }
    1
}

fn test(file: &Path, json: bool, seed: u64, only: Option<u32>) -> anyhow::Result<u8> {
    let facts = match read_facts(file) {
        Ok(facts) => facts,
        Err(reason) => {
            return Ok(refused(
                &format!("plugin {} is not used: {reason}.", file.display()),
                json,
            ));
        }
    };
    let kind = match facts.kind {
        quartet_plugin::abi::KIND_CODEC => Kind::Codec,
        quartet_plugin::abi::KIND_PATH => Kind::Path,
        _ => Kind::Session,
    };
    let (mut lines, mut failed) = (Vec::new(), 0);
    let checks = conformance::checks(kind);
    if let Some(only) = only.filter(|only| checks.iter().all(|check| check.number != *only)) {
        let there: Vec<_> = checks.iter().map(|check| check.number.to_string()).collect();
        let there = there.join(", ");
        return Ok(refused(
            &format!("there is no check {only} for this kind of plugin; there are {there}"),
            json,
        ));
    }
    for check in checks
        .iter()
        .filter(|check| only.is_none_or(|only| only == check.number))
    {
        for (table, verdict) in run_check(file, *check, seed)? {
            let (word, seen) = match &verdict {
                Ok(seen) => ("ok  ", seen),
                Err(seen) => ("FAIL", seen),
            };
            failed += u32::from(verdict.is_err());
            if json {
                lines.push(json!({ "check": check.number, "name": check.name, "table": table,
                                   "ok": verdict.is_ok(), "seen": seen }));
            } else {
                print(&format!(
                    "{word} {:2} {:35} {table}: {seen}\n",
                    check.number, check.name
                ));
            }
        }
    }
    if json {
        print_json(&json!({ "file": file, "seed": seed, "failed": failed, "checks": lines }));
    } else {
        print(&match failed {
            0 => "all checks passed\n".to_owned(),
            _ => format!("{failed} failed; --seed {seed} repeats them\n"),
        });
    }
    Ok(u8::from(failed > 0))
}

type Verdicts = Vec<(String, Result<String, String>)>;

fn run_check(file: &Path, check: Check, seed: u64) -> anyhow::Result<Verdicts> {
    let ended = start_child(file, Some(check.number), seed)?;
    let Some(report) = ended.report else {
        return Ok(vec![(
            "the process".to_owned(),
            Err(format!("{}; seed {seed}", ended.death("the check"))),
        )]);
    };
    if let Some(sentence) = report["refused"].as_str() {
        return Ok(vec![("loading".to_owned(), Err(sentence.to_owned()))]);
    }
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    Ok(findings
        .iter()
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            let verdict = if finding["ok"] == json!(true) {
                Ok(text("seen"))
            } else {
                Err(text("seen"))
            };
            (text("table"), verdict)
        })
        .collect())
}

/// How a child ended: with a report, or not.
struct Ended {
    report: Option<Value>,
    status: ExitStatus,
    late: bool,
}

impl Ended {
    /// Says how the child ended without a report.
    fn death(&self, what: &str) -> String {
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
fn start_child(file: &Path, check: Option<u32>, seed: u64) -> anyhow::Result<Ended> {
    let mut arguments: Vec<OsString> = vec!["child".into(), file.into(), "--seed".into(), seed.to_string().into()];
    if let Some(check) = check {
        arguments.extend(["--check".into(), check.to_string().into()]);
    }
    start_plugin_verb(&arguments)
}

/// Starts `quartet plugin` with these arguments; ends it when the alarm rings.
fn start_plugin_verb(arguments: &[OsString]) -> anyhow::Result<Ended> {
    let program = std::env::current_exe().context("this program does not know where it lies")?;
    let mut child = Command::new(program)
        .arg("plugin")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("this program cannot be started again")?;
    let mut pipe = child.stdout.take().context("the child has no output")?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map(|_| bytes)
    });
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
    let bytes = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    // A plugin may have printed something: the report is the last line.
    let text = String::from_utf8_lossy(&bytes);
    let report = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    Ok(Ended {
        report: if late || !status.success() { None } else { report },
        status,
        late,
    })
}

/// What the plugins make of the settings.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Survey {
    /// Required ones that are not there, and why.
    pub(super) missing: Vec<String>,
    /// Files that are not used, and what the settings name and nothing provides.
    pub(super) lacking: Vec<String>,
}

/// Has a child load what `run` would load: a plugin that crashes takes the child with it.
///
/// # Errors
/// How it ended without an answer.
pub(super) fn survey(folder: &Path) -> anyhow::Result<Survey> {
    let ended = start_plugin_verb(&["survey".into(), "--conf".into(), folder.into()])?;
    let report = ended.report.clone();
    let survey = report.and_then(|report| serde_json::from_value(report).ok());
    survey.with_context(|| ended.death("loading the plugins"))
}

/// The child's side of [`survey`].
fn report_survey(settings: &Settings) -> anyhow::Result<u8> {
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
    print(&format!("\n{}\n", serde_json::to_string(&survey)?));
    Ok(0)
}

/// The child's side: loads the file and prints one line of JSON.
fn child(file: &Path, check: Option<u32>, seed: u64) -> anyhow::Result<u8> {
    name_the_crashed();
    let registry = match Registry::load_file(file, &Plugins::default()) {
        Ok(registry) => registry,
        Err(refusal) => {
            print(&format!("{}\n", json!({ "refused": refusal.sentence })));
            return Ok(0);
        }
    };
    let report = match check {
        Some(number) => {
            let findings: Vec<Value> = conformance::run(&registry, number, seed)
                .into_iter()
                .map(|finding| {
                    let ok = finding.verdict.is_ok();
                    let (Ok(seen) | Err(seen)) = finding.verdict;
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
    print(&format!("{report}\n"));
    Ok(0)
}

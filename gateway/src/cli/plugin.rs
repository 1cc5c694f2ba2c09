//! `quartet plugin list | inspect FILE | test FILE`.
//!
//! `inspect` and `test` load a stranger's file, whose code may end the process at once: they do it in a child, which is
//! this program again with a hidden verb.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config::{Plugins, Settings};
use crate::plugins::conformance::{self, Check};
use crate::plugins::{Kind, Registry, read_facts};

mod child;
mod describe;

pub(super) use child::survey;
use child::{child, report_survey, start_child};

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
    /// What `inspect` and `test` run in a child.
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
    // What keeps it from being loaded keeps it from every check.
    let loading = start_child(file, None, seed)?;
    let refusal = match &loading.report {
        None => Some(format!(
            "plugin {} is not used: {}.",
            file.display(),
            loading.death("loading it")
        )),
        Some(report) => report["refused"].as_str().map(str::to_owned),
    };
    if let Some(sentence) = refusal {
        return Ok(refused(&sentence, json));
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
    if check.number == conformance::PRINTS && !ended.printed.is_empty() {
        let line = ended.printed.lines().next().unwrap_or_default();
        let what = format!("it prints to the standard output, which is the gateway's: {line:?}");
        return Ok(vec![("the process".to_owned(), Err(what))]);
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

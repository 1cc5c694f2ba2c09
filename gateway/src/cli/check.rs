//! `quartet check`: says everything that is wrong with the conf files, or that they are in order.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::plugin;
use crate::config;
use crate::io::machine;
use crate::io::startup::state_faults;
use crate::permissions::{Fault, FaultReason};
use crate::plugins::plugin_faults;

/// What was found.
struct Checked {
    loaded: Result<config::Loaded, config::Problems>,
    /// The gateway would start all the same.
    warnings: Vec<config::Problem>,
}

/// Checks the conf folder and this machine, and prints every mistake to standard error, or one line that begins with `ok:`; with
/// `json` one object on standard output instead.
///
/// With `effective` the settings in force follow, each with where it came from. Returns the exit code: 0, or 1 if there
/// is a mistake. Nothing is written; ports are bound for a moment, and plugins are loaded in a child.
///
/// # Errors
/// If the output cannot be written.
pub fn run(conf: Option<&Path>, effective: bool, json: bool) -> anyhow::Result<u8> {
    let loaded = config::find_folder(conf)
        .and_then(|folder| config::load(&folder, &config::environment()))
        .and_then(check_permissions);
    let checked = match loaded {
        // Only what nobody else could have changed is loaded, even in a child.
        Ok(loaded) => check_machine(loaded),
        Err(problems) => Checked {
            loaded: Err(problems),
            warnings: Vec::new(),
        },
    };
    if json {
        writeln!(io::stdout(), "{}", as_json(&checked, effective))?;
        return Ok(u8::from(checked.loaded.is_err()));
    }
    Ok(report(
        &checked,
        effective,
        &mut io::stdout().lock(),
        &mut io::stderr().lock(),
    )?)
}

/// Adds what this machine and its plugins cannot do of what the settings say.
fn check_machine(loaded: config::Loaded) -> Checked {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for machine::Finding {
        about,
        sentence,
        is_error,
    } in machine::look(&loaded.settings)
    {
        let place = match about {
            machine::About::Option(path) => loaded.place(path),
            machine::About::File(path) => config::Place::File(path),
        };
        let list = if is_error { &mut problems } else { &mut warnings };
        list.push(config::Problem { place, sentence });
    }
    let place = config::Place::File(loaded.settings.folder.clone());
    let problem = |sentence| config::Problem {
        place: place.clone(),
        sentence,
    };
    match plugin::survey(&loaded.settings.folder) {
        Ok(survey) => {
            problems.extend(survey.missing.into_iter().map(problem));
            warnings.extend(survey.lacking.into_iter().map(problem));
        }
        Err(error) => problems.push(problem(format!("{error:#}"))),
    }
    Checked {
        loaded: if problems.is_empty() {
            Ok(loaded)
        } else {
            Err(config::Problems(problems))
        },
        warnings,
    }
}

/// Adds what somebody else could change: plugins, before any is loaded, and what the gateway keeps.
///
/// Root checks for a gateway that runs as another user, and believes whoever owns the state.
fn check_permissions(loaded: config::Loaded) -> Result<config::Loaded, config::Problems> {
    let mut faults = plugin_faults(&loaded.settings.plugins);
    let is_root = rustix::process::geteuid().is_root();
    let state = state_faults(&loaded.settings).into_iter();
    faults.extend(state.filter(|fault| !(is_root && matches!(fault.reason, FaultReason::Owner { .. }))));
    if faults.is_empty() {
        return Ok(loaded);
    }
    let problem = |fault: Fault| config::Problem {
        sentence: fault.to_string(),
        place: config::Place::File(fault.path),
    };
    Err(config::Problems(faults.into_iter().map(problem).collect()))
}

fn as_json(checked: &Checked, effective: bool) -> Value {
    let texts = |problems: &[config::Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let warnings = texts(&checked.warnings);
    match &checked.loaded {
        Err(problems) => json!({ "ok": false, "problems": texts(&problems.0), "warnings": warnings }),
        Ok(loaded) => {
            let settings = &loaded.settings;
            json!({ "ok": true, "folder": settings.folder, "phones": settings.phones.len(), "routes": settings.routes.len(),
                    "warnings": warnings, "effective": effective.then(|| loaded.effective()) })
        }
    }
}

fn report(checked: &Checked, effective: bool, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    for warning in &checked.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    match &checked.loaded {
        Err(problems) => {
            writeln!(err, "{problems}")?;
            Ok(1)
        }
        Ok(loaded) => {
            let settings = &loaded.settings;
            let counted = |count: usize, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
            writeln!(
                out,
                "ok: {}, {}, {}",
                settings.folder.display(),
                counted(settings.phones.len(), "phone"),
                counted(settings.routes.len(), "route")
            )?;
            if effective {
                write!(out, "\n{}", loaded.effective())?;
            }
            Ok(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_texts(texts: [&str; 3]) -> Checked {
        Checked {
            loaded: config::load_texts(Path::new("conf"), texts, &[]),
            warnings: Vec::new(),
        }
    }

    fn shown(quartet: &str, effective: bool) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let routes = "[[route]]\nname = \"a\"\nfrom = \"phones\"\nnumber = \"{user}\"\nto = \"hub:{user}\"\n";
        let checked = of_texts([quartet, "", routes]);
        let code = report(&checked, effective, &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn good_files_are_ok() {
        assert_eq!(
            shown("", false),
            (0, "ok: conf, 0 phones, 1 route\n".to_owned(), String::new())
        );
        let (code, out, err) = shown("[sip]\nrealm = \"a\"\n", true);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.starts_with("ok: conf, 0 phones, 1 route\n\n[sip]\n"), "{out}");
        assert!(out.contains("# quartet.conf:2\n"), "{out}");
    }

    #[test]
    fn json_says_the_same() {
        let of = |quartet: &str, effective| as_json(&of_texts([quartet, "", ""]), effective);
        assert_eq!(
            of("[spi]\n", false),
            json!({ "ok": false,
                    "problems": ["conf/quartet.conf:1: unknown section or key \"spi\"; did you mean [sip]?"], "warnings": [] })
        );
        assert_eq!(
            of("", false),
            json!({ "ok": true, "folder": "conf", "phones": 0, "routes": 0, "warnings": [], "effective": null })
        );
        assert!(of("", true)["effective"].as_str().unwrap().starts_with("[sip]\n"));
    }

    #[test]
    fn mistakes_go_to_standard_error() {
        let (code, out, err) = shown("[sip]\nrelm = \"a\"\n[spi]\n", true);
        assert_eq!((code, out.as_str()), (1, ""));
        assert_eq!(
            err,
            "conf/quartet.conf:2: unknown key \"relm\" in [sip]; did you mean \"realm\"?\n\
             conf/quartet.conf:3: unknown section or key \"spi\"; did you mean [sip]?\n"
        );
    }
}

//! `quartet check`: says everything that is wrong with the conf files, or that they are in order.

use std::io::{self, Write};
use std::path::Path;

use crate::config;

/// Checks the conf folder and prints every mistake to standard error, or one line that begins with `ok:`.
///
/// With `effective` the settings in force follow, each with where it came from. Returns the exit code: 0, or 1 if there
/// is a mistake. Nothing is bound, written or loaded.
///
/// # Errors
/// If the output cannot be written.
pub fn run(conf: Option<&Path>, effective: bool) -> anyhow::Result<u8> {
    let checked = config::find_folder(conf).and_then(|folder| config::load(&folder, &config::environment()));
    Ok(report(
        &checked,
        effective,
        &mut io::stdout().lock(),
        &mut io::stderr().lock(),
    )?)
}

fn report(
    checked: &Result<config::Loaded, config::Problems>,
    effective: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    match checked {
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

    fn shown(quartet: &str, effective: bool) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let routes = "[[route]]\nname = \"a\"\nfrom = \"phones\"\nnumber = \"{user}\"\nto = \"hub:{user}\"\n";
        let checked = config::load_texts(Path::new("conf"), [quartet, "", routes], &[]);
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

//! From a conf folder and the environment to [`Settings`], or to everything that is wrong with them.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use config::{Config, FileFormat};
use zeroize::Zeroizing;

use super::check::{Block, Checked, Values, check_blocks, check_sections};
use super::environment::{PREFIX, check_variables};
use super::kind::Raw;
use super::options::ConfFile;
use super::problem::{Place, Problem, Problems};
use super::rows::{PhonesFile, QuartetFile, RoutesFile};
use super::settings::Settings;
use super::tree::Tree;
use super::{cross, generate};
use crate::permissions::Trusted;

/// Longest conf file that is read; ten thousand phones take a fifth of it.
const MAX_FILE: u64 = 16 << 20;

/// Settings together with where each value of quartet.conf came from.
pub struct Loaded {
    /// What the files and the environment say.
    pub settings: Settings,
    /// Every value of quartet.conf, with defaults.
    pub(super) values: Values,
}

/// Finds the conf folder: the one given, else `$QUARTET_CONF`, `./conf`, `/etc/quartet`.
///
/// # Errors
/// A sentence, if there is none or it is no folder.
pub fn find_folder(given: Option<&Path>) -> Result<PathBuf, Problems> {
    let named = given.map(Path::to_owned).or_else(|| {
        std::env::var_os("QUARTET_CONF")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    });
    match named {
        Some(folder) if folder.is_dir() => Ok(folder),
        Some(folder) => Err(Problems::file(
            &folder,
            "there is no such folder; give the one with quartet.conf as --conf DIR or in $QUARTET_CONF".to_owned(),
        )),
        None => ["conf", "/etc/quartet"]
            .iter()
            .map(PathBuf::from)
            .find(|folder| folder.is_dir())
            .ok_or_else(|| {
                Problems::file(
                    Path::new("conf"),
                    "there is no such folder, and no /etc/quartet; give the one with quartet.conf as --conf DIR"
                        .to_owned(),
                )
            }),
    }
}

/// The variables of this process that may override settings, in the order of their names.
pub fn environment() -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        // A value that is not UTF-8 becomes one that no option takes, save a path that then does not exist.
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect();
    variables.sort();
    variables
}

/// Reads and checks the three conf files of a folder that nobody else can write.
///
/// `variables` are those of [`environment`], or a test's own. A missing phones.conf or routes.conf has no phones or no
/// routes. Nothing is written and no socket opened.
///
/// # Errors
/// Everything that is wrong, all at once.
pub fn load(folder: &Path, variables: &[(String, String)]) -> Result<Loaded, Problems> {
    check_writers(folder, &ConfFile::ALL)?;
    let mut problems = Vec::new();
    let texts = ConfFile::ALL.map(|file| read(folder, file, &mut problems));
    check_and_build(folder, texts, variables, problems)
}

/// Does what [`load`] does with the texts of quartet.conf, phones.conf and routes.conf, in this order, instead of files.
///
/// # Errors
/// Everything that is wrong, all at once.
pub fn load_texts(folder: &Path, texts: [&str; 3], variables: &[(String, String)]) -> Result<Loaded, Problems> {
    check_and_build(
        folder,
        texts.map(|text| Some(Zeroizing::new(text.to_owned()))),
        variables,
        Vec::new(),
    )
}

/// Finds the realm, also while phones.conf or routes.conf have mistakes.
///
/// # Errors
/// Everything that is wrong with quartet.conf and the environment.
pub fn realm(folder: &Path, variables: &[(String, String)]) -> Result<String, Problems> {
    check_writers(folder, &[ConfFile::Quartet])?;
    let mut problems = Vec::new();
    let quartet = read(folder, ConfFile::Quartet, &mut problems);
    let texts = [quartet, Some(Zeroizing::default()), Some(Zeroizing::default())];
    check_and_build(folder, texts, variables, problems).map(|loaded| loaded.settings.sip.realm)
}

/// Refuses a folder in which somebody else could write: its files name the code that is loaded, and who may register. They
/// are not even read, so that a stranger's folder cannot have the contents of a file shown that only this user may read.
fn check_writers(folder: &Path, files: &[ConfFile]) -> Result<(), Problems> {
    let mut problems: Vec<Problem> = Vec::new();
    let named = files.iter().map(|file| folder.join(file.name()));
    // Whatever else lies there may be believed tomorrow; folders in it have their own owners, as that of the state.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut there: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    there.sort();
    for path in [folder.to_owned()].into_iter().chain(named).chain(there) {
        for fault in Trusted::by_this_process().faults(&path) {
            let problem = Problem {
                sentence: fault.to_string(),
                place: Place::File(fault.path),
            };
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Problems(problems))
    }
}

/// Checks the texts of the three files; `None` is one that could not be read, which is already among the problems.
fn check_and_build(
    folder: &Path,
    texts: [Option<Zeroizing<String>>; 3],
    variables: &[(String, String)],
    mut problems: Vec<Problem>,
) -> Result<Loaded, Problems> {
    let trees = ConfFile::ALL.map(|file| {
        let text = texts[file as usize].as_deref().map_or("", String::as_str);
        Tree::parse(&folder.join(file.name()), file, text, &mut problems)
    });
    let [quartet, phones, routes] = &trees;

    let mut values = default_values();
    values.extend(check_sections(quartet, &mut problems));
    values.extend(check_variables(variables, &mut problems));
    cross::check_values(folder, &values, &mut problems);

    let phone_blocks = check_blocks(phones, "phone", &mut problems);
    let route_blocks = check_blocks(routes, "route", &mut problems);
    cross::check_unique("phone", "user", &phone_blocks, &mut problems);
    cross::check_unique("route", "name", &route_blocks, &mut problems);
    let known = known_phones(&phone_blocks);
    let complete = phones.broken.is_empty() && texts[ConfFile::Phones as usize].is_some();
    cross::check_routes(&route_blocks, complete.then_some(known.as_slice()), &mut problems);

    if !problems.is_empty() {
        problems.sort_by_key(|problem| order(&problem.place));
        problems.dedup();
        return Err(Problems(problems));
    }
    let [quartet, phones, routes] = &texts;
    let text = |text: &Option<Zeroizing<String>>| text.as_deref().cloned().unwrap_or_default();
    build(folder, [text(quartet), text(phones), text(routes)], &values).map(|settings| Loaded { settings, values })
}

/// Files in the order in which they are read, then lines, then variables.
fn order(place: &Place) -> (usize, usize, String) {
    let file = |path: &Path| {
        ConfFile::ALL
            .iter()
            .position(|file| path.ends_with(file.name()))
            .unwrap_or(0)
    };
    match place {
        Place::File(path) => (file(path), 0, String::new()),
        Place::Line(path, line) => (file(path), *line, String::new()),
        Place::Variable(name) => (ConfFile::ALL.len(), 0, name.clone()),
    }
}

/// The phones that have a user, also those with other mistakes.
fn known_phones(blocks: &[Block]) -> Vec<&str> {
    blocks
        .iter()
        .filter_map(|block| block.values.get("user")?.value.text())
        .collect()
}

/// Reads a file; `None` if it cannot be read, empty if it may be missing and is.
fn read(folder: &Path, file: ConfFile, problems: &mut Vec<Problem>) -> Option<Zeroizing<String>> {
    let path = folder.join(file.name());
    let mut problem = |place: Place, sentence: String| problems.push(Problem { place, sentence });
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(&path).and_then(|open| open.take(MAX_FILE + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound && file != ConfFile::Quartet => {
            return Some(Zeroizing::default());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            problem(
                Place::File(path),
                "is missing; an empty file means all defaults, conf/quartet.conf shows them".to_owned(),
            );
            return None;
        }
        Err(error) => {
            problem(
                Place::File(path),
                format!("cannot be read: {error}; check its owner and mode"),
            );
            return None;
        }
        Ok(_) if bytes.len() as u64 > MAX_FILE => {
            problem(
                Place::File(path),
                format!("is longer than {} MiB; is it a conf file?", MAX_FILE >> 20),
            );
            return None;
        }
        Ok(_) => {}
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Some(Zeroizing::new(text.to_owned())),
        Err(error) => {
            let line = bytes[..error.valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            problem(
                Place::Line(path, line),
                "is not UTF-8 here; save the file as UTF-8".to_owned(),
            );
            None
        }
    }
}

/// The defaults of quartet.conf by path.
fn default_values() -> Values {
    let text = generate::defaults();
    let mut none = Vec::new();
    let tree = Tree::parse(Path::new("defaults"), ConfFile::Quartet, &text, &mut none);
    let mut values = check_sections(&tree, &mut none);
    debug_assert_eq!(none, [], "the defaults of the option table pass their own check");
    values.values_mut().for_each(|checked| checked.place = None);
    values
}

/// Lets `config` merge what was checked and serde build the structs.
fn build(folder: &Path, texts: [String; 3], values: &Values) -> Result<Settings, Problems> {
    let [quartet, phones, routes] = texts;
    // What the check lets through, serde takes; if not, this sentence at least says where.
    let wrong = |file: ConfFile, error: String| Problems::file(&folder.join(file.name()), error);
    let mut builder = Config::builder()
        .add_source(config::File::from_str(&generate::defaults(), FileFormat::Toml))
        .add_source(config::File::from_str(&quartet, FileFormat::Toml))
        .add_source(variables(values));
    for (path, checked) in values
        .iter()
        .filter(|(_, checked)| matches!(checked.place, Some(Place::Variable(_))))
    {
        if let Raw::List(items) = &checked.value {
            let words: Vec<&str> = items.iter().filter_map(|(_, word)| word.text()).collect();
            builder = builder
                .set_override(path, words)
                .map_err(|error| wrong(ConfFile::Quartet, error.to_string()))?;
        }
    }
    let mut main: QuartetFile = builder
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| wrong(ConfFile::Quartet, error.to_string()))?;
    main.resolve_paths(folder);
    let phones: PhonesFile = parse(&phones).map_err(|error| wrong(ConfFile::Phones, error.to_string()))?;
    let routes: RoutesFile = parse(&routes).map_err(|error| wrong(ConfFile::Routes, error.to_string()))?;
    Ok(Settings {
        folder: folder.to_owned(),
        phones: phones.phone.into_iter().map(|row| row.complete(&main.call)).collect(),
        routes: routes
            .route
            .into_iter()
            .map(|row| row.complete(&main.call))
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(ConfFile::Routes, error))?,
        sip: main.sip,
        media: main.media,
        call: main.call,
        limits: main.limits,
        ivr: main.ivr,
        network: main.network,
        plugins: main.plugins,
        cdr: main.cdr,
        control: main.control,
        store: main.store,
        log: main.log,
    })
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, config::ConfigError> {
    Config::builder()
        .add_source(config::File::from_str(text, FileFormat::Toml))
        .build()?
        .try_deserialize()
}

/// The overrides that are no lists, as a source that speaks `QUARTET__SIP__REALM`. Lists are set one by one: `config`
/// would turn a realm that looks like a number into one if it were asked to split lists.
fn variables(values: &Values) -> config::Environment {
    let scalar = |(path, checked): (&String, &Checked)| {
        let text = match (&checked.place, &checked.value) {
            (Some(Place::Variable(_)), Raw::Text(text)) => text.clone(),
            (Some(Place::Variable(_)), Raw::Integer(Some(number))) => number.to_string(),
            _ => return None,
        };
        Some((format!("{PREFIX}{}", path.replace('.', "__").to_uppercase()), text))
    };
    config::Environment::with_prefix("QUARTET")
        .prefix_separator("__")
        .separator("__")
        .source(Some(values.iter().filter_map(scalar).collect()))
}

//! From a conf folder and the environment to [`Settings`], or to everything that is wrong with them.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};
use zeroize::Zeroizing;

use super::check::{Block, Values, check_blocks, check_named, check_sections};
use super::environment::{PREFIX, check_variables};
use super::kind::Raw;
use super::options::ConfFile;
use super::problem::{Place, Problem, Problems};
use super::rows::{IceServers, PhonesFile, QuartetFile, RoutesFile};
use super::settings::Settings;
use super::tree::Tree;
use super::{cross, generate, telegram, trunk};
use crate::permissions::{Trusted, open_regular};

/// Longest conf file that is read; ten thousand phones take a fifth of it.
const MAX_FILE: u64 = 16 << 20;

/// Settings together with where each value of quartet.conf came from.
pub struct Loaded {
    /// What the files and the environment say.
    pub settings: Arc<Settings>,
    /// Every value of quartet.conf, with defaults.
    pub(super) values: Values,
}

impl Loaded {
    /// Where an option of quartet.conf was said, as `sip.listen`; the file if it is at its default.
    pub fn place(&self, path: &str) -> Place {
        let said = self.values.get(path).and_then(|checked| checked.place.clone());
        said.unwrap_or_else(|| Place::File(self.settings.folder.join(ConfFile::Quartet.name())))
    }
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
    let (texts, problems) = read_all(folder)?;
    check_and_build(folder, texts, variables, problems, |_| Values::new())
}

/// The texts of quartet.conf, phones.conf and routes.conf; `None` is one that could not be read.
pub(super) type Texts = [Option<Zeroizing<String>>; 3];

/// Reads the three files, with what is wrong with them as files.
pub(super) fn read_all(folder: &Path) -> Result<(Texts, Vec<Problem>), Problems> {
    check_writers(folder, &ConfFile::ALL)?;
    let mut problems = Vec::new();
    let texts = ConfFile::ALL.map(|file| read(folder, file, &mut problems));
    Ok((texts, problems))
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
        |_| Values::new(),
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
    check_and_build(folder, texts, variables, problems, |_| Values::new())
        .map(|loaded| loaded.settings.sip.realm.clone())
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

/// Checks the texts of the three files; one that could not be read is already among the problems. `keep` gives values that go
/// before all these.
pub(super) fn check_and_build(
    folder: &Path,
    texts: Texts,
    variables: &[(String, String)],
    mut problems: Vec<Problem>,
    keep: impl FnOnce(&Values) -> Values,
) -> Result<Loaded, Problems> {
    let trees = ConfFile::ALL.map(|file| {
        let text = texts[file as usize].as_deref().map_or("", String::as_str);
        Tree::parse(&folder.join(file.name()), file, text, &mut problems)
    });
    let [quartet, phones, routes] = &trees;

    let mut layers = vec![
        default_values(),
        check_sections(quartet, &mut problems),
        check_variables(variables, &mut problems),
    ];
    let mut values = Values::new();
    layers.iter().for_each(|layer| values.extend(layer.clone()));
    cross::check_values(folder, &values, &mut problems);

    let server_blocks = check_blocks(quartet, "ice_server", &mut problems);
    cross::check_ice_servers(folder, &server_blocks, &mut problems);
    let trunk_blocks = check_blocks(quartet, "trunk", &mut problems);
    cross::check_unique("trunk", "name", &trunk_blocks, &mut problems);
    let accounts = check_named(quartet, telegram::ACCOUNT, &mut problems);
    let pools = check_named(quartet, telegram::POOL, &mut problems);
    telegram::check(folder, &accounts, &pools, &mut problems);
    let phone_blocks = check_blocks(phones, "phone", &mut problems);
    let route_blocks = check_blocks(routes, "route", &mut problems);
    cross::check_unique("phone", "user", &phone_blocks, &mut problems);
    cross::check_phones(&phone_blocks, &mut problems);
    cross::check_unique("route", "name", &route_blocks, &mut problems);
    let known = known_phones(&phone_blocks);
    let complete = phones.broken.is_empty() && texts[ConfFile::Phones as usize].is_some();
    trunk::check(folder, &trunk_blocks, &known, &mut problems);
    let trunks: Vec<&str> = trunk_blocks
        .iter()
        .filter_map(|block| Some(cross::text_at(block, "name")?.0))
        .collect();
    cross::check_routes(
        &route_blocks,
        (complete.then_some(known.as_slice()), &trunks),
        &mut problems,
    );
    telegram::check_routes(&route_blocks, &accounts, &pools, &mut problems);

    if !problems.is_empty() {
        problems.sort_by_key(|problem| order(&problem.place));
        problems.dedup();
        return Err(Problems(problems));
    }
    let kept = keep(&values);
    values.extend(kept.clone());
    layers.push(kept);
    let blocks = Blocks {
        servers: &server_blocks,
        trunks: &trunk_blocks,
        accounts: &accounts,
        pools: &pools,
        phones: &phone_blocks,
        routes: &route_blocks,
    };
    build(folder, layers, &blocks).map(|settings| Loaded {
        settings: Arc::new(settings),
        values,
    })
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
    let read = open_regular(&path).and_then(|open| open.take(MAX_FILE + 1).read_to_end(&mut bytes));
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

/// What was good in sections of which there are several.
struct Blocks<'a> {
    servers: &'a [Block],
    trunks: &'a [Block],
    accounts: &'a [Block],
    pools: &'a [Block],
    phones: &'a [Block],
    routes: &'a [Block],
}

/// Lets `config` merge what was checked, later layers over earlier ones, and serde build the structs.
fn build(folder: &Path, layers: Vec<Values>, blocks: &Blocks<'_>) -> Result<Settings, Problems> {
    // What the check lets through, serde takes; if not, this sentence at least says where.
    let wrong = |file: ConfFile, error: String| Problems::file(&folder.join(file.name()), error);
    let builder = layers
        .into_iter()
        .fold(Config::builder(), |builder, layer| builder.add_source(Layer(layer)));
    let mut main: QuartetFile = builder
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| wrong(ConfFile::Quartet, error.to_string()))?;
    main.resolve_paths(folder);
    let of_quartet = |error: ConfigError| wrong(ConfFile::Quartet, error.to_string());
    let mut servers = rows::<IceServers>("ice_server", blocks.servers).map_err(of_quartet)?;
    let trunks = rows::<trunk::TrunkRows>("trunk", blocks.trunks).map_err(of_quartet)?;
    let accounts = rows::<telegram::AccountRows>("accounts", blocks.accounts).map_err(of_quartet)?;
    let pools = rows::<telegram::PoolRows>("pools", blocks.pools).map_err(of_quartet)?;
    let state = main.store.path.parent().unwrap_or(folder).to_owned();
    servers.resolve_paths(folder);
    let phones: PhonesFile =
        rows("phone", blocks.phones).map_err(|error| wrong(ConfFile::Phones, error.to_string()))?;
    let routes: RoutesFile =
        rows("route", blocks.routes).map_err(|error| wrong(ConfFile::Routes, error.to_string()))?;
    Ok(Settings {
        folder: folder.to_owned(),
        phones: phones.phone.into_iter().map(|row| row.complete(&main.call)).collect(),
        routes: routes
            .route
            .into_iter()
            .map(|row| row.complete(&main.call))
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(ConfFile::Routes, error))?,
        trunks: trunks
            .trunk
            .into_iter()
            .map(|row| row.complete(&main.call, folder))
            .collect(),
        sip: main.sip,
        tls: main.tls,
        media: main.media,
        call: main.call,
        limits: main.limits,
        ivr: main.ivr,
        network: main.network,
        reflector: main.reflector,
        plugins: main.plugins,
        cdr: main.cdr,
        control: main.control,
        store: main.store,
        log: main.log,
        ice_servers: servers.ice_server,
        telegram: telegram::Telegram::complete(accounts.rows, pools.rows, folder, &state),
    })
}

/// The rows of phones.conf or routes.conf.
fn rows<T: serde::de::DeserializeOwned>(section: &str, blocks: &[Block]) -> Result<T, ConfigError> {
    let row = |block: &Block| {
        let entries = block
            .values
            .iter()
            .map(|(key, checked)| (key.clone(), value(&checked.value)));
        Value::new(None, ValueKind::Table(entries.collect()))
    };
    let rows: Vec<Value> = blocks.iter().map(row).collect();
    Config::builder()
        .set_override(section, rows)?
        .build()?
        .try_deserialize()
}

/// What one place says of quartet.conf: the option table, the file, or the environment.
#[derive(Clone, Debug)]
struct Layer(Values);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    /// As nested tables: a path is of our own making, and no expression for `config` to read.
    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut root = Map::new();
        for (path, checked) in &self.0 {
            let mut sections: Vec<&str> = path.split('.').collect();
            let key = sections.pop().unwrap_or_default();
            let mut table = &mut root;
            for section in sections {
                let below = table
                    .entry(section.to_owned())
                    .or_insert_with(|| Value::new(None, ValueKind::Table(Map::new())));
                let ValueKind::Table(entries) = &mut below.kind else {
                    unreachable!("no option has the name of a section")
                };
                table = entries;
            }
            table.insert(key.to_owned(), value(&checked.value));
        }
        Ok(root)
    }
}

/// A value that was checked, as `config` takes it.
fn value(raw: &Raw) -> Value {
    let kind = match raw {
        Raw::Text(text) | Raw::Other(text) => ValueKind::String(text.clone()),
        Raw::Integer(number) => number.map_or(ValueKind::Nil, ValueKind::I64),
        Raw::Flag(flag) => ValueKind::Boolean(*flag),
        Raw::List(items) => ValueKind::Array(items.iter().map(|(_, item)| value(item)).collect()),
        Raw::Table(entries) => {
            let entries = entries.iter().map(|(key, _, raw)| (key.clone(), value(raw)));
            ValueKind::Table(entries.collect())
        }
    };
    Value::new(None, kind)
}

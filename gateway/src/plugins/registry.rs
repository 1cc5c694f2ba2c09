//! Which plugins there are: looks for files, loads what can be used, and remembers what cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec::CodecTable;
use super::health::{Counters, Health};
use super::loader::{self, PluginOption, Shared, Tables, elf};
use super::refusal::{LoadError, Reason, Refusal};
use super::self_check::{self, CodecReport};
use super::transport::TransportTable;
use crate::config::Plugins;
use crate::permissions::{Fault, Trusted};

/// The loaded plugins. Shared by `Arc`; never changes after `load`.
#[derive(Debug, Default)]
pub struct Registry {
    codecs: Vec<CodecTable>,
    transports: Vec<TransportTable>,
    paths: Vec<TransportTable>,
    loaded: Vec<Loaded>,
    refused: Vec<Refusal>,
    health: Vec<Arc<Health>>,
}

/// What a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Encodes and decodes.
    Codec,
    /// Carries media: RTP above, datagrams below.
    Session,
    /// Carries datagrams over datagrams, under any session: a relay.
    Path,
}

impl Kind {
    /// Returns the word that an operator sees.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Codec => "codec",
            Self::Session => "transport",
            Self::Path => "path",
        }
    }
}

/// A plugin in use.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// What it is.
    pub kind: Kind,
    /// Where it came from.
    pub file: PathBuf,
    /// Its licence, as it says.
    pub licence: String,
    /// What it is for, in a line.
    pub summary: String,
    /// Its settings.
    pub options: Vec<PluginOption>,
    /// What its file says.
    pub facts: elf::FileFacts,
    /// What the self-check of its codecs saw.
    pub reports: Vec<CodecReport>,
    /// It was linked with -ffast-math, which changes how a thread reckons.
    pub fast_math: bool,
}

/// A folder or file to look at.
struct Place {
    path: PathBuf,
    /// The operator named it: whatever is wrong there is told. Elsewhere, libraries that are no plugins lie about.
    configured: bool,
}

/// Returns where plugins are looked for, in this order: configured, beside the executable, the system's.
#[must_use]
pub fn search_folders(settings: &Plugins) -> Vec<PathBuf> {
    places(settings).into_iter().map(|place| place.path).collect()
}

fn places(settings: &Plugins) -> Vec<Place> {
    let mut places: Vec<Place> = settings
        .path
        .iter()
        .map(|path| Place {
            path: path.clone(),
            configured: true,
        })
        .collect();
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    let standard = beside
        .into_iter()
        .flat_map(|folder| [folder.clone(), folder.join("plugins")]);
    for path in standard.chain([PathBuf::from("/usr/lib/quartet/plugins")]) {
        if places.iter().all(|place| place.path != path) {
            places.push(Place {
                path,
                configured: false,
            });
        }
    }
    places
}

impl Registry {
    /// Looks for plugins and loads what can be used; the rest is in [`Registry::refused`] and in the log.
    ///
    /// Call once, at start, from one thread: it runs the plugins' constructors and self-checks. Nothing is unloaded.
    ///
    /// # Errors
    /// [`LoadError::Required`] if a plugin that the settings require cannot be used.
    pub fn load(settings: &Plugins) -> Result<Self, LoadError> {
        Self::load_from(places(settings), settings)
    }

    /// Loads one file and nothing else, for `quartet plugin inspect` and `test`.
    ///
    /// # Errors
    /// The reason why it is not used.
    pub fn load_file(file: &Path, settings: &Plugins) -> Result<Self, Refusal> {
        let mut registry = Self::default();
        let loaded = elf::read_facts(file).and_then(|facts| {
            check_writers(file)?;
            registry.add(file, facts, settings)
        });
        loaded.map_err(|reason| Refusal::new(file, &reason)).map(|()| registry)
    }

    fn load_from(places: Vec<Place>, settings: &Plugins) -> Result<Self, LoadError> {
        let mut registry = Self::default();
        let mut seen = BTreeSet::new();
        for place in &places {
            for file in registry.libraries(place) {
                let real = std::fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
                if seen.insert(real) {
                    registry.try_file(&file, place.configured, settings);
                }
            }
        }
        registry.check_required(settings)?;
        Ok(registry)
    }

    /// The libraries of a place, by name, so that two starts find the same.
    fn libraries(&mut self, place: &Place) -> Vec<PathBuf> {
        if place.path.is_file() {
            return vec![place.path.clone()];
        }
        let entries = match std::fs::read_dir(&place.path) {
            Ok(entries) => entries,
            Err(error) => {
                if place.configured {
                    self.refuse(&place.path, &Reason::Unreadable(error.to_string()));
                }
                return Vec::new();
            }
        };
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "so") && path.is_file())
            .collect();
        files.sort();
        files
    }

    fn try_file(&mut self, file: &Path, configured: bool, settings: &Plugins) {
        let result = elf::read_facts(file).and_then(|facts| {
            check_writers(file)?;
            self.add(file, facts, settings)
        });
        let Err(reason) = result else { return };
        let alien = matches!(
            reason,
            Reason::Unreadable(_) | Reason::NotALibrary(_) | Reason::OtherMachine { .. } | Reason::NoSymbol
        );
        if configured || !alien {
            self.refuse(file, &reason);
        }
    }

    fn refuse(&mut self, file: &Path, reason: &Reason) {
        let refusal = Refusal::new(file, reason);
        tracing::warn!("{}", refusal.sentence);
        self.refused.push(refusal);
    }

    /// Loads, checks and takes in one plugin.
    fn add(&mut self, file: &Path, facts: elf::FileFacts, settings: &Plugins) -> Result<(), Reason> {
        if let Some(first) = self.loaded.iter().find(|loaded| loaded.id == facts.id) {
            return Err(Reason::Taken {
                what: format!("id {}", facts.id),
                other: first.file.clone(),
            });
        }
        let mut image = loader::open(file, &facts)?;
        let options = option_lines(&image.id, &image.options, settings)?;
        loader::init(&mut image)?;
        let health = Arc::new(Health::new(&image.id));
        let shared = Arc::new(Shared {
            options,
            health: Arc::clone(&health),
        });
        let mut reports = Vec::new();
        let kind = match image.tables {
            Tables::Codecs(tables) => {
                let codecs: Vec<CodecTable> = tables
                    .into_iter()
                    .map(|table| CodecTable::new(table, image.id.clone(), Arc::clone(&shared)))
                    .collect();
                for codec in &codecs {
                    self.check_free(codec)?;
                    reports.push(self_check::check(codec)?);
                }
                self.codecs.extend(codecs);
                Kind::Codec
            }
            Tables::Sessions(tables) => self.add_transports(tables, Kind::Session, &image.id, &shared)?,
            Tables::Paths(tables) => self.add_transports(tables, Kind::Path, &image.id, &shared)?,
        };
        if image.fast_math {
            tracing::warn!(
                plugin = image.id,
                "linked with -ffast-math, which changes the thread that loads it; undone"
            );
        }
        tracing::info!(plugin = image.id, version = image.version, kind = kind.word(), file = %file.display(), "plugin loaded");
        self.health.push(health);
        self.loaded.push(Loaded {
            id: image.id,
            version: image.version,
            kind,
            file: file.to_owned(),
            licence: image.licence,
            summary: image.summary,
            options: image.options,
            facts,
            reports,
            fast_math: image.fast_math,
        });
        Ok(())
    }

    /// Takes in the tables of a transport plugin. Sessions and paths share their names, for a route names both in one line:
    /// all are free, or nothing of the plugin is taken in.
    fn add_transports(
        &mut self,
        tables: Vec<loader::TransportTable>,
        kind: Kind,
        plugin: &str,
        shared: &Arc<Shared>,
    ) -> Result<Kind, Reason> {
        for table in &tables {
            if let Some(other) = self.transport(&table.name).or_else(|| self.path(&table.name)) {
                return Err(self.taken(format!("transport {}", table.name), other.plugin()));
            }
        }
        let list = match kind {
            Kind::Path => &mut self.paths,
            Kind::Codec | Kind::Session => &mut self.transports,
        };
        let table = |table| TransportTable::new(table, plugin.to_owned(), Arc::clone(shared));
        list.extend(tables.into_iter().map(table));
        Ok(kind)
    }

    /// A codec is known by its name, clock and channels in SDP: no two may share them.
    fn check_free(&self, codec: &CodecTable) -> Result<(), Reason> {
        let same = |other: &&CodecTable| {
            other.name().eq_ignore_ascii_case(codec.name())
                && (other.clock(), other.channels()) == (codec.clock(), codec.channels())
        };
        match self.codecs.iter().find(same) {
            Some(other) => Err(self.taken(format!("codec {}/{}", codec.name(), codec.clock()), other.plugin())),
            None => Ok(()),
        }
    }

    fn taken(&self, what: String, plugin: &str) -> Reason {
        let other = self.loaded.iter().find(|loaded| loaded.id == plugin);
        Reason::Taken {
            what,
            other: other.map(|loaded| loaded.file.clone()).unwrap_or_default(),
        }
    }

    fn check_required(&self, settings: &Plugins) -> Result<(), LoadError> {
        let mut required = settings.required.iter();
        required.find_map(|id| self.lacks(id, settings)).map_or(Ok(()), Err)
    }

    /// Why a plugin that is required is not there; `None` if it is.
    #[must_use]
    pub fn lacks(&self, id: &str, settings: &Plugins) -> Option<LoadError> {
        if self.loaded.iter().any(|loaded| loaded.id == id) {
            return None;
        }
        let file_name = format!("lib{}.so", id.replace('-', "_"));
        let refusal = self.refused.iter().find(|refusal| {
            refusal.file.file_name().is_some_and(|name| name == file_name.as_str())
                || elf::read_facts(&refusal.file).is_ok_and(|facts| facts.id == id)
        });
        let folders = || {
            let places = places(settings).into_iter();
            places
                .map(|place| place.path.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let why = refusal.map_or_else(
            || {
                format!(
                    "not found in {}; build it, copy it there, or name its folder in [plugins] path",
                    folders()
                )
            },
            |refusal| refusal.sentence.clone(),
        );
        Some(LoadError::Required { id: id.to_owned(), why })
    }

    /// Returns all codecs, in the order they were found.
    #[must_use]
    pub fn codecs(&self) -> &[CodecTable] {
        &self.codecs
    }

    /// Returns the codec of this SDP name, letter case ignored.
    #[must_use]
    pub fn codec(&self, name: &str) -> Option<&CodecTable> {
        self.codecs.iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Returns the codec of this SDP name and RTP clock: the two tell codecs apart, as L16/8000 and L16/16000.
    #[must_use]
    pub fn codec_at(&self, name: &str, clock: u32) -> Option<&CodecTable> {
        self.codecs
            .iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name) && codec.clock() == clock)
    }

    /// Returns all sessions, in the order they were found.
    #[must_use]
    pub fn transports(&self) -> &[TransportTable] {
        &self.transports
    }

    /// Returns the session of this name.
    #[must_use]
    pub fn transport(&self, name: &str) -> Option<&TransportTable> {
        self.transports.iter().find(|transport| transport.name() == name)
    }

    /// Returns all paths, in the order they were found.
    #[must_use]
    pub fn paths(&self) -> &[TransportTable] {
        &self.paths
    }

    /// Returns the path of this name.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<&TransportTable> {
        self.paths.iter().find(|path| path.name() == name)
    }

    /// Returns the plugins in use.
    #[must_use]
    pub fn loaded(&self) -> &[Loaded] {
        &self.loaded
    }

    /// Returns what was not loaded, and why.
    #[must_use]
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// Returns the counters of each plugin in use, in the order of [`Registry::loaded`].
    #[must_use]
    pub fn counters(&self) -> Vec<Counters> {
        self.health.iter().map(|health| health.counters()).collect()
    }
}

/// Refuses a plugin that somebody else could change: its code runs with all that this process may do.
fn check_writers(file: &Path) -> Result<(), Reason> {
    let fault = Trusted::by_this_process().faults(file).into_iter().next();
    fault.map_or(Ok(()), |fault| Err(Reason::Writable(fault)))
}

/// What makes [`Registry::load`] refuse plugins for who could change them, each once. Nothing is loaded.
#[must_use]
pub fn plugin_faults(settings: &Plugins) -> Vec<Fault> {
    let mut registry = Registry::default();
    let places = places(settings);
    let files: Vec<PathBuf> = places.iter().flat_map(|place| registry.libraries(place)).collect();
    let mut faults: Vec<Fault> = Vec::new();
    // Libraries that are no plugins lie about beside the program, and are nobody's concern.
    for file in files.iter().filter(|file| elf::read_facts(file).is_ok()) {
        for fault in Trusted::by_this_process().faults(file) {
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    }
    faults
}

/// The `name:value` lines that a plugin gets: its default values, and over them what the operator set.
fn option_lines(id: &str, rows: &[PluginOption], settings: &Plugins) -> Result<CString, Reason> {
    let none = BTreeMap::new();
    let set = settings.options.get(id).unwrap_or(&none);
    for (key, value) in set {
        let Some(row) = rows.iter().find(|row| row.name == *key) else {
            let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            let known = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            };
            return Err(Reason::UnknownOption {
                id: id.to_owned(),
                key: key.clone(),
                known,
            });
        };
        let fits = match row.kind.as_str() {
            "int" => value.parse::<i64>().is_ok(),
            "bool" => matches!(value.as_str(), "true" | "false"),
            _ => !value.contains(['\n', '\r', '\0']),
        };
        if !fits {
            let (id, key) = (id.to_owned(), key.clone());
            return Err(Reason::OptionValue {
                id,
                key,
                kind: row.kind.clone(),
                value: value.clone(),
            });
        }
    }
    let mut lines = String::new();
    for row in rows {
        let value = set.get(&row.name).unwrap_or(&row.default_value);
        if !value.is_empty() {
            lines.push_str(&format!("{}:{value}\n", row.name));
        }
    }
    CString::new(lines).map_err(|_| Reason::Table("an option has a 0 inside".to_owned()))
}

#[cfg(any(test, feature = "fuzzing"))]
impl Registry {
    /// Takes in plugins that are linked into the test, by their symbols, without self-check and options.
    ///
    /// # Panics
    /// If a plugin was not made by the export macros.
    pub fn from_static(plugins: &[(&str, &'static quartet_plugin::abi::Shared<quartet_plugin::abi::Plugin>)]) -> Self {
        let mut registry = Self::default();
        for (symbol, plugin) in plugins {
            let mut image = loader::open_static(symbol, &plugin.0).expect("the macros write complete tables");
            loader::init(&mut image).expect("it begins");
            let health = Arc::new(Health::new(&image.id));
            let shared = Arc::new(Shared {
                options: CString::default(),
                health: Arc::clone(&health),
            });
            registry.health.push(health);
            match image.tables {
                Tables::Codecs(tables) => {
                    let codec = |table| CodecTable::new(table, image.id.clone(), Arc::clone(&shared));
                    registry.codecs.extend(tables.into_iter().map(codec));
                }
                Tables::Sessions(tables) => {
                    registry
                        .add_transports(tables, Kind::Session, &image.id, &shared)
                        .expect("free names");
                }
                Tables::Paths(tables) => {
                    registry
                        .add_transports(tables, Kind::Path, &image.id, &shared)
                        .expect("free names");
                }
            }
        }
        registry
    }
}

//! Why a plugin is not used, in sentences that name the file, the cause and the remedy; and what handles may answer.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::permissions::Fault;

/// Why a file is not loaded as a plugin. The text is the cause and the remedy; [`Refusal`] adds the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Reason {
    /// The file or folder cannot be read.
    #[error("it cannot be read ({0}); correct the path or the permissions")]
    Unreadable(String),
    /// Somebody could change it who is not trusted to: the operator's permissions.
    #[error("{} {}", .0.path.display(), .0)]
    Writable(Fault),
    /// Not an ELF file, or a damaged one.
    #[error("it is no shared library ({0}); build it as one, or copy it again if it was cut short")]
    NotALibrary(String),
    /// Built for another processor or system.
    #[error("it is built for {found}, this gateway for {host}; build it for this machine")]
    OtherMachine {
        /// What the file says.
        found: String,
        /// What this gateway is.
        host: String,
    },
    /// No descriptor.
    #[error("it exports no symbol quartet_plugin_<id>; export the descriptor, see docs/plugin-guide.md")]
    NoSymbol,
    /// Several descriptors.
    #[error("it exports {}; one library is one plugin, split it", .0.join(" and "))]
    ManySymbols(Vec<String>),
    /// The symbol is not what it should be.
    #[error(
        "its symbol {0} does not begin with the magic word of a Quartet plugin; define it as struct quartet_plugin"
    )]
    Magic(String),
    /// Another major version of the contract.
    #[error(
        "it is built for plugin ABI {plugin}, this gateway serves {host}; build it with this gateway's quartet_plugin.h"
    )]
    Major {
        /// The plugin's.
        plugin: String,
        /// Ours.
        host: String,
    },
    /// The plugin wants a newer gateway.
    #[error("it needs plugin ABI {plugin}, this gateway serves {host}; update the gateway or lower needs_minor")]
    Minor {
        /// The plugin's.
        plugin: String,
        /// Ours.
        host: String,
    },
    /// A kind that this gateway does not load.
    #[error(
        "its kind is {0}, this gateway loads codecs (1), sessions (2) and paths (3); update the gateway or correct the kind"
    )]
    Kind(u16),
    /// The C library here is older than the one it was built on.
    #[error("it needs glibc {needed}, here is {here}; build it on the oldest system that it shall run on")]
    Glibc {
        /// The newest version that the file asks for.
        needed: String,
        /// The version here.
        here: String,
    },
    /// `dlopen` or `dlsym` failed.
    #[error("it does not open: {0}; link everything it uses into it, cc -Wl,-z,defs finds what is missing")]
    Open(String),
    /// The descriptor or a table breaks the contract.
    #[error("{0}; correct the plugin, see quartet_plugin.h")]
    Table(String),
    /// `init` said no.
    #[error("its init failed: {0}; the lines before this one in the log may tell why")]
    Init(PluginError),
    /// A setting in the operator's file that the plugin does not have.
    #[error("it has no option \"{key}\" ({known}); correct [plugins.options.{id}] in quartet.conf")]
    UnknownOption {
        /// The plugin.
        id: String,
        /// What the file says.
        key: String,
        /// What there is.
        known: String,
    },
    /// A setting whose value does not fit.
    #[error("its option \"{key}\" is {kind}, not \"{value}\"; correct [plugins.options.{id}] in quartet.conf")]
    OptionValue {
        /// The plugin.
        id: String,
        /// The setting.
        key: String,
        /// The type of the setting.
        kind: String,
        /// What the file says.
        value: String,
    },
    /// The codec does not do what it says.
    #[error(
        "self-check of {codec} failed: {what}; correct its options in quartet.conf, or run quartet plugin test on it"
    )]
    SelfCheck {
        /// The SDP name.
        codec: String,
        /// What was seen.
        what: String,
    },
    /// A name that an earlier plugin has taken.
    #[error("its {what} is also in {other}, which came first; remove one of the two")]
    Taken {
        /// `id codec-x` or `codec OPUS`.
        what: String,
        /// The first plugin's file.
        other: PathBuf,
    },
}

/// A file that was not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The file.
    pub file: PathBuf,
    /// A sentence for the operator: file, cause, remedy.
    pub sentence: String,
}

impl Refusal {
    pub(super) fn new(file: &Path, reason: &Reason) -> Self {
        Self {
            file: file.to_owned(),
            sentence: format!("plugin {} is not used: {reason}.", file.display()),
        }
    }
}

/// Why the gateway cannot start with these plugins.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A plugin that `required` names is missing or was refused.
    #[error("required plugin {id} is not there: {why}")]
    Required {
        /// The plugin.
        id: String,
        /// The refusal's sentence, or where it was looked for.
        why: String,
    },
}

/// What a call into a plugin may answer in place of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PluginError {
    /// We passed what the contract forbids: our bug.
    #[error("argument outside the contract")]
    Argument,
    /// The plugin does not offer this: do without.
    #[error("not supported by the plugin")]
    Unsupported,
    /// The two descriptions have nothing in common: the peer is incompatible.
    #[error("nothing in common with the far side")]
    NoMatch,
    /// The peer's bytes or words are broken.
    #[error("malformed")]
    Malformed,
    /// A buffer of ours is too small.
    #[error("buffer too small")]
    TooSmall,
    /// The wrong time for this call.
    #[error("wrong time for this call")]
    State,
    /// The plugin is out of memory or over a bound of its own.
    #[error("out of resources")]
    Resources,
    /// The plugin broke its promise; the handle takes no more calls: end the leg.
    #[error("internal error of the plugin")]
    Faulty,
    /// The plugin broke its promise too often and takes no new calls until the next start.
    #[error("the plugin failed too often and takes no new calls")]
    Barred,
}

impl PluginError {
    /// Whether the handle takes no more calls: what it is part of ends.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Faulty | Self::Barred)
    }

    /// Reads a negative result. Unknown numbers count as -8.
    pub(super) fn from_code(code: i32) -> Self {
        use quartet_plugin::Error;
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "a newer reason is unknown here: treated as -8"
        )]
        match Error::from_code(code) {
            Error::Argument => Self::Argument,
            Error::Unsupported => Self::Unsupported,
            Error::NoMatch => Self::NoMatch,
            Error::Malformed => Self::Malformed,
            Error::TooSmall => Self::TooSmall,
            Error::State => Self::State,
            Error::Resources => Self::Resources,
            _ => Self::Faulty,
        }
    }
}

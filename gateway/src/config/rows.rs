//! What serde makes of the merged files, before phones and routes take over what `[call]` says.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use quartet_proto::sdp::Srtp;
use serde::Deserialize;

use super::listen::{Tls, resolve};
use super::options::{Preset, row};
use super::secret::{Hash, PasswordHash};
use super::settings::{
    Call, Cdr, Control, IceServer, Ivr, Limits, Log, Media, Networks, Phone, Plugins, Reflector, Route, Sip, Store,
    Strategy, VerifyMode,
};
use super::units::{ExternalAddress, Period, Prompts, one_or_many, patterns};
use crate::route::Pattern;

/// quartet.conf.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuartetFile {
    pub(super) sip: Sip,
    #[serde(default)]
    pub(super) tls: Tls,
    pub(super) media: Media,
    pub(super) call: Call,
    pub(super) limits: Limits,
    pub(super) ivr: Ivr,
    pub(super) network: Networks,
    pub(super) reflector: Reflector,
    pub(super) plugins: Plugins,
    pub(super) cdr: Cdr,
    pub(super) control: Control,
    pub(super) store: Store,
    pub(super) log: Log,
}

/// The servers of quartet.conf.
#[derive(Deserialize)]
pub(super) struct IceServers {
    #[serde(default)]
    pub(super) ice_server: Vec<IceServer>,
}

impl IceServers {
    /// Makes the paths start at the conf folder.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        for server in &mut self.ice_server {
            let files = [&mut server.password_file, &mut server.secret_file, &mut server.ca_file];
            for path in files.into_iter().flatten() {
                *path = folder.join(&*path);
            }
        }
    }
}

impl QuartetFile {
    /// Makes the paths start at the conf folder.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let files = [&mut self.cdr.path, &mut self.control.path, &mut self.store.path];
        let hub = &mut self.network.hub;
        let of_hub = [
            &mut hub.token_file,
            &mut hub.ca_file,
            &mut hub.certificate,
            &mut hub.key,
        ];
        let of_hub = of_hub.into_iter().flatten();
        for listen in &mut self.sip.listen {
            resolve(listen, folder);
        }
        let paths = files.into_iter().chain(&mut self.plugins.path).chain(of_hub);
        let paths = paths.chain(self.tls.paths_mut());
        for path in paths.chain(&mut self.reflector.secret_file) {
            *path = folder.join(&*path);
        }
        if let Prompts::Folder(path) = &mut self.ivr.prompts {
            *path = folder.join(&*path);
        }
    }
}

/// phones.conf.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PhonesFile {
    #[serde(default)]
    pub(super) phone: Vec<PhoneRow>,
}

/// A `[[phone]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PhoneRow {
    user: String,
    password_hash: HashRow,
    name: Option<String>,
    codecs: Option<Vec<String>>,
    language: Option<String>,
    verify: Option<VerifyMode>,
    transport: Option<String>,
    srtp: Option<Srtp>,
    max_contacts: Option<usize>,
    #[serde(default, deserialize_with = "patterns")]
    may_assert: Vec<Pattern>,
    external_address: Option<ExternalAddress>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashRow {
    md5: Option<String>,
    sha256: Option<String>,
    sha512_256: Option<String>,
}

impl PhoneRow {
    /// Fills in what the file leaves open.
    pub(super) fn complete(self, call: &Call) -> Phone {
        Phone {
            user: self.user,
            password_hash: PasswordHash {
                md5: self.password_hash.md5.as_deref().and_then(Hash::from_hex),
                sha256: self.password_hash.sha256.as_deref().and_then(Hash::from_hex),
                sha512_256: self.password_hash.sha512_256.as_deref().and_then(Hash::from_hex),
            },
            name: self.name,
            codecs: self.codecs.unwrap_or_else(|| call.codecs.clone()),
            language: self.language.unwrap_or_else(|| preset("phone", "language")),
            verify: self.verify.unwrap_or(call.verify),
            transport: self.transport.unwrap_or_else(|| preset("phone", "transport")),
            srtp: self.srtp.unwrap_or_default(),
            max_contacts: self.max_contacts.unwrap_or_else(|| preset("phone", "max_contacts")),
            may_assert: self.may_assert,
            external_address: self.external_address,
        }
    }
}

/// routes.conf.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoutesFile {
    #[serde(default)]
    pub(super) route: Vec<RouteRow>,
}

/// A `[[route]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteRow {
    name: String,
    from: String,
    #[serde(default, deserialize_with = "patterns")]
    caller: Vec<Pattern>,
    number: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    to: Vec<String>,
    ring_timeout: Option<Period>,
    wait: Option<Period>,
    transport: Option<String>,
    #[serde(default)]
    relay_only: bool,
    strategy: Option<Strategy>,
}

impl RouteRow {
    /// Fills in what the file leaves open.
    ///
    /// # Errors
    /// A sentence, if a part was not checked before.
    pub(super) fn complete(self, call: &Call) -> Result<Route, String> {
        Ok(Route {
            from: self.from.parse().map_err(|error| format!("from {error}"))?,
            caller: self.caller,
            number: match self.number {
                None => Pattern::any(),
                Some(number) => number.parse().map_err(|error| format!("number {error}"))?,
            },
            to: self
                .to
                .iter()
                .map(|target| target.parse())
                .collect::<Result<_, _>>()
                .map_err(|error| format!("to {error}"))?,
            ring_timeout: self.ring_timeout.unwrap_or(call.ring_timeout),
            wait: self.wait.unwrap_or_default(),
            transport: self.transport,
            relay_only: self.relay_only,
            strategy: self.strategy.unwrap_or(Strategy::All),
            name: self.name,
        })
    }
}

/// The default of an option.
pub(super) fn preset<T: FromStr<Err: fmt::Debug>>(section: &str, name: &str) -> T {
    let toml = match row(section, name).map(|row| row.preset) {
        Some(Preset::Value(toml)) => toml,
        Some(Preset::Words(..) | Preset::Required(_)) | None => "",
    };
    let text = toml.trim_matches('"');
    text.parse().expect("a test reads every default of the option table")
}

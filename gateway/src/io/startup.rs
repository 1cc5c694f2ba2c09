//! What the settings make at the start: networks, recordings, shares of the open files, bounds of the hub.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use tokio_rustls::rustls::pki_types::ServerName;

use super::addresses::MachineAddresses;
use super::sip::{SipSetup, TlsPeer, TlsPeers, expand};
use super::tls::client_config;
use super::{cannot_listen, is_not_there_yet};
use crate::config::{self, Settings};
use crate::exchange::{Here, tls_places};
use crate::ivr::prompts::{OpenDecoder, Prompts};
use crate::ivr::recording;
use crate::permissions::{Fault, Trusted, resolved};
use crate::plugins::{CodecSettings, Registry};
use crate::process::{self, Demand, Shares};

pub(super) fn ports(ports: config::Ports) -> Option<RangeInclusive<u16>> {
    match ports {
        config::Ports::System => None,
        config::Ports::Range { first, last } => Some(first..=last),
    }
}

/// Makes the folder of a file, for this user alone, whatever the umask.
///
/// # Errors
/// If it cannot be made.
pub fn make_state_folder(file: &Path) -> anyhow::Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Makes the folders of what the gateway keeps, and makes sure that nobody else can write there.
///
/// # Errors
/// If a folder cannot be made, or somebody else can.
pub(super) fn prepare_state(settings: &Settings) -> anyhow::Result<()> {
    for (section, file) in [
        ("store", &settings.store.path),
        ("cdr", &settings.cdr.path),
        ("control", &settings.control.path),
    ] {
        make_state_folder(file).with_context(|| format!("of [{section}] path"))?;
    }
    let faults = state_faults(settings);
    if !faults.is_empty() {
        let sentences: Vec<_> = faults
            .iter()
            .map(|fault| format!("{} {fault}", fault.path.display()))
            .collect();
        anyhow::bail!("what the gateway keeps is not safe:\n{}", sentences.join("\n"));
    }
    Ok(())
}

/// What stands behind the name of the state file in its own and in those beside it.
const SQLITE: [&str; 5] = ["", "-wal", "-shm", "-journal", ".lock"];

/// Who else could change what the gateway keeps and believes: state file, records, logins, and the folder of the control socket.
pub fn state_faults(settings: &Settings) -> Vec<Fault> {
    let with = |path: &Path, end: &str| {
        let mut path = path.as_os_str().to_owned();
        path.push(end);
        PathBuf::from(path)
    };
    let (store, records) = (&settings.store.path, &settings.cdr.path);
    // SQLite's other files lie beside the file itself, not beside a link to it.
    let behind = resolved(store);
    let mut paths: Vec<PathBuf> = SQLITE.iter().map(|end| with(store, end)).collect();
    paths.extend(SQLITE.iter().map(|end| with(&behind, end)));
    paths.extend(["", ".torn"].iter().map(|end| with(records, end)));
    paths.extend(settings.control.path.parent().map(Path::to_owned));
    let logins = settings.telegram.accounts.iter().map(|account| &account.session_file);
    paths.extend(logins.clone().cloned());
    let trusted = Trusted::by_this_process();
    // SQLite believes what lies beside its file, whenever it looks: nobody else may put a file there.
    // Records are opened anew whenever their file is gone: it must be ours that comes.
    let torn = with(records, ".torn");
    let shared = [store, records, &torn].into_iter().chain(logins);
    let shared = shared.map(|path| trusted.shared_of(path));
    let mut faults: Vec<Fault> = Vec::new();
    for fault in shared
        .flatten()
        .chain(paths.iter().flat_map(|path| trusted.faults(path)))
    {
        // A terminal or /dev/null, as /dev/stdout for the records may be, is nobody's file.
        let is_device = std::fs::metadata(&fault.path).is_ok_and(|meta| meta.file_type().is_char_device());
        if !is_device && !faults.contains(&fault) {
            faults.push(fault);
        }
    }
    faults
}

pub(super) fn unix_seconds(wall: SystemTime) -> u64 {
    wall.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Whether media can be bound where the settings say.
///
/// # Errors
/// If not, unless the address may only not be there yet.
pub(super) fn check_media_addresses(addresses: &config::Addresses) -> anyhow::Result<()> {
    let config::Addresses::Listed(listed) = addresses else {
        return Ok(());
    };
    for address in listed {
        let any_port = SocketAddr::new(*address, 0);
        if let Err(error) = std::net::UdpSocket::bind(any_port) {
            let sentence = cannot_listen("udp", any_port, &error, "[media] addresses");
            if !is_not_there_yet(&error) {
                return Err(sentence);
            }
            tracing::warn!("{sentence}; calls do without it until it comes");
        }
    }
    Ok(())
}

/// Where SIP is heard, and how.
pub fn sip_setup(settings: &Settings, shares: &Shares) -> SipSetup {
    SipSetup {
        listen: settings.sip.listen.clone(),
        tls: settings.tls.clone(),
        origins: settings.sip.origins.clone(),
        // There is no door without a place, though nobody may come to it.
        connections: shares.sip_connections.max(1),
    }
}

/// Whom trunks have us reach under TLS. What cannot be trusted is said, and not reached.
pub(super) fn tls_peers(settings: &Settings, here: &Here) -> TlsPeers {
    let mut peers = BTreeMap::new();
    for (place, ca_file) in tls_places(settings, here) {
        let name = place.host.clone();
        match (
            ServerName::try_from(name),
            client_config(ca_file.as_deref(), "ca_file of [[trunk]]"),
        ) {
            (Ok(name), Ok(config)) => {
                let key = (place.address, place.server());
                peers.insert(key, TlsPeer { name, config });
            }
            (Err(_), _) => tracing::warn!("{} is no name that a certificate can have", place.host),
            (_, Err(error)) => tracing::warn!("{error:#}"),
        }
    }
    peers
}

/// Shares out the descriptors that this process may have.
pub(super) fn shares(settings: &Settings, machine: &MachineAddresses) -> Shares {
    let media_addresses = match &settings.media.addresses {
        config::Addresses::Auto => machine.all.len(),
        config::Addresses::Listed(listed) => listed.len(),
    };
    let is_connected = settings.sip.listen.iter().any(|listen| listen.protocol.is_reliable());
    let demand = Demand {
        calls: settings.limits.calls,
        media_addresses,
        sip: expand(&settings.sip.listen, &machine.all).len(),
        sip_connections: if is_connected {
            settings.limits.sip_connections
        } else {
            0
        },
        hub_sessions: settings.limits.hub_sessions,
    };
    Shares::new(process::descriptor_limit(), &demand)
}

/// The recordings that the settings name, decoded by the Opus plugin as any packet is.
pub fn prompts(choice: &config::Prompts, registry: &Arc<Registry>) -> anyhow::Result<Prompts> {
    match choice {
        config::Prompts::Builtin => Ok(Prompts::builtin(opus_decoder(Arc::clone(registry)))),
        config::Prompts::Folder(folder) => {
            Prompts::load(folder, opus_decoder(Arc::clone(registry))).map_err(|errors| {
                let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("[ivr] prompts cannot be used:\n{}", all.join("\n"))
            })
        }
    }
}

/// Opens the Opus plugin's decoder for recordings.
pub fn opus_decoder(registry: Arc<Registry>) -> Box<OpenDecoder> {
    Box::new(move || {
        let codec = registry
            .codec("opus")
            .ok_or("the plugin codec-opus is not loaded, and recordings are Opus")?;
        let settings = CodecSettings {
            sample_rate: recording::OPUS_RATE,
            channels: 1,
            frame_us: 20_000,
            local_fmtp: "",
            remote_fmtp: "",
        };
        let mut decoder = codec.decoder(&settings)?;
        Ok(Box::new(move |packet: &[u8], pcm: &mut [i16]| {
            decoder.decode(packet, pcm).map_err(Into::into)
        }))
    })
}

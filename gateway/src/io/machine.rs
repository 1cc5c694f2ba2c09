//! What this machine makes of the settings before anything runs, for `quartet check`: addresses, ports, who can read hashes.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::addresses::MachineAddresses;
use super::hub::network;
use quartet_proto::net::Protocol;

use super::sip::{SipSetup, check_certificates, expand};
use super::tls::Loaded;
use super::{cannot_listen, is_not_there_yet};
use crate::config::{Addresses, Hub, Settings};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub about: About,
    /// What is so, and what to do.
    pub sentence: String,
    /// The gateway would not start.
    pub is_error: bool,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// An option of quartet.conf, as `sip.listen`.
    Option(&'static str),
    /// A file.
    File(PathBuf),
}

/// Looks at the machine. Ports are bound for a moment, unless a gateway runs with these files: then they are its own.
pub fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |option, scheme: &str, address: SocketAddr, name: &str, error: &std::io::Error| {
        let comes = is_not_there_yet(error);
        let more = if comes { "; until then it is waited for" } else { "" };
        findings.push(Finding {
            about: About::Option(option),
            sentence: format!("{}{more}", cannot_listen(scheme, address, error, name)),
            is_error: !comes,
        });
    };
    // If it cannot be seen whether a gateway runs, its ports may be its own.
    let none_runs = UnixStream::connect(&settings.control.path)
        .is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused));
    if none_runs {
        let machine = MachineAddresses::read().unwrap_or_default();
        for place in expand(&settings.sip.listen, &machine.all).into_keys() {
            let (protocol, address) = place;
            let bound = match protocol {
                Protocol::Udp => UdpSocket::bind(address).map(drop),
                Protocol::Tcp | Protocol::Tls | Protocol::Ws | Protocol::Wss => TcpListener::bind(address).map(drop),
            };
            if let Err(error) = bound {
                found("sip.listen", protocol.scheme(), address, "[sip] listen", &error);
            }
        }
        let hub = settings.network.hub.listen;
        if settings.network.hub.url.is_none()
            && let Err(error) = TcpListener::bind(hub.address)
        {
            found(
                "network.hub.listen",
                hub.scheme(),
                hub.address,
                "[network.hub] listen",
                &error,
            );
        }
    }
    if let Addresses::Listed(listed) = &settings.media.addresses {
        for address in listed.iter().map(|ip| SocketAddr::new(*ip, 0)) {
            if let Err(error) = UdpSocket::bind(address) {
                found("media.addresses", "udp", address, "[media] addresses", &error);
            }
        }
    }
    let setup = SipSetup {
        listen: settings.sip.listen.clone(),
        tls: settings.tls.clone(),
        ..SipSetup::default()
    };
    findings.extend(check_certificates(&setup).err().map(|error| Finding {
        about: About::Option("tls.certificate"),
        sentence: format!("{error:#}"),
        is_error: true,
    }));
    let of_hub = settings
        .network
        .hub
        .files(&settings.tls)
        .map(|files| Loaded::read(&files));
    findings.extend(of_hub.and_then(Result::err).map(|error| Finding {
        about: About::Option("network.hub.listen"),
        sentence: format!("{error:#}"),
        is_error: true,
    }));
    findings.extend(readable_hashes(settings));
    findings.extend(hub_elsewhere(&settings.network.hub));
    findings
}

/// What is wrong with the way to a hub elsewhere: token, certificate authorities, and who can read what is said.
fn hub_elsewhere(settings: &Hub) -> Vec<Finding> {
    let about = About::Option("network.hub.url");
    if let Err(error) = network(settings) {
        let sentence = format!("{error:#}");
        return vec![Finding {
            about,
            sentence,
            is_error: true,
        }];
    }
    let readable = settings.url.as_ref().filter(|url| url.is_readable());
    let finding = readable.map(|url| Finding {
        about,
        sentence: format!("url names {url}: without TLS whoever is on the way reads this gateway's token; use wss://"),
        is_error: false,
    });
    finding.into_iter().collect()
}

/// Whether others may read what guesses of passwords can be tried on.
fn readable_hashes(settings: &Settings) -> Option<Finding> {
    let phones = settings.folder.join("phones.conf");
    let mode = |path: &PathBuf| std::fs::metadata(path).map_or(0, |meta| meta.permissions().mode());
    let is_reached = mode(&settings.folder) & 0o001 != 0;
    let is_readable = !settings.phones.is_empty() && is_reached && mode(&phones) & 0o004 != 0;
    is_readable.then(|| Finding {
        sentence: format!(
            "can be read by everybody (mode {:04o}), and password hashes stand in it: chmod o-r {}",
            mode(&phones) & 0o7777,
            phones.display()
        ),
        about: About::File(phones),
        is_error: false,
    })
}

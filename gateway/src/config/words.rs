//! The syntax of the words in the conf files: names, ids, codecs.
//!
//! Each check returns the rest of a sentence that begins with the option's name.

use super::hub_url::HubUrl;
use super::ice_url::IceUrl;
use super::options::{LATER, networks, networks_as};
use super::origin::Origin;
use super::trunk::TrunkAddress;
use super::units::{Addresses, ExternalAddress, HttpListen, Ports, Prompts, ReflectorListen};
use crate::route::{Callers, Pattern, Target, TargetError};

/// A login name or an account: two of them with `@` between are a name on the hub.
pub(crate) fn user(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if (1..=31).contains(&text.len()) && text.chars().all(good) {
        return Ok(());
    }
    Err("must be 1 to 31 lower-case letters, digits or any of . _ -".to_owned())
}

/// The name of an account of a network, as routes and sections spell it.
pub(super) fn account(text: &str) -> Result<(), String> {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() <= 31 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(rest) {
        return Ok(());
    }
    Err("must be 1 to 31 lower-case letters, digits or -, and begin with a letter".to_owned())
}

/// A network, as `192.0.2.0/24`, or one address.
pub(crate) fn network(text: &str) -> Result<(), String> {
    super::units::network(text).map(drop)
}

/// A digest realm: it stands in a quoted string of a header.
pub(crate) fn realm(text: &str) -> Result<(), String> {
    if (1..=128).contains(&text.len()) && text.chars().all(|c| !c.is_control() && !matches!(c, '"' | '\\')) {
        return Ok(());
    }
    Err("must be 1 to 128 characters without quotes and backslashes".to_owned())
}

/// A name for people.
pub(super) fn label(text: &str) -> Result<(), String> {
    if (1..=128).contains(&text.chars().count()) && text.chars().all(|c| !c.is_control()) {
        return Ok(());
    }
    Err("must be 1 to 128 characters on one line".to_owned())
}

/// An SDP name of a codec, with or without its clock. Whether a plugin has it is known when the plugins are loaded.
pub(super) fn codec(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let (name, clock) = text.split_once('/').unwrap_or((text, "8000"));
    let clock = clock.parse::<u32>().is_ok_and(|clock| (1..=192_000).contains(&clock));
    if (1..=32).contains(&name.len()) && name.chars().all(good) && clock {
        return Ok(());
    }
    Err(format!(
        "names \"{}\", which is no codec; names are as \"opus\", \"pcma\" or \"L16/16000\"",
        text.escape_debug()
    ))
}

/// A language tag: `en`, `pt-BR`.
pub(super) fn language(text: &str) -> Result<(), String> {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    let good = (2..=3).contains(&first.len())
        && first.chars().all(|c| c.is_ascii_lowercase())
        && parts.all(|part| (2..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric()));
    if good && text.len() <= 35 {
        Ok(())
    } else {
        Err("must be a language tag, as \"en\" or \"pt-BR\"".to_owned())
    }
}

/// A plugin id.
pub(super) fn plugin(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=63).contains(&text.len()) && text.chars().all(good) {
        return Ok(());
    }
    Err(format!(
        "names \"{}\", which is no plugin id; ids are as \"codec-opus\"",
        text.escape_debug()
    ))
}

/// A file or a folder, which need not exist.
pub(super) fn path(text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains('\0') {
        Err("must name a file or a folder, not nothing".to_owned())
    } else {
        Ok(())
    }
}

/// `http:ADDRESS:PORT`.
pub(super) fn http_listen(text: &str) -> Result<(), String> {
    text.parse::<HttpListen>().map(drop)
}

/// `udp:ADDRESS:PORT` or `tcp:ADDRESS:PORT`.
pub(super) fn reflector_listen(text: &str) -> Result<(), String> {
    text.parse::<ReflectorListen>().map(drop)
}

/// The name of a trunk: a lower-case letter, then letters, digits and `-`.
pub(super) fn trunk(text: &str) -> Result<(), String> {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(rest) {
        Ok(())
    } else {
        Err("must be at most 32 lower-case letters, digits and -, beginning with a letter".to_owned())
    }
}

/// `udp:HOST:PORT` and its like.
pub(super) fn trunk_address(text: &str) -> Result<(), String> {
    text.parse::<TrunkAddress>().map(drop)
}

/// `ws://…` or `wss://…`.
pub(super) fn hub_url(text: &str) -> Result<(), String> {
    text.parse::<HubUrl>().map(drop)
}

/// A web origin.
pub(super) fn origin(text: &str) -> Result<(), String> {
    text.parse::<Origin>().map(drop)
}

/// `auto` or an IP address; that `auto` stands alone is checked over the whole list.
pub(super) fn media_address(text: &str) -> Result<(), String> {
    Addresses::from_words(&[text]).map(drop)
}

/// What stands for ours outside: each word by itself.
pub(super) fn external_address(text: &str) -> Result<(), String> {
    ExternalAddress::from_words(&[text]).map(drop)
}

/// `auto`, or a network.
pub(super) fn local_network(text: &str) -> Result<(), String> {
    if text == "auto" { Ok(()) } else { network(text) }
}

/// The name of a transport, as its plugin's table has it.
pub(super) fn transport(text: &str) -> Result<(), String> {
    if (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(());
    }
    Err("must be the name of a transport, of letters, digits and -".to_owned())
}

/// The name of a session transport, or `SESSION over PATH`.
pub(super) fn transport_stack(text: &str) -> Result<(), String> {
    let (session, path) = super::settings::stack(text);
    if transport(session).is_ok() && path.is_none_or(|path| transport(path).is_ok()) {
        return Ok(());
    }
    Err(
        "must be the name of a transport, of letters, digits and -, or two names as in \"webrtc over framed\""
            .to_owned(),
    )
}

/// `FIRST-LAST` or `0`.
pub(super) fn ports(text: &str) -> Result<(), String> {
    text.parse::<Ports>().map(drop)
}

/// `builtin` or a folder.
pub(super) fn prompts(text: &str) -> Result<(), String> {
    text.parse::<Prompts>().map(drop)
}

/// Whose calls a route is for.
pub(super) fn callers(text: &str) -> Result<(), String> {
    match text.parse::<Callers>() {
        Ok(_) => Ok(()),
        Err(TargetError::Callers) => Err(format!(
            "must be \"phones\", \"phone:USER\" or {}",
            networks_as(|network| format!("\"network:{network}\""))
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// `socks5://HOST:PORT`.
pub(super) fn socks_proxy(text: &str) -> Result<(), String> {
    let place = text.strip_prefix("socks5://").and_then(|place| place.rsplit_once(':'));
    match place {
        Some((host, _)) if host.contains('@') => {
            Err("has a login in it; write it into the file of proxy_login_file".to_owned())
        }
        Some((host, port))
            if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(())
        }
        _ => Err("must be \"socks5://HOST:PORT\"".to_owned()),
    }
}

/// The address of a STUN or TURN server.
pub(super) fn ice_url(text: &str) -> Result<(), String> {
    text.parse::<IceUrl>().map(drop)
}

/// A pattern of numbers.
pub(super) fn pattern(text: &str) -> Result<(), String> {
    if let Some(sentence) = crate::route::foreign(text) {
        return Err(sentence);
    }
    text.parse::<Pattern>().map(drop).map_err(|error| error.to_string())
}

/// Where a route leads.
pub(super) fn target(text: &str) -> Result<(), String> {
    let known = networks_as(|network| format!("\"{network}:USER\""));
    match text.parse::<Target>() {
        Ok(Target::Network { network, .. }) if LATER.iter().any(|(name, _)| *name == format!("network.{network}")) => {
            Err(format!("names the {network} network, which comes later; use {known}"))
        }
        Ok(Target::Network { network, .. }) if !networks().any(|name| name == network) => {
            Err(format!("must be {known} or \"phone:USER\""))
        }
        Ok(_) => Ok(()),
        Err(TargetError::Target) => Err(format!("must be {known} or \"phone:USER\"")),
        Err(error) => Err(error.to_string()),
    }
}

/// The order in which phones ring.
pub(super) fn strategy(text: &str) -> Result<(), String> {
    match text {
        "all" => Ok(()),
        "in-order" => Err("is \"in-order\", which comes later; write \"all\" to ring them at the same time".to_owned()),
        _ => Err(format!("must be \"all\", not \"{}\"", text.escape_debug())),
    }
}

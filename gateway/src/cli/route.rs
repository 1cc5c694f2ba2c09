//! `quartet route FROM NUMBER`: which route a call would take, why, and what a network would be asked. Nobody is asked.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::bail;
use quartet_proto::sip::Uri;
use serde_json::{Value, json};

use super::run::load;
use crate::config::{Settings, TelegramAccount};
use crate::io::telegram::phone_config;
use crate::networks::telegram;
use crate::networks::telegram::client::session::Login;
use crate::route::{Captures, DestinationKind, NotFor, Origin, Rule};

/// Prints the routes up to the one that takes the call, and where that leads. Returns the exit code: 1 if the call is refused.
///
/// # Errors
/// If `from` is nobody who can call.
pub(super) fn run(conf: Option<&Path>, json: bool, from: &str, number: &str) -> anyhow::Result<u8> {
    let Some(loaded) = load(conf)? else { return Ok(1) };
    let settings = &loaded.settings;
    let (origin, caller) = origin(settings, from)?;
    let caller: Vec<&str> = caller.iter().map(String::as_str).collect();
    // As the gateway reads it from a request.
    let number = match &origin {
        Origin::Phone(_) | Origin::Trunk(_) => Uri::sip(number, ([127, 0, 0, 1], 5060).into()).dialled(),
        Origin::Network(_) => number.to_owned(),
    };
    let routes = settings.routes();
    let found = routes.find(&origin, &caller, &number);
    let mut steps = Vec::new();
    for rule in routes.rules() {
        let takes = rule.takes(&origin, &caller, &number);
        steps.push(step(rule, &takes));
        if takes.is_ok() {
            break;
        }
    }
    let (goes_to, asks, why) = match &found {
        Ok(found) => match &found.kind {
            DestinationKind::Phones(phones) => {
                let phones = phones.iter().map(|user| format!("phone:{user}")).collect();
                (phones, Vec::new(), None)
            }
            DestinationKind::Trunk { trunk, number } => (vec![format!("trunk:{trunk}:{number}")], Vec::new(), None),
            DestinationKind::User { network, user } => {
                (vec![format!("{network}:{user}")], asks(settings, network, user), None)
            }
        },
        Err(error) => (Vec::new(), Vec::new(), Some(error.to_string())),
    };
    let mut out = io::stdout().lock();
    if json {
        let value = json!({
            "number": number, "routes": steps, "to": goes_to, "asks": asks, "refused": why,
        });
        writeln!(out, "{value}")?;
        return Ok(u8::from(why.is_some()));
    }
    for step in &steps {
        writeln!(
            out,
            "{}: {}",
            step["route"].as_str().unwrap_or_default(),
            step["why"].as_str().unwrap_or_default()
        )?;
    }
    match why {
        Some(why) => writeln!(out, "refused: {why}")?,
        None => writeln!(out, "goes to {}", goes_to.join(", "))?,
    }
    for line in asks {
        writeln!(out, "{line}")?;
    }
    Ok(u8::from(found.is_err()))
}

/// Who calls, and all that the caller is called.
fn origin(settings: &Settings, from: &str) -> anyhow::Result<(Origin, Vec<String>)> {
    if settings.phones.iter().any(|phone| phone.user == from) {
        return Ok((Origin::Phone(from.to_owned()), vec![from.to_owned()]));
    }
    let Some((network, caller)) = from.split_once(':') else {
        bail!(
            "\"{from}\" is no phone of phones.conf; a caller of a network is written telegram:@user,contact or hub:NAME, of a trunk trunk:NAME,NUMBER"
        );
    };
    let words = caller.split(',').map(str::trim);
    if network == "trunk" {
        // trunk:NAME, or trunk:NAME,NUMBER as its callers say who they are.
        let caller: Vec<String> = words.map(str::to_owned).collect();
        let name = caller.first().cloned().unwrap_or_default();
        anyhow::ensure!(
            settings.trunks.iter().any(|trunk| trunk.name == name),
            "there is no [[trunk]] {name:?} in quartet.conf"
        );
        return Ok((Origin::Trunk(name), caller));
    }
    let caller = words.map(str::to_ascii_lowercase).collect();
    Ok((Origin::Network(network.to_owned()), caller))
}

fn step(rule: &Rule, takes: &Result<Captures, NotFor>) -> Value {
    let why = match takes {
        Ok(_) => "takes the call".to_owned(),
        Err(NotFor::From) => format!("is for calls from {}", rule.from),
        Err(NotFor::Caller) => {
            let callers: Vec<String> = rule.caller.iter().map(ToString::to_string).collect();
            format!("is for the callers {}", callers.join(", "))
        }
        Err(NotFor::Number) => format!("is for the number {}", rule.number),
    };
    json!({ "route": rule.name, "takes": takes.is_ok(), "why": why })
}

/// What the network would be asked, a line for each account.
fn asks(settings: &Settings, network: &str, user: &str) -> Vec<String> {
    if network != telegram::NAME {
        return Vec::new();
    }
    let kept: Vec<Vec<u8>> = settings.telegram.accounts.iter().map(kept).collect();
    match telegram::plan(phone_config(&settings.telegram), &kept, user) {
        Err(why) => vec![format!("nothing is asked: {why}")],
        Ok(plans) => {
            let line = |plan: telegram::Plan| match plan.asks {
                Ok(asks) => format!("{} would ask for {}", plan.account, asks.join(", then ")),
                Err(why) => format!("{} {why}", plan.account),
            };
            plans.into_iter().map(line).collect()
        }
    }
}

/// What an account has kept beside its login; nothing if nobody has logged in, or it is not ours to read.
fn kept(account: &TelegramAccount) -> Vec<u8> {
    // Opening one that is not there would make its key.
    if !account.session_file.exists() || !account.session_key_file.exists() {
        return Vec::new();
    }
    let login = Login::open(&account.session_file, &account.session_key_file);
    login.map(|login| login.kept()).unwrap_or_default()
}

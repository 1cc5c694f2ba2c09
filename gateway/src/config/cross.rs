//! Checks that need more than one value: duplicates, references to something that is not there, missing files.

use std::collections::BTreeMap;
use std::path::Path;

use super::check::{Block, Checked, Values};
use super::kind::{Raw, quoted};
use super::listen::{SipListen, of_table};
use super::nearest::nearest;
use super::options::{networks, networks_as};
use super::problem::{Place, Problem};
use super::units::HttpListen;
use super::units::{ExternalAddress, Period};
use crate::permissions::{Trusted, open_believed, open_secret, read_secret};
use crate::route::{Callers, Pattern, Target};

/// Checks the values of quartet.conf, with the environment, against each other and against the disk.
pub(super) fn check_values(folder: &Path, values: &Values, problems: &mut Vec<Problem>) {
    let mut problem = |at: &Checked, sentence: String| {
        // A default is right by itself; if it clashes, the value that was said is named.
        problems.extend(at.place.clone().map(|place| Problem { place, sentence }));
    };
    for (path, others) in [
        ("media.addresses", "IP addresses"),
        ("media.local_networks", "networks"),
    ] {
        let Some(checked) = values.get(path) else { continue };
        let words = checked.value.texts(0);
        if words.len() > 1 && words.iter().any(|(_, word)| *word == "auto") {
            let name = path.rsplit('.').next().unwrap_or(path);
            problem(checked, format!("{name} must be \"auto\" alone or {others}, not both"));
        }
    }
    for path in ["media.external_address", "network.hub.external_address"] {
        if let Some(checked) = values.get(path)
            && let Err(sentence) = external_address(&checked.value)
        {
            problem(checked, sentence);
        }
    }
    check_expiry(values, &mut problem);
    check_tls(folder, values, &mut problem);
    check_hub(folder, values, &mut problem);
    check_reflector(folder, values, &mut problem);
    if let Some(prompts) = values.get("ivr.prompts")
        && let Some(name) = prompts.value.text()
        && name != "builtin"
    {
        // Languages, and recordings in each: they tell the person which emojis to compare.
        for fault in folder_faults(folder, name, 2) {
            problem(prompts, format!("prompts names the folder {}; {fault}", quoted(name)));
        }
    }
    if let Some(path) = values.get("plugins.path") {
        for (line, name) in path.value.texts(0) {
            for fault in folder_faults(folder, name, 0) {
                let place = match &path.place {
                    Some(Place::Line(file, _)) if line > 0 => Some(Place::Line(file.clone(), line)),
                    place => place.clone(),
                };
                let at = Checked {
                    place,
                    value: Raw::Flag(true),
                };
                problem(&at, format!("path names the folder {}; {fault}", quoted(name)));
            }
        }
    }
}

/// A registration may last from one length of time to another.
fn check_expiry(values: &Values, problem: &mut impl FnMut(&Checked, String)) {
    let of = |name: &str| {
        let at = values.get(&format!("sip.{name}"))?;
        Some((at, at.value.text()?.parse::<Period>().ok()?))
    };
    if let (Some((low, min)), Some((high, max))) = (of("min_expires"), of("max_expires"))
        && min > max
    {
        let at = if low.place.is_some() { low } else { high };
        problem(
            at,
            format!("min_expires = \"{min}\" is more than max_expires = \"{max}\"; change one of them"),
        );
    }
}

/// Who listens under TLS needs a certificate, and its key.
fn check_tls(folder: &Path, values: &Values, problem: &mut impl FnMut(&Checked, String)) {
    let common = |name: &str| values.get(&format!("tls.{name}"));
    let mut wanted = None;
    if let Some(listen) = values.get("sip.listen") {
        let Raw::List(entries) = &listen.value else { return };
        for (_, entry) in entries {
            let Some(address) = of_table(entry, "address").and_then(|text| text.parse::<SipListen>().ok()) else {
                continue;
            };
            if address.is_secure() && of_table(entry, "certificate").is_none() {
                wanted.get_or_insert((listen, address));
            }
            for (name, is_secret) in [("certificate", false), ("key", true), ("client_ca", false)] {
                if let Some(file) = of_table(entry, name)
                    && let Err(why) = check_pem(&folder.join(file), is_secret)
                {
                    problem(
                        listen,
                        format!("listen has a {name} that names {}, {why}", quoted(file)),
                    );
                }
            }
        }
    }
    let wanted = wanted.map(|(listen, address)| (listen, address.name()));
    if let (None, None) = (common("certificate"), common("key"))
        && let Some((listen, name)) = wanted.or_else(|| hub_wants(values))
    {
        let sentence =
            format!("listen names {name}, which needs a certificate: name it with certificate and key in [tls]");
        problem(listen, sentence);
    }
    check_pems(folder, values, "tls", problem);
}

/// The files of a section: a certificate and its key, or neither.
fn check_pems(folder: &Path, values: &Values, section: &str, problem: &mut impl FnMut(&Checked, String)) {
    let said = |name: &str| values.get(&format!("{section}.{name}"));
    match (said("certificate"), said("key")) {
        (Some(_), Some(_)) | (None, None) => {}
        (Some(certificate), None) => problem(certificate, "certificate needs key as well".to_owned()),
        (None, Some(key)) => problem(key, "key needs certificate as well".to_owned()),
    }
    for (name, is_secret) in [("certificate", false), ("key", true), ("client_ca", false)] {
        if let Some(at) = said(name)
            && let Some(path) = at.value.text()
            && let Err(why) = check_pem(&folder.join(path), is_secret)
        {
            problem(at, format!("{name} names {}, {why}", quoted(path)));
        }
    }
}

/// The hub's listener, if it needs the certificate of `[tls]`.
fn hub_wants(values: &Values) -> Option<(&Checked, String)> {
    let listen = values.get("network.hub.listen")?;
    let text = listen.value.text()?;
    let has_own = ["certificate", "key"]
        .iter()
        .any(|name| values.get(&format!("network.hub.{name}")).is_some());
    let is_wanted = text.parse::<HttpListen>().is_ok_and(|listen| listen.is_secure) && !has_own;
    is_wanted.then(|| (listen, text.to_owned()))
}

/// What it holds is read at the start, and by `quartet check`.
fn check_pem(path: &Path, is_secret: bool) -> Result<(), String> {
    let opened = if is_secret {
        open_secret(path)
    } else {
        open_believed(path)
    };
    opened.map(drop)
}

/// A reflector serves nobody without the secret.
fn check_reflector(folder: &Path, values: &Values, problem: &mut impl FnMut(&Checked, String)) {
    let secret = values.get("reflector.secret_file");
    if let Some(listen) = values.get("reflector.listen")
        && !listen.value.texts(0).is_empty()
        && secret.is_none()
    {
        let sentence = "listen needs secret_file, the file with the secret that the hub has as well";
        problem(listen, sentence.to_owned());
    }
    if let Some(secret) = secret
        && let Some(path) = secret.value.text()
        && let Err(why) = check_file(&folder.join(path), true)
    {
        problem(secret, format!("secret_file names {}, {why}", quoted(path)));
    }
}

/// A hub is embedded or elsewhere: what is for the other would have no effect.
fn check_hub(folder: &Path, values: &Values, problem: &mut impl FnMut(&Checked, String)) {
    // A default was said by nobody.
    let said = |name: &str| {
        let checked = values.get(&format!("network.hub.{name}"))?;
        checked.place.is_some().then_some(checked)
    };
    let Some(url) = said("url") else {
        let listen = values.get("network.hub.listen");
        let listen = listen.and_then(|listen| listen.value.text()?.parse::<HttpListen>().ok());
        if let Some(certificate) = said("certificate")
            && listen.is_some_and(|listen| !listen.is_secure)
        {
            let sentence =
                "certificate is of no use at http:; write \"https:ADDRESS:PORT\" in listen, or remove the line";
            problem(certificate, sentence.to_owned());
        }
        check_pems(folder, values, "network.hub", problem);
        for name in ["token_file", "ca_file"] {
            if let Some(checked) = said(name) {
                problem(
                    checked,
                    format!("{name} is for a hub elsewhere; name it with url, or remove the line"),
                );
            }
        }
        return;
    };
    for name in ["listen", "certificate", "key", "account", "origins"] {
        if let Some(checked) = said(name) {
            problem(
                checked,
                format!("{name} is for the embedded hub, and url names one elsewhere; remove one of the two lines"),
            );
        }
    }
    if said("token_file").is_none() {
        let sentence =
            "url needs token_file, the file with the token that `quartet invite --gateway NAME` prints on that hub";
        problem(url, sentence.to_owned());
    }
    if let Some(ca_file) = said("ca_file")
        && let Some(path) = ca_file.value.text()
        && let Err(why) = check_file(&folder.join(path), false)
    {
        problem(ca_file, format!("ca_file names {}, {why}", quoted(path)));
    }
    if let Some(ca_file) = said("ca_file")
        && url.value.text().is_some_and(|url| url.starts_with("ws://"))
    {
        problem(
            ca_file,
            "ca_file is for a hub at wss://, and url names one at ws://; remove the line, or use wss://".to_owned(),
        );
    }
}

/// What is wrong with the words of an external address together, each of which is right.
fn external_address(value: &Raw) -> Result<(), String> {
    let words: Vec<&str> = value.texts(0).into_iter().map(|(_, word)| word).collect();
    let read = ExternalAddress::from_words(&words);
    read.map(drop)
        .map_err(|sentence| format!("external_address {sentence}"))
}

/// What the parts of a server mean together, and whether its files can be used.
pub(super) fn check_ice_servers(folder: &Path, blocks: &[Block], problems: &mut Vec<Problem>) {
    for block in blocks {
        let said = |name: &str| block.values.get(name);
        let mut problem = |at: Option<&Checked>, sentence: String| {
            let place = at
                .and_then(|checked| checked.place.clone())
                .unwrap_or_else(|| block.place.clone());
            problems.push(Problem { place, sentence });
        };
        let urls = said("urls").map(|urls| urls.value.texts(0)).unwrap_or_default();
        let is_relay = urls.iter().any(|(_, url)| url.starts_with("turn"));
        if let Some((_, url)) = urls.iter().find(|(_, url)| url.starts_with("reflector"))
            && said("secret_file").is_none()
        {
            problem(
                said("urls"),
                format!(
                    "{} wants the secret that it shares with the hub; add secret_file",
                    quoted(url)
                ),
            );
        }
        let (name, password, secret) = (said("username"), said("password_file"), said("secret_file"));
        match (is_relay, name, password, secret) {
            (_, Some(_), _, Some(at)) | (_, _, Some(_), Some(at)) => problem(
                Some(at),
                "secret_file stands in place of username and password_file; remove the one or the other".to_owned(),
            ),
            (_, Some(at), None, None) => problem(Some(at), "username needs password_file as well".to_owned()),
            (_, None, Some(at), None) => problem(Some(at), "password_file needs username as well".to_owned()),
            (true, None, None, None) => problem(
                None,
                "a relay wants to know who we are; add username and password_file, or secret_file".to_owned(),
            ),
            _ => {}
        }
        if let Some(at) = said("ca_file")
            && !urls.iter().any(|(_, url)| url.starts_with("turns:"))
        {
            problem(
                Some(at),
                "ca_file is for turns: addresses, and urls has none; remove the line".to_owned(),
            );
        }
        for (file, is_secret) in [("password_file", true), ("secret_file", true), ("ca_file", false)] {
            if let Some(at) = said(file)
                && let Some(path) = at.value.text()
                && let Err(why) = check_file(&folder.join(path), is_secret)
            {
                problem(Some(at), format!("{file} names {}, {why}", quoted(path)));
            }
        }
    }
}

fn check_file(path: &Path, is_secret: bool) -> Result<(), String> {
    if is_secret {
        return read_secret(path).map(drop);
    }
    open_believed(path).map(drop)
}

/// The same for all phones.
pub(super) fn check_phones(blocks: &[Block], problems: &mut Vec<Problem>) {
    for checked in blocks.iter().filter_map(|block| block.values.get("external_address")) {
        if let (Err(sentence), Some(place)) = (external_address(&checked.value), checked.place.clone()) {
            problems.push(Problem { place, sentence });
        }
    }
}

/// What is wrong with a folder that the conf files name: it is missing, or somebody else could change it or what it holds,
/// `depth` folders deep.
fn folder_faults(folder: &Path, name: &str, depth: usize) -> Vec<String> {
    let path = folder.join(name);
    if !path.is_dir() {
        return vec![format!(
            "there is no folder {}, make it or correct the line",
            path.display()
        )];
    }
    let faults = Trusted::by_this_process().faults_within(&path, depth);
    faults
        .iter()
        .map(|fault| format!("{} {fault}", fault.path.display()))
        .collect()
}

/// Checks that no two blocks have the same value under `key`.
pub(super) fn check_unique(section: &str, key: &str, blocks: &[Block], problems: &mut Vec<Problem>) {
    let mut seen = BTreeMap::<&str, &Place>::new();
    for block in blocks {
        let Some((value, place)) = text_at(block, key) else {
            continue;
        };
        match (seen.get(value), place) {
            (Some(Place::Line(_, line)), _) => problems.push(Problem {
                place: place.clone(),
                sentence: format!(
                    "{section} {} stands already in line {line}; give each {section} its own {key}",
                    quoted(value)
                ),
            }),
            _ => {
                seen.insert(value, place);
            }
        }
    }
}

/// Checks what routes refer to. `phones` is `None` if phones.conf is too broken to know them all.
pub(super) fn check_routes(
    blocks: &[Block],
    (phones, trunks): (Option<&[&str]>, &[&str]),
    problems: &mut Vec<Problem>,
) {
    for block in blocks {
        check_route(block, (phones, trunks), problems);
    }
}

fn check_route(block: &Block, (phones, trunks): (Option<&[&str]>, &[&str]), problems: &mut Vec<Problem>) {
    let mut problem = |place: &Place, sentence: String| {
        problems.push(Problem {
            place: place.clone(),
            sentence,
        })
    };
    let from = text_at(block, "from").and_then(|(text, place)| Some((text.parse::<Callers>().ok()?, place)));
    match &from {
        Some((Callers::Phone(user), place)) => {
            if let Some(sentence) = no_phone(user, phones) {
                problem(place, format!("from {sentence}"));
            }
        }
        Some((Callers::Network(name), place)) if !networks().any(|known| known == name) => {
            problem(
                place,
                format!(
                    "from names the network {}; use {}",
                    quoted(name),
                    networks_as(|network| format!("\"network:{network}\""))
                ),
            );
        }
        Some((Callers::Trunk(name), place)) => {
            if let Some(sentence) = no_trunk(name, trunks) {
                problem(place, format!("from {sentence}"));
            }
        }
        Some((Callers::Phones | Callers::Network(_), _)) | None => {}
    }
    // A number that was said and is wrong says nothing about its captures.
    let number = match text_at(block, "number") {
        None => Some(Pattern::any()),
        Some((text, _)) => text.parse::<Pattern>().ok(),
    };
    let Some(to) = block.values.get("to") else { return };
    let Some(Place::Line(file, line)) = &to.place else {
        return;
    };
    let targets: Vec<(Place, Target)> = to
        .value
        .texts(*line)
        .into_iter()
        .filter_map(|(line, text)| Some((Place::Line(file.clone(), line), text.parse().ok()?)))
        .collect();
    if targets.len() > 1
        && let Some((place, target)) = targets.iter().find(|(_, target)| !matches!(target, Target::Phone(_)))
    {
        problem(
            place,
            format!(
                "to has {} in a list; a user of a network or a trunk stands alone, only phones ring together",
                quoted(&target.to_string())
            ),
        );
    }
    for (place, target) in &targets {
        if let Some(number) = &number {
            for name in target.user().names().filter(|name| !number.has(name)) {
                let sentence = format!("to uses {{{name}}}, which number does not capture; write {{{name}}} in number");
                problem(place, sentence);
            }
        }
        match (target, &from) {
            (Target::Network { .. }, Some((Callers::Network(_), _))) => {
                problem(
                    place,
                    "to sends a call from a network to a network; use \"phone:USER\"".to_owned(),
                );
            }
            (Target::Phone(user), _) => {
                if let Some(sentence) = user.literal().and_then(|user| no_phone(user, phones)) {
                    problem(place, format!("to {sentence}"));
                }
            }
            (Target::Trunk { trunk, .. }, _) => {
                if let Some(sentence) = no_trunk(trunk, trunks) {
                    problem(place, format!("to {sentence}"));
                }
            }
            (Target::Network { .. }, _) => {}
        }
    }
}

/// Says that a trunk does not exist, and which one was probably meant.
fn no_trunk(name: &str, trunks: &[&str]) -> Option<String> {
    if trunks.contains(&name) {
        return None;
    }
    let advice = match nearest(name, trunks.iter().copied()) {
        Some(near) => format!("did you mean \"trunk:{near}\"?"),
        None => "add a [[trunk]] there or correct the route".to_owned(),
    };
    Some(format!(
        "names the trunk {}, which quartet.conf does not have; {advice}",
        quoted(name)
    ))
}

/// Says that a phone does not exist, and which one was probably meant.
fn no_phone(user: &str, phones: Option<&[&str]>) -> Option<String> {
    let phones = phones.filter(|phones| !phones.contains(&user))?;
    let advice = match nearest(user, phones.iter().copied()) {
        Some(near) => format!("did you mean \"phone:{near}\"?"),
        None => "add a [[phone]] there or correct the route".to_owned(),
    };
    Some(format!(
        "names the phone {}, which phones.conf does not have; {advice}",
        quoted(user)
    ))
}

pub(super) fn text_at<'a>(block: &'a Block, key: &str) -> Option<(&'a str, &'a Place)> {
    let checked = block.values.get(key)?;
    Some((checked.value.text()?, checked.place.as_ref()?))
}

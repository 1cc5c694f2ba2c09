//! Who calls an account: what routes, displays and PBXes are told of it, and whether it may.

use grammers_tl_types::{enums, types};

use super::account::Account;
use super::dial;
use crate::config::CallerDisplay;
use crate::log::one_line;
use crate::networks::CallerDetails;
use crate::route::is_one_of;

/// Names of one user that count.
const MAX_NAMES: usize = 16;
/// The longest part of a name that is shown.
const MAX_NAME: usize = 64;

/// What routes call a caller, and what else there is to know.
pub(super) fn details(account: &Account, id: i64, user: Option<&types::User>) -> (String, CallerDetails) {
    let usernames = user.map(usernames).unwrap_or_default();
    let username = usernames.first().cloned();
    let from = username
        .as_ref()
        .map_or_else(|| id.to_string(), |name| format!("@{name}"));
    let number = user.and_then(|user| dial::number(user.phone.as_ref()?));
    let number = number.map(|digits| format!("+{digits}"));
    let is_contact = user.is_some_and(|user| user.contact);
    let mut also = vec![id.to_string()];
    also.extend(number.clone());
    also.extend(usernames.iter().skip(1).map(|name| format!("@{name}")));
    also.push(if is_contact { "contact" } else { "stranger" }.to_owned());
    let spellings: Vec<&str> = also.iter().chain([&from]).map(String::as_str).collect();
    let is_blocked = !account.block.is_empty() && is_one_of(&account.block, &spellings);
    let is_refused = is_blocked || !is_one_of(&account.allow, &spellings);
    let clean = |name: &String| -> Option<String> {
        let name: String = one_line(name.trim()).chars().take(MAX_NAME).collect();
        Some(name).filter(|name| !name.is_empty())
    };
    let first = user.and_then(|user| user.first_name.as_ref()).and_then(clean);
    let last = user.and_then(|user| user.last_name.as_ref()).and_then(clean);
    let name: Vec<&str> = [&first, &last].into_iter().flatten().map(String::as_str).collect();
    let name = Some(name.join(" ")).filter(|name| !name.is_empty());
    let display = match (account.display, name) {
        (CallerDisplay::User, _) | (_, None) => None,
        (CallerDisplay::Both, Some(name)) if name.to_lowercase() != from => Some(format!("{name} ({from})")),
        (CallerDisplay::Name | CallerDisplay::Both, Some(name)) => Some(name),
    };
    let known = [
        ("X-GW-Context", Some(account.name.clone())),
        ("X-TG-ID", Some(id.to_string())),
        ("X-TG-FirstName", first),
        ("X-TG-LastName", last),
        ("X-TG-Username", username),
        ("X-TG-Phone", number),
    ];
    let known = known.into_iter().filter(|_| account.tells_headers);
    let headers = known.filter_map(|(name, value)| Some((name, value?))).collect();
    let details = CallerDetails {
        also,
        display,
        headers,
        speaks: None,
        is_refused,
    };
    (from, details)
}

/// All names by which a user can be called that are names: an account may have several.
pub(super) fn usernames(user: &types::User) -> Vec<String> {
    let further = user.usernames.iter().flatten().filter_map(|name| {
        let enums::Username::Username(name) = name;
        name.active.then_some(&name.username)
    });
    let names = user.username.iter().chain(further);
    names.filter_map(|name| dial::username(name)).take(MAX_NAMES).collect()
}

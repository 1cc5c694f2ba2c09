//! `quartet status`, `reload`, `calls`, `phones`, `locked`, `unlock`, `hangup`, `invite`: questions to a running gateway, through its control socket.
#![allow(clippy::print_stdout, reason = "a verb of the command line prints its answer")]

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::run;
use crate::config::Changes;
use crate::io::control::{self, ControlRequest};
use crate::log::one_line;

/// What the gateway does now.
pub(super) fn status(conf: Option<&Path>, json: bool) -> anyhow::Result<u8> {
    let answer = ask(conf, &ControlRequest::Status)?;
    if json {
        return print_json(&answer);
    }
    for (name, value) in answer.as_object().context("status is not an object")? {
        println!("{name:<14} {}", plain(value));
    }
    Ok(0)
}

/// The calls there are, or all that is known of one.
pub(super) fn calls(conf: Option<&Path>, json: bool, id: Option<&str>) -> anyhow::Result<u8> {
    let answer = ask(conf, &ControlRequest::Calls)?;
    if let Some(id) = id {
        let rows = answer.as_array().context("the gateway's answer is not a list")?;
        let call = rows.iter().find(|row| row["id"] == id);
        let call = call.with_context(|| format!("there is no call {id}; `quartet calls` lists those there are"))?;
        return if json { print_json(call) } else { print_call(call) };
    }
    table(
        &answer,
        json,
        &["id", "from", "to", "state", "seconds", "path", "verdict", "emojis"],
        "no calls",
    )
}

/// The phones that are registered.
pub(super) fn phones(conf: Option<&Path>, json: bool) -> anyhow::Result<u8> {
    let answer = ask(conf, &ControlRequest::Phones)?;
    table(
        &answer,
        json,
        &["user", "contact", "source", "expires_s", "user_agent"],
        "no phone is registered",
    )
}

/// Sources and accounts whose logins are not judged for now.
pub(super) fn locked(conf: Option<&Path>, json: bool) -> anyhow::Result<u8> {
    let answer = ask(conf, &ControlRequest::Locked)?;
    let columns = ["source", "account", "failures", "seconds"];
    table(&answer, json, &columns, "nobody is locked")
}

/// Forgets the failed logins of a source or an account.
pub(super) fn unlock(conf: Option<&Path>, json: bool, who: String) -> anyhow::Result<u8> {
    let answer = ask(conf, &ControlRequest::Unlock { who })?;
    if json {
        return print_json(&answer);
    }
    println!("{} unlocked", plain(&answer["unlocked"]));
    Ok(0)
}

/// Reads the conf files anew.
pub(super) fn reload(conf: Option<&Path>, json: bool) -> anyhow::Result<u8> {
    let answer = ask(conf, &ControlRequest::Reload)?;
    if json {
        return print_json(&answer);
    }
    let changes: Changes = serde_json::from_value(answer).context("the gateway's answer is not what was changed")?;
    println!("{}", changes.sentence());
    if !changes.restart.is_empty() {
        println!("needs a restart, as before until then: {}", changes.restart.join(", "));
    }
    Ok(0)
}

/// Ends a call.
pub(super) fn hangup(conf: Option<&Path>, json: bool, id: String) -> anyhow::Result<u8> {
    let answer = ask(conf, &ControlRequest::Hangup { id })?;
    if json {
        return print_json(&answer);
    }
    println!("{} ended", plain(&answer["id"]));
    Ok(0)
}

/// Makes an account and a token for it.
pub(super) fn invite(conf: Option<&Path>, json: bool, user: String, gateway: bool) -> anyhow::Result<u8> {
    let answer = ask(conf, &ControlRequest::Invite { user, gateway })?;
    if json {
        return print_json(&answer);
    }
    println!("user   {}", plain(&answer["user"]));
    println!(
        "hub    {}   (from elsewhere: wss:// and the name of your TLS proxy)",
        plain(&answer["hub"])
    );
    println!("token  {}", plain(&answer["token"]));
    if gateway {
        println!(
            "On the gateway's machine write the token into a file that only the gateway can read, and into quartet.conf:"
        );
        println!("  [network.hub]");
        println!("  url = \"wss://NAME-OF-YOUR-TLS-PROXY\"");
        println!("  token_file = \"hub.token\"");
    }
    println!("Keep the token secret: whoever has it is this user. It is not shown again.");
    Ok(0)
}

/// Takes the tokens of an account back.
pub(super) fn revoke(conf: Option<&Path>, json: bool, user: String) -> anyhow::Result<u8> {
    let answer = ask(conf, &ControlRequest::Revoke { user })?;
    if json {
        return print_json(&answer);
    }
    println!("{} revoked", plain(&answer["revoked"]));
    Ok(0)
}

fn ask(conf: Option<&Path>, question: &ControlRequest) -> anyhow::Result<Value> {
    let Some(loaded) = run::load(conf)? else {
        bail!("the conf files have errors")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(control::ask(&loaded.settings.control.path, question))
}

fn print_json(answer: &Value) -> anyhow::Result<u8> {
    println!("{answer}");
    Ok(0)
}

/// Prints a call, and then each side of its media.
fn print_call(call: &Value) -> anyhow::Result<u8> {
    let members = |value: &Value, skip: &[&str]| {
        for (name, value) in value.as_object().into_iter().flatten() {
            if !skip.contains(&name.as_str()) {
                println!("{name:<16} {}", plain(value));
            }
        }
    };
    members(call, &["media", "legs"]);
    for side in call["media"].as_array().context("the call has no list of its sides")? {
        println!();
        members(side, &[]);
    }
    Ok(0)
}

/// Prints rows in aligned columns.
fn table(answer: &Value, json: bool, columns: &[&str], none: &str) -> anyhow::Result<u8> {
    if json {
        return print_json(answer);
    }
    let rows = answer.as_array().context("the gateway's answer is not a list")?;
    if rows.is_empty() {
        println!("{none}");
        return Ok(0);
    }
    let mut lines = vec![columns.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|c| plain(&row[*c])).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    for line in &lines {
        let cells: Vec<_> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
    Ok(0)
}

/// A value as a person reads it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => one_line(text).into_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

//! `quartet login telegram.NAME` and `quartet logout telegram.NAME`: an account of the operator's at the telegram network.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;
use zeroize::Zeroizing;

use super::run::load;
use crate::config::{Settings, TelegramAccount};
use crate::networks::telegram::client::access::Access;
use crate::networks::telegram::client::login::{LoginSetup, Person, log_in, log_out};
use crate::permissions::read_secret;
use crate::process::limit_memory;

/// Whoever sits at the terminal; else the lines of standard input are the answers.
struct Terminal;

impl Person for Terminal {
    fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        if io::stdin().is_terminal() {
            write!(io::stderr(), "{question}")?;
            io::stderr().flush()?;
        }
        let mut line = String::new();
        let count = io::stdin().lock().read_line(&mut line)?;
        anyhow::ensure!(count > 0, "nobody answers; nothing was changed");
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn ask_secret(&mut self, question: &str) -> anyhow::Result<Zeroizing<String>> {
        if io::stdin().is_terminal() {
            let answer = rpassword::prompt_password(question).context("cannot ask the terminal")?;
            return Ok(Zeroizing::new(answer));
        }
        self.ask(question).map(Zeroizing::new)
    }

    fn tell(&mut self, sentence: &str) {
        // Nobody reads it if that fails.
        let _ = writeln!(io::stderr(), "{sentence}");
    }

    fn show(&mut self, link: &str) {
        let picture = QrCode::new(link).map(|code| code.render::<Dense1x2>().build());
        let picture = picture.unwrap_or_default();
        self.tell(&format!(
            "{picture}\nIn an app of the account: Settings, Devices, Link Desktop Device, and look at this picture.\n{link}"
        ));
    }
}

/// The account of `telegram.NAME`.
fn account<'a>(settings: &'a Settings, what: &str) -> anyhow::Result<&'a TelegramAccount> {
    let name = what.strip_prefix("telegram.");
    let name = name.with_context(|| format!("\"{what}\" is no account of a network; write telegram.NAME"))?;
    let found = settings.telegram.account(name);
    found.with_context(|| format!("quartet.conf has no section [network.telegram.{name}]; add it, or correct the name"))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start")
}

/// Logs an account in. Returns the exit code.
///
/// # Errors
/// If it cannot be logged in; the text says what to do.
pub fn login(conf: Option<&Path>, json: bool, what: &str, by_qr: bool) -> anyhow::Result<u8> {
    limit_memory();
    let Some(loaded) = load(conf)? else { return Ok(1) };
    let account = account(&loaded.settings, what)?;
    let api_hash = read_secret(&account.api_hash_file)
        .map_err(|why| anyhow::anyhow!("api_hash_file names {}, {why}", account.api_hash_file.display()))?;
    crate::io::startup::make_state_folder(&account.session_file)?;
    let setup = LoginSetup {
        access: &Access::of(account),
        api_hash: api_hash.trim(),
        by_qr,
    };
    let who = runtime()?.block_on(log_in(setup, &mut Terminal))?;
    let printed = if json {
        json!({ "account": what, "user": who }).to_string()
    } else {
        format!("{what} is logged in as {who}. A running gateway takes it up within seconds.")
    };
    writeln!(io::stdout(), "{printed}")?;
    Ok(0)
}

/// Logs an account out. Returns the exit code.
///
/// # Errors
/// If the file of the login cannot be changed.
pub fn logout(conf: Option<&Path>, json: bool, what: &str) -> anyhow::Result<u8> {
    limit_memory();
    let Some(loaded) = load(conf)? else { return Ok(1) };
    let account = account(&loaded.settings, what)?;
    let was_in = runtime()?.block_on(log_out(&Access::of(account)))?;
    let printed = match (json, was_in) {
        (true, _) => json!({ "account": what, "logged_out": was_in }).to_string(),
        (false, true) => format!("{what} is logged out."),
        (false, false) => format!("Nobody was logged in as {what}."),
    };
    writeln!(io::stdout(), "{printed}")?;
    Ok(0)
}

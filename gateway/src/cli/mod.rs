//! The command line: the verbs, and one place that names them all.
//!
//! Exit codes: 0 fine, 1 refused or failed, with a sentence that says why, 2 usage.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

mod ask;
pub mod check;
pub mod demo;
mod import;
pub mod login;
pub mod passwd;
pub mod plugin;
mod route;
mod run;

use crate::config::Hashes;
use crate::io::telegram;

/// A call gateway that joins SIP phones to end-to-end encrypted calls.
#[derive(Debug, Parser)]
#[command(name = "quartet", version, about, arg_required_else_help = true)]
struct Arguments {
    /// The folder of the conf files [default: $QUARTET_CONF, ./conf, /etc/quartet]
    #[arg(long, global = true, value_name = "DIR")]
    conf: Option<PathBuf>,
    /// Print JSON instead of text, where there is something to print
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the gateway
    Run {
        /// End when the standard input is closed, as it is when the program that started this one dies
        #[arg(long)]
        until_stdin_closes: bool,
    },
    /// Place a call through a gateway of its own, with conf files of its own, on this machine, and show it
    Demo(demo::DemoArguments),
    /// Check the conf files
    Check {
        /// Print the settings in force as well
        #[arg(long)]
        effective: bool,
    },
    /// Make the password_hash of a phone
    Passwd {
        /// The user of the phone
        user: String,
        /// The realm of the gateway [default: that of the conf files]
        #[arg(long)]
        realm: Option<String>,
        /// Leave SHA-256 out, for phones that fail at it
        #[arg(long)]
        md5_only: bool,
        /// Add SHA-512/256, for phones that know it
        #[arg(long, conflicts_with = "md5_only")]
        sha512_256: bool,
    },
    /// Show what a running gateway does
    Status,
    /// Have a running gateway read its conf files anew
    Reload,
    /// List the calls of a running gateway
    Calls {
        /// Show all that is known of the one with this id
        id: Option<String>,
    },
    /// Say which route a call would take, and what a network would be asked; nobody is asked
    Route {
        /// A phone, or a caller of a network: telegram:@user,contact or hub:NAME
        from: String,
        /// What it dials; of a network: the account or the extension that is called
        number: String,
    },
    /// List the phones that are registered
    Phones,
    /// List sources and accounts that failed to log in too often
    Locked,
    /// Forget the failed logins of a source or an account
    Unlock {
        /// An address, or the user of a phone, as `quartet locked` shows it
        who: String,
    },
    /// End a call
    Hangup {
        /// Its id, as `quartet calls` shows it
        id: String,
    },
    /// Run a hub alone, for gateways and people elsewhere: no phones, no calls of its own
    Hub {
        /// End when the standard input is closed, as it is when the program that started this one dies
        #[arg(long)]
        until_stdin_closes: bool,
    },
    /// Run a reflector alone: a relay for encrypted media that finds no other way
    Reflector {
        /// End when the standard input is closed, as it is when the program that started this one dies
        #[arg(long)]
        until_stdin_closes: bool,
    },
    /// Make an account on the hub and print its token, once
    Invite {
        /// The name of the account
        user: String,
        /// The account is for a gateway elsewhere: it has extensions, as 100@NAME
        #[arg(long, conflicts_with = "revoke")]
        gateway: bool,
        /// Take back every token of the account instead
        #[arg(long)]
        revoke: bool,
    },
    /// Log an account in at a network
    Login {
        /// telegram.NAME
        account: String,
        /// Show a picture that an app of the account looks at, instead of asking for a code
        #[arg(long)]
        qr: bool,
    },
    /// Log it out again
    Logout {
        /// telegram.NAME
        account: String,
    },
    /// The process of an account's client, which a running gateway starts by itself
    #[command(hide = true)]
    TelegramClient,
    /// Make conf files from the settings of another program
    Import {
        #[command(subcommand)]
        from: import::From,
    },
    /// Look at plugins
    Plugin(plugin::PluginArgs),
}

/// Does what the arguments of this process say; the value is the exit code.
pub fn main() -> u8 {
    let Arguments { conf, json, verb } = Arguments::parse();
    let done = match verb {
        Verb::Run { until_stdin_closes } => run::run(conf.as_deref(), until_stdin_closes),
        Verb::Demo(arguments) => demo::run(&arguments, json),
        Verb::Check { effective } => check::run(conf.as_deref(), effective, json),
        Verb::Passwd {
            user,
            realm,
            md5_only,
            sha512_256,
        } => {
            let hashes = match (md5_only, sha512_256) {
                (true, _) => Hashes::Md5,
                (false, false) => Hashes::Md5AndSha256,
                (false, true) => Hashes::All,
            };
            passwd::run(conf.as_deref(), &user, realm.as_deref(), hashes, json)
        }
        Verb::Status => ask::status(conf.as_deref(), json),
        Verb::Reload => ask::reload(conf.as_deref(), json),
        Verb::Calls { id } => ask::calls(conf.as_deref(), json, id.as_deref()),
        Verb::Route { from, number } => route::run(conf.as_deref(), json, &from, &number),
        Verb::Phones => ask::phones(conf.as_deref(), json),
        Verb::Locked => ask::locked(conf.as_deref(), json),
        Verb::Unlock { who } => ask::unlock(conf.as_deref(), json, who),
        Verb::Hangup { id } => ask::hangup(conf.as_deref(), json, id),
        Verb::Hub { until_stdin_closes } => run::hub(conf.as_deref(), until_stdin_closes),
        Verb::Reflector { until_stdin_closes } => run::reflector(conf.as_deref(), until_stdin_closes),
        Verb::Invite { user, revoke: true, .. } => ask::revoke(conf.as_deref(), json, user),
        Verb::Invite { user, gateway, .. } => ask::invite(conf.as_deref(), json, user, gateway),
        Verb::Login { account, qr } => login::login(conf.as_deref(), json, &account, qr),
        Verb::Logout { account } => login::logout(conf.as_deref(), json, &account),
        Verb::TelegramClient => telegram::client_process(),
        Verb::Import { from } => import::run(&from, json),
        Verb::Plugin(arguments) => plugins(conf.as_deref(), json, arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("quartet: {error:#}");
        1
    })
}

/// What settings of tg2sip become, or why they are refused: the names of the conf files.
///
/// # Errors
/// A sentence that says what is wrong with them.
#[cfg(feature = "fuzzing")]
pub fn import_tg2sip(text: &str) -> anyhow::Result<Vec<&'static str>> {
    import::names(text)
}

fn plugins(conf: Option<&Path>, json: bool, arguments: plugin::PluginArgs) -> anyhow::Result<u8> {
    if !arguments.needs_settings() {
        return plugin::run(arguments, json, None);
    }
    let Some(loaded) = run::load(conf)? else { return Ok(1) };
    plugin::run(arguments, json, Some(&loaded.settings))
}

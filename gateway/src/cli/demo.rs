//! `quartet demo`: the visible main job, once, or staying up for a person's softphone.
#![allow(clippy::print_stdout, reason = "a verb of the command line prints its answer")]

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::demo::line::Source;
use crate::demo::{Stage, e2ee_peer, symbols};
use crate::process;

/// Options of `quartet demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArguments {
    /// After the call, stay up with the user `echo`, for a softphone of yours
    #[arg(long)]
    stay: bool,
    /// Where the plugins are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

/// Shows a call.
///
/// # Errors
/// If the call does not come about, or what the two ends saw and heard does not agree.
pub(super) fn run(arguments: &DemoArguments, json: bool) -> anyhow::Result<u8> {
    // Before the first password and key.
    process::forbid_core_dumps().context("core dumps cannot be switched off, and one would hold keys")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(show(arguments, json))
}

async fn show(arguments: &DemoArguments, json: bool) -> anyhow::Result<u8> {
    let program = std::env::current_exe().context("where this program stands")?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut print = |line: &str| {
        if !json {
            println!("{line}");
        }
    };
    // 5060 is what a softphone expects; a demo that ends by itself takes any port.
    let port = if arguments.stay && UdpSocket::bind("127.0.0.1:5060").is_ok() {
        5060
    } else {
        0
    };
    let beside = program.parent().context("the program has no folder")?.to_owned();
    let plugins = arguments.plugins.clone().unwrap_or(beside);
    if let Err(error) = std::fs::read_dir(&plugins) {
        bail!(
            "--plugins {}: {error}; name the folder that the plugins were built into",
            plugins.display()
        );
    }
    let first = async {
        let mut stage = Stage::build(&program, &plugins, port).await?;
        let heard = stage.call(&mut print).await?;
        anyhow::Ok((stage, heard))
    };
    let (mut stage, heard) = tokio::select! {
        done = first => done?,
        _ = interrupt.recv() => return Ok(1),
        _ = terminate.recv() => return Ok(1),
        _ = hang_up.recv() => return Ok(1),
    };
    print("");
    print(&format!("emojis at the gateway    {}", heard.emojis_caller.join(" ")));
    print(&format!("emojis at the E2EE user  {}", heard.emojis_callee.join(" ")));
    print(&format!("spoken to the handset    {}", heard.spoken.join(", ")));
    print(&format!("tone at the handset      {} Hz", heard.tone_at_phone_hz));
    print(&format!("tone at the E2EE user    {} Hz", heard.tone_at_peer_hz));
    print(&format!("set up in                {} ms", heard.setup_ms));
    if json {
        println!("{}", serde_json::to_string(&heard)?);
    }
    if !arguments.stay {
        return Ok(0);
    }
    stage.peer.line().say(Source::Echo);
    let sip = stage.gateway.sip()?;
    print("\nThe gateway stays up. Enter this account into a softphone on this machine:\n");
    print("  user      100");
    print(&format!("  password  {}", stage.password));
    print(&format!("  server    {sip}   (UDP)\n"));
    print(&format!(
        "and dial  echo  (sip:echo@{sip}): an encrypted user that sends back what it hears."
    ));
    print("The words in your ear must be those of the emojis shown here. Ctrl-C ends.\n");
    if json {
        let account = serde_json::json!({ "user": "100", "password": stage.password, "server": sip, "dial": "echo" });
        println!("{account}");
    }
    loop {
        tokio::select! {
            event = stage.peer.next(Duration::from_secs(3600)) => match event {
                Some(event) => tell(&event, &mut print),
                None if stage.peer.is_gone() => bail!("the gateway is gone:\n{}", stage.gateway.log()),
                None => {}
            },
            _ = hang_up.recv() => break,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    print("\nstopping");
    Ok(0)
}

fn tell(event: &e2ee_peer::Event, print: &mut impl FnMut(&str)) {
    match event {
        e2ee_peer::Event::Called(from) => print(&format!("echo: {from} calls")),
        e2ee_peer::Event::Emojis(emojis) => {
            let words: Vec<_> = emojis.iter().map(|emoji| emoji.word()).collect();
            print(&format!("echo: {}   {}", symbols(emojis).join(" "), words.join(", ")));
        }
        e2ee_peer::Event::Connected => print("echo: connected"),
        e2ee_peer::Event::Ended(cause) => print(&format!("echo: ended ({cause})")),
        e2ee_peer::Event::Ringing | e2ee_peer::Event::Sound(_) => {}
    }
}

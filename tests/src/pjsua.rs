//! pjsua2, a phone: `tests/peers/pjsua_phone.py` says what it can be told to do.

use std::fmt::Display;
use std::process::Stdio;

use tokio::process::Command;

use crate::house::PASSWORD;
use crate::peers;

/// A phone of this account, yet to be told what to do and to be run; none where pjsua2 is missing. It ends when it is dropped.
pub fn phone(gateway: impl Display, user: &str) -> Option<Command> {
    let mut command = Command::new(peers::python()?);
    command
        .arg(peers::root().join("tests/peers/pjsua_phone.py"))
        .args(["--gateway", &gateway.to_string()])
        .args(["--user", user, "--password", PASSWORD])
        .stdout(Stdio::null())
        .kill_on_drop(true);
    Some(command)
}

/// Runs it to its end, and gives what it has said.
pub async fn said(command: &mut Command) -> String {
    let out = command.output().await.expect("python runs");
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

//! The control socket: one JSON line asks, one JSON line answers. Mode 0600, so only the operator's user may ask.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::AcceptErrors;
use crate::permissions::{FaultReason, Trusted, folder_of};

/// The longest question; anything longer is not one of ours.
const MAX_LINE: u64 = 4096;

/// How long a client may take to ask, and we to answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a reload, which may read many recordings, and twice.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// What an operator asks a running gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// Counters and the addresses really bound.
    Status,
    /// The calls there are.
    Calls,
    /// The phones that are registered.
    Phones,
    /// An account on the hub, made if need be, and a new token for it.
    Invite {
        /// Its name.
        user: String,
        /// Whether it is for a gateway elsewhere.
        #[serde(default)]
        gateway: bool,
    },
    /// Takes all tokens of an account back.
    Revoke {
        /// Its name.
        user: String,
    },
    /// Sources and accounts whose logins are not judged for now.
    Locked,
    /// Forgets their failed logins.
    Unlock {
        /// An address of the source, or the account.
        who: String,
    },
    /// Reads the conf files anew and puts them into force.
    Reload,
    /// Ends a call.
    Hangup {
        /// Its key, as `calls` shows it.
        id: String,
    },
}

/// What the gateway says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// What was asked for.
    Ok(serde_json::Value),
    /// Why there is no answer.
    Error(String),
}

/// A question on its way to the signalling task.
#[derive(Debug)]
pub struct PendingControlRequest {
    /// What is asked.
    pub question: ControlRequest,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Reply>,
}

/// Binds the socket; a stale file of a dead gateway is replaced, a living one's is not.
///
/// # Errors
/// If another gateway answers there, or the folder cannot be written.
pub async fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            bail!(
                "a gateway already runs with the control socket {}: stop it, or set another [control] path",
                path.display()
            );
        }
        // Only what a gateway left: anything else that stands there is not ours to remove.
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        if !is_socket {
            bail!(
                "{} is no socket; move it away, or set another [control] path",
                path.display()
            );
        }
        std::fs::remove_file(path)
            .with_context(|| format!("cannot replace the old control socket {}", path.display()))?;
    }
    // Made under another name, so that it is never there with the rights of the umask.
    let making = path.with_extension(format!("{}.new", std::process::id()));
    let made = UnixListener::bind(&making).and_then(|listener| {
        std::fs::set_permissions(&making, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&making, path)?;
        Ok(listener)
    });
    made.with_context(|| format!("cannot make the control socket {}; see [control] path", path.display()))
}

/// Serves the socket until the signalling task is gone.
pub async fn serve(listener: UnixListener, asked: mpsc::Sender<PendingControlRequest>) {
    let mut errors = AcceptErrors::new("the control socket");
    while !asked.is_closed() {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                errors.wait_out(&error).await;
                continue;
            }
        };
        let asked = asked.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(stream, asked).await {
                tracing::debug!(%error, "control connection");
            }
        });
    }
}

async fn answer(stream: UnixStream, asked: mpsc::Sender<PendingControlRequest>) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(MAX_LINE));
    timeout(REPLY_TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(question) => {
            let limit = if question == ControlRequest::Reload {
                RELOAD_TIMEOUT
            } else {
                REPLY_TIMEOUT
            };
            let (reply, answer) = oneshot::channel();
            asked.send(PendingControlRequest { question, reply }).await.ok();
            timeout(limit, answer)
                .await
                .unwrap_or_else(|_| Ok(Reply::Error("the gateway is too busy to answer".into())))
                .unwrap_or_else(|_| Reply::Error("the gateway is stopping".into()))
        }
        Err(error) => Reply::Error(format!("not a question of this version: {error}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    timeout(REPLY_TIMEOUT, write.write_all(&text)).await??;
    Ok(())
}

/// Asks a running gateway.
///
/// # Errors
/// If none runs there, or it refuses.
pub async fn ask(path: &Path, question: &ControlRequest) -> anyhow::Result<serde_json::Value> {
    if let Some(owner) = stranger(path) {
        bail!(
            "{} belongs to user {owner}, and others may make a socket there: who answers is not the gateway; set [control] path to a \
             folder of its own",
            path.display()
        );
    }
    let mut stream = UnixStream::connect(path).await.with_context(|| {
        format!(
            "no gateway answers at {}: start one with `quartet run`, or name its folder with --conf",
            path.display()
        )
    })?;
    let mut text = serde_json::to_vec(question)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    match serde_json::from_str(&line).context("the gateway closed the control socket without an answer")? {
        Reply::Ok(value) => Ok(value),
        Reply::Error(error) => bail!(error),
    }
}

/// Whose socket this is, if somebody else could have made it: in a folder for everybody, as `/tmp`, only our own is believed.
fn stranger(path: &Path) -> Option<u32> {
    let fault = Trusted::by_this_process().shared(&folder_of(path))?;
    let owner = std::fs::symlink_metadata(path).ok()?.uid();
    let is_ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
    (matches!(fault.reason, FaultReason::Writable { .. }) && !is_ours).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("quartet-control-{}-{name}.sock", std::process::id()))
    }

    /// `/tmp` is such a folder; only root can make a socket somebody else's.
    #[tokio::test]
    async fn a_strangers_socket_is_not_asked() {
        let path = socket("stranger");
        let listener = UnixListener::bind(&path).unwrap();
        if !Trusted::is_everybody() && std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
            let error = ask(&path, &ControlRequest::Status).await.unwrap_err().to_string();
            assert!(error.contains("belongs to user 12345"), "{error}");
        }
        drop(listener);
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_not_removed() {
        let path = socket("file");
        std::fs::write(&path, "mine").unwrap();
        let error = bind(&path).await.unwrap_err();
        assert!(error.to_string().contains("is no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn a_question_is_answered_and_nonsense_refused() {
        let path = socket("ask");
        let listener = bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (asked, mut questions) = mpsc::channel(1);
        let server = tokio::spawn(serve(listener, asked));
        tokio::spawn(async move {
            while let Some(PendingControlRequest { question, reply }) = questions.recv().await {
                let answer = match question {
                    ControlRequest::Invite { user, .. } => Reply::Ok(serde_json::json!({ "token": user })),
                    ControlRequest::Status
                    | ControlRequest::Calls
                    | ControlRequest::Phones
                    | ControlRequest::Locked
                    | ControlRequest::Unlock { .. }
                    | ControlRequest::Revoke { .. }
                    | ControlRequest::Reload
                    | ControlRequest::Hangup { .. } => Reply::Error("no".into()),
                };
                reply.send(answer).unwrap();
            }
        });
        let (user, gateway) = ("anna".into(), false);
        let ok = ask(&path, &ControlRequest::Invite { user, gateway }).await.unwrap();
        assert_eq!(ok["token"], "anna");
        let error = ask(&path, &ControlRequest::Status).await.unwrap_err();
        assert_eq!(error.to_string(), "no");
        let mut raw = UnixStream::connect(&path).await.unwrap();
        raw.write_all(b"hello\n").await.unwrap();
        let mut line = String::new();
        BufReader::new(raw).read_line(&mut line).await.unwrap();
        assert!(line.contains("not a question"), "{line}");
        assert!(bind(&path).await.unwrap_err().to_string().contains("already runs"));
        server.abort();
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_missing_gateway_named() {
        let path = socket("stale");
        drop(bind(&path).await.unwrap());
        assert!(path.exists());
        assert!(
            ask(&path, &ControlRequest::Status)
                .await
                .unwrap_err()
                .to_string()
                .contains("no gateway answers")
        );
        drop(bind(&path).await.unwrap());
        std::fs::remove_file(path).unwrap();
    }
}

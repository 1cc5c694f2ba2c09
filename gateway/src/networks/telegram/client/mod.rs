//! The client of one account: it carries requests and updates between the service and the machine, and says where the login stands.
//!
//! MTProto itself is grammers'. Nothing is asked twice by itself, save what shows whether the connection lives; what the service says of
//! pauses is for the machine to honour.

pub mod access;
pub mod login;
mod qr;
pub mod session;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use grammers_mtsender::{InvocationError, SenderPool, SenderPoolHandle, UpdatesConfiguration, UpdatesReceiver};
use grammers_tl_types::{Deserializable as _, Serializable as _, enums, functions};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::access::Access;
use self::session::Login;
use super::frame::{Frame, Order, Report, RpcError};

/// Updates that may wait. A call makes some twenty at once, and what does not fit is lost.
const UPDATES: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// How often it is looked whether the connection lives, and how long that may take: an open socket that says nothing shows nothing.
const WATCH: Duration = Duration::from_secs(30);
const ALIVE: Duration = Duration::from_secs(10);
/// Pauses between attempts to connect.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// How long the last requests of a client that ends may take.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How often it is looked whether somebody has logged in meanwhile.
const LOGGED_OUT: Duration = Duration::from_secs(5);

/// What a client is made from.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClientSetup {
    /// The account's place.
    pub account: u32,
    /// How it reaches the service.
    pub access: Access,
}

/// Runs until nobody gives orders any more.
pub async fn run(setup: ClientSetup, mut orders: mpsc::Receiver<Order>, reports: mpsc::Sender<Vec<u8>>) {
    let link = Link {
        account: setup.account,
        reports,
    };
    let mut is_told = false;
    loop {
        let opened = setup.access.login();
        let why = match opened {
            Ok(login) if login.is_logged_in() => {
                is_told = false;
                let login = Arc::new(login);
                let why = match serve(&setup, &login, &mut orders, &link).await {
                    End::Stopped => return,
                    End::Away(why) => {
                        tracing::warn!(account = setup.account, why, "telegram: no way to the service");
                        if !refuse_for(&link, &mut orders, MAX_PAUSE).await {
                            return;
                        }
                        continue;
                    }
                    End::Out(why) => why,
                };
                link.say(Report::Out(why)).await;
                // Until somebody logs in anew: nobody else writes it from here on.
                let modified = login.modified();
                while login.modified() == modified {
                    if !refuse_for(&link, &mut orders, LOGGED_OUT).await {
                        return;
                    }
                }
                continue;
            }
            Ok(_) => "nobody has logged in yet".to_owned(),
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut is_told, true) {
            link.say(Report::Out(why)).await;
        }
        if !refuse_for(&link, &mut orders, LOGGED_OUT).await {
            return;
        }
    }
}

/// Refuses what is asked, as long as there is no way to the service; false if nobody asks any more.
async fn refuse_for(link: &Link, orders: &mut mpsc::Receiver<Order>, pause: Duration) -> bool {
    let pause = sleep(pause);
    tokio::pin!(pause);
    loop {
        tokio::select! {
            () = &mut pause => return true,
            order = orders.recv() => match order {
                Some(Order::Request { number, .. }) => {
                    let error = RpcError::unreachable();
                    link.say(Report::Error { number, error }).await;
                }
                Some(Order::Keep(_)) => {}
                None => return false,
            }
        }
    }
}

/// How a login came to its end.
enum End {
    /// Nobody gives orders.
    Stopped,
    /// The service says that it is gone.
    Out(String),
    /// There is no way to the service now.
    Away(String),
}

/// The way to the machine.
#[derive(Clone, Debug)]
struct Link {
    account: u32,
    reports: mpsc::Sender<Vec<u8>>,
}

impl Link {
    async fn say(&self, word: Report) {
        let account = self.account;
        // If the machine is gone there is nobody to tell.
        let _ = self.reports.send(Frame { account, word }.to_bytes()).await;
    }
}

/// Serves one login.
async fn serve(setup: &ClientSetup, login: &Arc<Login>, orders: &mut mpsc::Receiver<Order>, link: &Link) -> End {
    let SenderPool {
        runner,
        handle,
        updates,
    } = match setup.access.pool(login).await {
        Ok(pool) => pool,
        Err(error) => return End::Away(error.to_string()),
    };
    let erased = Arc::clone(&handle.session);
    let thin = handle.thin.clone();
    let runner = tokio::spawn(runner.run());
    let receiver =
        UpdatesReceiver::create(thin.clone(), erased, updates, UpdatesConfiguration { catch_up: false }).await;
    let mut requests = JoinSet::new();
    let listener = match receiver {
        Ok(receiver) => tokio::spawn(listen(receiver, link.clone())),
        Err(error) => return End::Out(format!("the login cannot be used: {error}")),
    };
    link.say(Report::Kept(login.kept())).await;
    let mut watch = interval(WATCH);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut is_up, mut pause) = (false, MIN_PAUSE);
    let end = loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => break End::Stopped,
                Some(Order::Keep(kept)) => {
                    if let Err(error) = login.keep(kept) {
                        tracing::error!(%error, "calls that a crash leaves behind would stay");
                    }
                }
                Some(Order::Request { number, body }) => {
                    _ = requests.spawn(request(thin.clone(), login.home(), link.clone(), number, body));
                }
            },
            Some(Ok(failed)) = requests.join_next() => match failed {
                Some(RpcError { code: 401, name, .. }) => break End::Out(name),
                // What was not heard is told again once the connection is known to be there.
                Some(RpcError { code: 0, .. }) => {
                    if std::mem::take(&mut is_up) {
                        link.say(Report::Away).await;
                    }
                    watch.reset_after(pause);
                }
                Some(_) | None => {}
            },
            _ = watch.tick() => {
                match look(&thin, login.home()).await {
                    Ok(()) => {
                        pause = MIN_PAUSE;
                        if !std::mem::replace(&mut is_up, true) {
                            tracing::info!(account = setup.account, "telegram: connected");
                            link.say(Report::Up).await;
                        }
                    }
                    Err(error) if error.code == 401 => break End::Out(error.name),
                    Err(error) => {
                        if std::mem::take(&mut is_up) {
                            tracing::warn!(account = setup.account, code = error.code, error = error.name, "telegram: the connection is gone");
                            link.say(Report::Away).await;
                        }
                        thin.disconnect_from_dc(login.home());
                        // Sooner than the next look, and less and less soon.
                        watch.reset_after(pause);
                        pause = (pause * 2).min(MAX_PAUSE);
                    }
                }
            }
        }
    };
    if let End::Stopped = end {
        // The last words of calls.
        let _ = timeout(LAST_WORDS, async { while requests.join_next().await.is_some() {} }).await;
    }
    listener.abort();
    thin.quit();
    // It ends by itself once its connections are closed.
    let _ = timeout(ALIVE, runner).await;
    end
}

/// Asks for one thing; the error, if that was all.
async fn request(thin: SenderPoolHandle, home: i32, link: Link, number: u64, body: Vec<u8>) -> Option<RpcError> {
    match thin.raw_invoke_in_dc(home, body).await {
        Ok(body) => {
            link.say(Report::Answer { number, body }).await;
            None
        }
        Err(error) => {
            let error = rpc_error(&error);
            link.say(Report::Error {
                number,
                error: error.clone(),
            })
            .await;
            Some(error)
        }
    }
}

/// Whether the service answers.
async fn look(thin: &SenderPoolHandle, home: i32) -> Result<(), RpcError> {
    let asked = thin.raw_invoke_in_dc(home, functions::updates::GetState {}.to_bytes());
    match timeout(ALIVE, asked).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(rpc_error(&error)),
        Err(_) => Err(RpcError::unreachable()),
    }
}

/// Passes updates on, as long as there are any.
async fn listen(mut receiver: UpdatesReceiver, link: Link) {
    loop {
        match receiver.next().await {
            Ok((updates, users, _)) => {
                for (update, _) in updates {
                    link.say(Report::Update(update_body(&users, &update))).await;
                }
            }
            // The connection is gone; whether that is so the watch finds out.
            Err(error) => {
                tracing::debug!(%error, "telegram: updates");
                sleep(MIN_PAUSE).await;
            }
        }
    }
}

/// As the machine reads it; what it has no use for is left to it.
fn update_body(users: &Vec<enums::User>, update: &enums::Update) -> Vec<u8> {
    let mut body = users.to_bytes();
    update.serialize(&mut body);
    body
}

/// What an error is in the service's words.
fn rpc_error(error: &InvocationError) -> RpcError {
    match error {
        InvocationError::Rpc(error) => RpcError::of_service(error.code, &error.name, error.value),
        other @ (InvocationError::Io(_)
        | InvocationError::Dropped(_)
        | InvocationError::Transport(_)
        | InvocationError::Deserialize(_)
        | InvocationError::Authentication(_)
        | InvocationError::Session(_)
        | InvocationError::InvalidDc) => {
            tracing::debug!(error = %other, "telegram: a request");
            RpcError::unreachable()
        }
    }
}

/// Asks for one thing, and reads the answer.
async fn ask<R: grammers_tl_types::RemoteCall>(
    thin: &SenderPoolHandle,
    home: i32,
    request: &R,
) -> Result<R::Return, RpcError> {
    let body = thin.raw_invoke_in_dc(home, request.to_bytes()).await;
    let body = body.map_err(|error| rpc_error(&error))?;
    R::Return::from_bytes(&body).map_err(|_| RpcError {
        code: 0,
        name: "an answer that is not understood".to_owned(),
        value: None,
    })
}

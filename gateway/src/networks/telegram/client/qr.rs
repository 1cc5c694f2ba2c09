//! Logging in by a picture that an app of the account looks at.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grammers_mtsender::SenderPoolHandle;
use grammers_session::updates::UpdatesLike;
use grammers_tl_types::{enums, functions, types};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ask;
use super::login::{LoginSetup, MOVES, Person, check_password, move_to, sentence, user_of};
use super::session::Login;

/// How long a picture is shown before it is asked for another; the service takes one for so long.
const SHOWN: Duration = Duration::from_secs(30);
/// How many are shown before nobody is believed to look.
const PICTURES: usize = 10;

/// Shows pictures until somebody has looked at one.
pub(super) async fn enter(
    setup: &LoginSetup<'_>,
    login: &Arc<Login>,
    thin: &SenderPoolHandle,
    updates: &mut mpsc::Receiver<UpdatesLike>,
    person: &mut dyn Person,
) -> anyhow::Result<types::User> {
    let (mut shown, mut import) = (Vec::new(), None);
    let (mut pictures, mut moves) = (0, 0);
    loop {
        let asked = match import.take() {
            None => ask(thin, login.home(), &export(setup)).await,
            Some(token) => ask(thin, login.home(), &functions::auth::ImportLoginToken { token }).await,
        };
        match asked {
            Ok(enums::auth::LoginToken::Success(success)) => return user_of(success.authorization),
            Ok(enums::auth::LoginToken::MigrateTo(elsewhere)) => {
                moves += 1;
                anyhow::ensure!(
                    moves <= MOVES,
                    "the service sends us from one data centre to the next; try again later"
                );
                move_to(login, thin, elsewhere.dc_id).await?;
                import = Some(elsewhere.token);
            }
            Ok(enums::auth::LoginToken::Token(token)) => {
                if token.token != shown {
                    anyhow::ensure!(
                        pictures < PICTURES,
                        "nobody has looked at the picture; run the command again"
                    );
                    pictures += 1;
                    person.show(&format!("tg://login?token={}", URL_SAFE_NO_PAD.encode(&token.token)));
                    shown = token.token;
                }
                // Whatever comes, it is asked; and when the picture is too old, for another one.
                let _ = timeout(SHOWN, updates.recv()).await;
            }
            Err(error) if error.name == "SESSION_PASSWORD_NEEDED" => return check_password(login, thin, person).await,
            Err(error) => return Err(sentence(&error)),
        }
    }
}

fn export(setup: &LoginSetup<'_>) -> functions::auth::ExportLoginToken {
    functions::auth::ExportLoginToken {
        api_id: setup.access.api_id,
        api_hash: setup.api_hash.to_owned(),
        except_ids: Vec::new(),
    }
}

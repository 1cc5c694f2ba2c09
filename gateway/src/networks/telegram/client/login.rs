//! Logging in: a code that the service sends, a password if the account has one.

use std::sync::Arc;

use grammers_crypto::two_factor_auth::{calculate_2fa, check_p_and_g};
use grammers_mtsender::{SenderPool, SenderPoolHandle};
use grammers_session::Session as _;
use grammers_tl_types::{enums, functions, types};

use super::access::Access;
use super::session::Login;
use super::{ask, qr};
use crate::log::one_line;
use crate::networks::telegram::frame::RpcError;

/// How often a code or a password may be wrong.
const ATTEMPTS: usize = 3;
/// How often the service may send us to another data centre.
pub(super) const MOVES: usize = 3;

/// Who answers the questions of a login.
pub trait Person {
    /// Something that everybody may see.
    ///
    /// # Errors
    /// If there is nobody to answer.
    fn ask(&mut self, question: &str) -> anyhow::Result<String>;

    /// Something that nobody may see.
    ///
    /// # Errors
    /// If there is nobody to answer.
    fn ask_secret(&mut self, question: &str) -> anyhow::Result<zeroize::Zeroizing<String>>;

    /// Tells something.
    fn tell(&mut self, sentence: &str);

    /// Shows a link that an app of the account is to look at.
    fn show(&mut self, link: &str);
}

/// What a login needs to know.
pub struct LoginSetup<'a> {
    /// How the service is reached, and where the login is kept.
    pub access: &'a Access,
    /// The secret that belongs to its application.
    pub api_hash: &'a str,
    /// Whether an app of the account looks at a picture, instead of a code.
    pub by_qr: bool,
}

impl std::fmt::Debug for LoginSetup<'_> {
    /// Prints no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoginSetup({:?})", self.access)
    }
}

/// Logs an account in; says who it is.
///
/// # Errors
/// A sentence that says what to do.
pub async fn log_in(setup: LoginSetup<'_>, person: &mut dyn Person) -> anyhow::Result<String> {
    let login = Arc::new(setup.access.login()?);
    if setup.access.is_test && !login.is_logged_in() {
        login.go_to_test_service()?;
    }
    let SenderPool {
        runner,
        handle,
        mut updates,
    } = setup.access.pool(&login).await?;
    let thin = handle.thin.clone();
    let runner = tokio::spawn(runner.run());
    let entered = if setup.by_qr {
        qr::enter(&setup, &login, &thin, &mut updates, person).await
    } else {
        enter(&setup, &login, &thin, person).await
    };
    thin.quit();
    let _ = runner.await;
    let user = entered?;
    login.logged_in(user.id, user.access_hash.unwrap_or_default())?;
    Ok(name(&user))
}

/// Ends a login at the service and here.
///
/// # Errors
/// If the file cannot be written; that the service is not there is no error.
pub async fn log_out(access: &Access) -> anyhow::Result<bool> {
    let login = Arc::new(access.login()?);
    if !login.is_logged_in() {
        return Ok(false);
    }
    let SenderPool { runner, handle, .. } = access.pool(&login).await?;
    let thin = handle.thin.clone();
    let runner = tokio::spawn(runner.run());
    let told = ask(&thin, login.home(), &functions::auth::LogOut {}).await;
    thin.quit();
    let _ = runner.await;
    login.logged_out()?;
    if let Err(error) = told {
        tracing::warn!(
            code = error.code,
            error = error.name,
            "the service was not told; end the session in one of the account's apps as well"
        );
    }
    Ok(true)
}

fn name(user: &types::User) -> String {
    let named = user.username.as_ref().map(|name| format!("@{name}"));
    let shown = named.or_else(|| user.first_name.clone());
    shown.map_or_else(|| user.id.to_string(), |name| one_line(&name).into_owned())
}

async fn enter(
    setup: &LoginSetup<'_>,
    login: &Login,
    thin: &SenderPoolHandle,
    person: &mut dyn Person,
) -> anyhow::Result<types::User> {
    let phone = person.ask("Telephone number of the account, with + and country code: ")?;
    let phone = phone.trim().to_owned();
    let (sent, hash) = send_code(setup, login, thin, &phone).await?;
    person.tell(sent);
    for attempt in 1..=ATTEMPTS {
        let code = person.ask("The code: ")?;
        let request = functions::auth::SignIn {
            phone_number: phone.clone(),
            phone_code_hash: hash.clone(),
            phone_code: Some(code.trim().to_owned()),
            email_verification: None,
        };
        match ask(thin, login.home(), &request).await {
            Ok(answer) => return user_of(answer),
            Err(error) if error.name == "SESSION_PASSWORD_NEEDED" => return check_password(login, thin, person).await,
            Err(error) if error.name.starts_with("PHONE_CODE_") && attempt < ATTEMPTS => {
                person.tell("That is not the code.");
            }
            Err(error) => return Err(sentence(&error)),
        }
    }
    anyhow::bail!("the code was wrong too often; run the command again for another one")
}

/// The account lives at another data centre.
pub(super) async fn move_to(login: &Login, thin: &SenderPoolHandle, home: i32) -> anyhow::Result<()> {
    thin.disconnect_from_dc(login.home());
    login.set_home_dc_id(home).await?;
    Ok(())
}

/// Has the service send a code; how it comes, and what the service calls it.
async fn send_code(
    setup: &LoginSetup<'_>,
    login: &Login,
    thin: &SenderPoolHandle,
    phone: &str,
) -> anyhow::Result<(&'static str, String)> {
    let request = functions::auth::SendCode {
        phone_number: phone.to_owned(),
        api_id: setup.access.api_id,
        api_hash: setup.api_hash.to_owned(),
        settings: types::CodeSettings {
            allow_flashcall: false,
            current_number: false,
            allow_app_hash: false,
            allow_missed_call: false,
            allow_firebase: false,
            unknown_number: false,
            logout_tokens: None,
            token: None,
            app_sandbox: None,
        }
        .into(),
    };
    for _ in 0..MOVES {
        let sent = match ask(thin, login.home(), &request).await {
            Ok(enums::auth::SentCode::Code(sent)) => sent,
            Ok(enums::auth::SentCode::Success(_)) => {
                anyhow::bail!("the service wants no code; log in with an app first")
            }
            Ok(enums::auth::SentCode::PaymentRequired(_)) => {
                anyhow::bail!("the service wants money for the code; log in with one of its own apps first")
            }
            Err(error) if error.code == 303 => {
                let home = error.value.and_then(|home| i32::try_from(home).ok());
                let home = home.ok_or_else(|| sentence(&error))?;
                move_to(login, thin, home).await?;
                continue;
            }
            Err(error) => return Err(sentence(&error)),
        };
        let how = match sent.r#type {
            enums::auth::SentCodeType::App(_) => {
                "The code is in a message of the service, in the account's other apps."
            }
            enums::auth::SentCodeType::Sms(_)
            | enums::auth::SentCodeType::FirebaseSms(_)
            | enums::auth::SentCodeType::SmsWord(_)
            | enums::auth::SentCodeType::SmsPhrase(_)
            | enums::auth::SentCodeType::FragmentSms(_) => "The code comes by SMS.",
            enums::auth::SentCodeType::Call(_) => "The code is told by a telephone call.",
            enums::auth::SentCodeType::FlashCall(_) | enums::auth::SentCodeType::MissedCall(_) => {
                "The code is in the number of a call that comes now: its last digits."
            }
            enums::auth::SentCodeType::EmailCode(_) => "The code comes by e-mail.",
            enums::auth::SentCodeType::SetUpEmailRequired(_) => {
                anyhow::bail!("the account has to be given an e-mail address first, in one of its apps")
            }
        };
        return Ok((how, sent.phone_code_hash));
    }
    anyhow::bail!("the service sends us from one data centre to the next; try again later")
}

pub(super) fn user_of(answer: enums::auth::Authorization) -> anyhow::Result<types::User> {
    match answer {
        enums::auth::Authorization::Authorization(entered) => match entered.user {
            enums::User::User(user) => Ok(user),
            enums::User::Empty(_) => anyhow::bail!("the service does not say who that is"),
        },
        enums::auth::Authorization::SignUpRequired(_) => {
            anyhow::bail!("there is no account of that number yet; make one with an app of the service first")
        }
    }
}

pub(super) async fn check_password(
    login: &Login,
    thin: &SenderPoolHandle,
    person: &mut dyn Person,
) -> anyhow::Result<types::User> {
    for attempt in 1..=ATTEMPTS {
        let asked = ask(thin, login.home(), &functions::account::GetPassword {}).await;
        let enums::account::Password::Password(wanted) = asked.map_err(|error| sentence(&error))?;
        let Some(enums::PasswordKdfAlgo::Sha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow(algorithm)) =
            wanted.current_algo
        else {
            anyhow::bail!("the password is checked in a way that this program does not know; a newer one may");
        };
        let (Some(theirs), Some(id)) = (wanted.srp_b, wanted.srp_id) else {
            anyhow::bail!("the service does not say how the password is checked; try again later");
        };
        if !check_p_and_g(&algorithm.p, &algorithm.g) {
            anyhow::bail!("the service wants the password checked in a group that is not safe; it was not told");
        }
        let hint = wanted
            .hint
            .map_or_else(String::new, |hint| format!(" (hint: {})", one_line(&hint)));
        let password = person.ask_secret(&format!("The password of the account{hint}: "))?;
        let (proof, ours) = calculate_2fa(
            &algorithm.salt1,
            &algorithm.salt2,
            &algorithm.p,
            &algorithm.g,
            theirs,
            wanted.secure_random,
            password.as_bytes(),
        );
        let password = types::InputCheckPasswordSrp {
            srp_id: id,
            a: ours.to_vec(),
            m1: proof.to_vec(),
        };
        let request = functions::auth::CheckPassword {
            password: password.into(),
        };
        match ask(thin, login.home(), &request).await {
            Ok(answer) => return user_of(answer),
            Err(error) if error.name == "PASSWORD_HASH_INVALID" && attempt < ATTEMPTS => {
                person.tell("That is not the password.");
            }
            Err(error) => return Err(sentence(&error)),
        }
    }
    anyhow::bail!("the password was wrong too often; nothing was changed")
}

/// What an error of the service means for who logs in.
pub(super) fn sentence(error: &RpcError) -> anyhow::Error {
    let what = match (error.code, error.name.as_str()) {
        (0, "") => "the service cannot be reached; look at this machine's network".to_owned(),
        (420, _) => format!(
            "the service wants a pause of {} seconds; do not try before",
            error.value.unwrap_or_default()
        ),
        (_, "PHONE_NUMBER_INVALID") => {
            "that is no telephone number of an account; begin it with + and the country code".to_owned()
        }
        (_, "PHONE_NUMBER_BANNED") => "the service has banned that account".to_owned(),
        (_, "API_ID_INVALID") => {
            "api_id and api_hash_file do not belong together; both are on my.telegram.org".to_owned()
        }
        (_, "PHONE_CODE_INVALID" | "PHONE_CODE_EXPIRED" | "PHONE_CODE_EMPTY") => {
            "that is not the code; run the command again for another one".to_owned()
        }
        (_, "PASSWORD_HASH_INVALID") => "that is not the password; nothing was changed".to_owned(),
        (code, name) => format!("the service refuses: {code} {name}"),
    };
    anyhow::anyhow!(what)
}

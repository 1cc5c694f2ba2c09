//! What a call would ask of the service, without asking.

use super::account::Line;
use super::dial::{self, Dialled};
use super::{Phone, PhoneConfig};

/// What one account would do for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub account: String,
    /// Requests of the service, in their order, or a sentence that says why there are none.
    pub asks: Result<Vec<&'static str>, String>,
}

/// What each account that could place a call to `to` would ask for; `kept` is what each has kept beside its login.
///
/// # Errors
/// A sentence, if `to` names no user or no account.
pub fn plan(config: PhoneConfig, kept: &[Vec<u8>], to: &str) -> Result<Vec<Plan>, String> {
    let Some((place, user)) = dial::split(to) else {
        return Err(format!(
            "\"{to}\" names no user: write NAME/@user, NAME/123456 or NAME/+4930123456"
        ));
    };
    let mut phone = Phone::new(config);
    for (line, kept) in phone.lines.iter_mut().zip(kept) {
        line.recall(kept, &[]);
    }
    let candidates = phone.candidates(place);
    if candidates.is_empty() {
        return Err(format!("\"{place}\" is no account and no pool"));
    }
    let of = |account: usize| Plan {
        account: phone.lines[account].name().to_owned(),
        asks: asks(&phone.lines[account], &user),
    };
    Ok(candidates.into_iter().map(of).collect())
}

fn asks(line: &Line, user: &Dialled) -> Result<Vec<&'static str>, String> {
    let call = "phone.requestCall";
    match user {
        Dialled::Number(_) if !line.config().dials_numbers => {
            Err("dials no telephone numbers: dial_numbers is false".to_owned())
        }
        user if line.peer(user).is_some() => Ok(vec![call]),
        Dialled::Name(_) => Ok(vec!["contacts.resolveUsername", call]),
        Dialled::Number(_) => Ok(vec![
            "contacts.resolvePhone",
            "contacts.importContacts and contacts.deleteContacts, if that does not tell",
            call,
        ]),
        Dialled::Id(_) => Err("has not met that number, and asking for it is no use".to_owned()),
    }
}

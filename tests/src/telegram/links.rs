//! Logins by a link that another device of the user accepts.

use std::collections::HashMap;

use grammers_tl_types::{enums, functions, types};

use super::mtproto::{Keys, unix};
use super::service::{Answer, Push, Service, To, ok, refused};

/// Seconds that a link is good.
const GOOD_FOR: i32 = 30;

/// Links that were shown, and by whom they were accepted.
#[derive(Default)]
pub(super) struct Links {
    tokens: HashMap<Vec<u8>, [u8; 8]>,
    accepted: HashMap<[u8; 8], i64>,
    /// The next one is for another data centre.
    pub(super) elsewhere: Option<i32>,
}

impl Service {
    pub(super) fn export_link(&mut self, keys: &mut Keys, key: [u8; 8]) -> Answer {
        if let Some(user) = self.links.accepted.remove(&key) {
            if self.users[&user].password.is_some() {
                self.proving.insert(key, (num_bigint::BigUint::default(), user));
                return Err(refused(401, "SESSION_PASSWORD_NEEDED"));
            }
            let entered = self.entered(key, user);
            return ok(&enums::auth::LoginToken::Success(types::auth::LoginTokenSuccess {
                authorization: entered,
            }));
        }
        let token = keys.bytes::<32>().to_vec();
        if let Some(dc_id) = self.links.elsewhere.take() {
            self.links.tokens.insert(token.clone(), key);
            return ok(&enums::auth::LoginToken::MigrateTo(types::auth::LoginTokenMigrateTo {
                dc_id,
                token,
            }));
        }
        self.links.tokens.insert(token.clone(), key);
        ok(&enums::auth::LoginToken::Token(types::auth::LoginToken {
            expires: unix() + GOOD_FOR,
            token,
        }))
    }

    /// A link that was begun at another data centre: whoever brings it has it from here on.
    pub(super) fn import_link(&mut self, keys: &mut Keys, key: [u8; 8], token: &[u8]) -> Answer {
        if self.links.tokens.remove(token).is_none() {
            return Err(refused(400, "AUTH_TOKEN_INVALID"));
        }
        self.export_link(keys, key)
    }

    pub(super) fn accept_link(
        &mut self,
        me: i64,
        asked: &functions::auth::AcceptLoginToken,
        pushes: &mut Vec<Push>,
    ) -> Answer {
        let key = self.links.tokens.remove(&asked.token);
        let key = key.ok_or_else(|| refused(400, "AUTH_TOKEN_INVALID"))?;
        self.links.accepted.insert(key, me);
        pushes.push(Push {
            to: To::Key(key),
            update: enums::Update::LoginToken,
            about: Vec::new(),
        });
        ok(&true)
    }
}

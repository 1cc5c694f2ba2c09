//! What the service knows and does: users, their logins, calls between them, and faults on order.

use std::collections::{BTreeMap, HashMap, VecDeque};

use grammers_tl_types::{Cursor, Deserializable as _, Identifiable as _, Serializable, enums, functions, types};
use num_bigint::BigUint;
use quartet_proto::e2ee::key_exchange::known_group;

use super::between::{Between, Overheard};
use super::calls::Call;
use super::config::config;
use super::links::Links;
use super::mtproto::{Keys, unix};

/// The code that everybody is sent.
pub const CODE: &str = "22222";

/// A user of the service.
#[derive(Clone, Debug)]
pub struct User {
    /// His number.
    pub id: i64,
    /// Digits alone.
    pub phone: String,
    /// His first name, and in lower case his user name.
    pub name: String,
    /// The password, if he has one.
    pub password: Option<String>,
}

impl User {
    /// One without a password.
    #[must_use]
    pub fn new(id: i64, name: &str) -> Self {
        Self {
            id,
            phone: format!("1555{id}"),
            name: name.to_owned(),
            password: None,
        }
    }

    pub(super) fn access_hash(&self) -> i64 {
        self.id * 7_919
    }

    pub(super) fn object(&self, is_self: bool) -> enums::User {
        // Two flag words, the id and one word more: a user of whom nothing is known.
        let mut bytes = types::User::CONSTRUCTOR_ID.to_le_bytes().to_vec();
        bytes.extend([0; 16]);
        let Ok(enums::User::User(mut user)) = enums::User::from_bytes(&bytes) else {
            unreachable!("a user of whom nothing is known");
        };
        (user.is_self, user.id, user.access_hash) = (is_self, self.id, Some(self.access_hash()));
        user.first_name = Some(self.name.clone());
        user.username = Some(self.name.to_lowercase());
        user.phone = Some(self.phone.clone());
        user.into()
    }
}

/// Something that goes wrong once.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The next request of this function is refused: its name, the code, and the error's name.
    Error(&'static str, i32, String),
    /// The callee of the next call is told another public value than the caller has committed to.
    WrongValue,
    /// Somebody is in the middle of the next call: both sides have a key with that one.
    Between,
    /// The next link of a login is for the data centre of this number.
    LinkElsewhere(i32),
    /// The next updates do not come: so many.
    Drop(usize),
    /// The next updates come twice: so many.
    Twice(usize),
}

/// Who is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// Every device of a user.
    User(i64),
    /// Every one but that with this key.
    Others(i64, [u8; 8]),
    /// That one, whether somebody is logged in there or not.
    Key([u8; 8]),
}

/// An update, for whom, and whom it is about.
pub(super) struct Push {
    pub(super) to: To,
    pub(super) update: enums::Update,
    pub(super) about: Vec<i64>,
}

/// A refusal.
pub(super) struct Refused(i32, String);

pub(super) type Answer = Result<Vec<u8>, Refused>;

/// The service.
pub struct Service {
    pub(super) users: BTreeMap<i64, User>,
    /// Who is logged in under which key.
    pub(super) logins: HashMap<[u8; 8], i64>,
    pub(super) calls: HashMap<i64, Call>,
    /// Whether media may go straight.
    pub p2p: bool,
    /// The servers of each call.
    pub connections: Vec<enums::PhoneConnection>,
    /// In this order.
    pub faults: VecDeque<Fault>,
    /// Each request: of whom, and what.
    pub requests: Vec<(i64, &'static str)>,
    /// Whether what was asked is kept whole.
    pub keeps_bodies: bool,
    /// It, from then on.
    pub bodies: Vec<Vec<u8>>,
    /// The versions that the service lets calls have; `None`: all that both sides speak.
    pub versions: Option<Vec<String>>,
    /// How long a call may take until a device has it, and may ring: in milliseconds.
    pub timers: (i32, i32),
    /// What calls said with somebody in the middle.
    pub overheard: Vec<Overheard>,
    pub(super) links: Links,
    /// How many messages each user has had.
    pub(super) messages: HashMap<i64, i32>,
    /// Passwords on their way: the server's exponent, by key.
    pub(super) proving: HashMap<[u8; 8], (BigUint, i64)>,
}

impl Service {
    pub(super) fn new(users: Vec<User>) -> Self {
        Self {
            users: users.into_iter().map(|user| (user.id, user)).collect(),
            logins: HashMap::new(),
            calls: HashMap::new(),
            p2p: true,
            connections: Vec::new(),
            faults: VecDeque::new(),
            requests: Vec::new(),
            keeps_bodies: false,
            bodies: Vec::new(),
            versions: None,
            timers: (20_000, 90_000),
            overheard: Vec::new(),
            links: Links::default(),
            messages: HashMap::new(),
            proving: HashMap::new(),
        }
    }

    /// Answers a request under that key, and says what others are to be told.
    pub(super) fn handle(&mut self, keys: &mut Keys, key: [u8; 8], function: u32, body: &[u8]) -> (Vec<u8>, Vec<Push>) {
        let me = self.logins.get(&key).copied();
        let name = grammers_tl_types::name_for_id(function);
        self.requests.push((me.unwrap_or_default(), name));
        if self.keeps_bodies {
            self.bodies.push(body.to_vec());
        }
        let mut pushes = Vec::new();
        let answer = match self.fault_of(name) {
            Some(refused) => Err(refused),
            None => self.answer(keys, (key, me), function, &mut Cursor::from_slice(body), &mut pushes),
        };
        let body = answer.unwrap_or_else(|Refused(error_code, error_message)| {
            enums::RpcError::Error(types::RpcError {
                error_code,
                error_message,
            })
            .to_bytes()
        });
        (body, pushes)
    }

    fn fault_of(&mut self, name: &str) -> Option<Refused> {
        let at = self
            .faults
            .iter()
            .position(|fault| matches!(fault, Fault::Error(of, ..) if *of == name))?;
        match self.faults.remove(at) {
            Some(Fault::Error(_, code, name)) => Some(Refused(code, name)),
            _ => None,
        }
    }

    /// How often the next update comes.
    pub(super) fn copies(&mut self) -> usize {
        let (copies, is_over) = match self.faults.front_mut() {
            Some(Fault::Drop(left)) => (0, {
                *left -= 1;
                *left == 0
            }),
            Some(Fault::Twice(left)) => (2, {
                *left -= 1;
                *left == 0
            }),
            Some(Fault::Error(..) | Fault::WrongValue | Fault::Between | Fault::LinkElsewhere(_)) | None => (1, false),
        };
        if is_over {
            self.faults.pop_front();
        }
        copies
    }

    /// Whether this was ordered; it is then done.
    pub(super) fn takes(&mut self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let at = self.faults.iter().position(wanted)?;
        self.faults.remove(at)
    }

    fn answer(
        &mut self,
        keys: &mut Keys,
        (key, me): ([u8; 8], Option<i64>),
        function: u32,
        cursor: &mut Cursor<'_>,
        pushes: &mut Vec<Push>,
    ) -> Answer {
        macro_rules! is {
            ($($path:ident)::+) => { function == functions::$($path)::+::CONSTRUCTOR_ID };
        }
        macro_rules! asked {
            ($($path:ident)::+) => {
                functions::$($path)::+::deserialize(cursor).map_err(|_| refused(400, "INPUT_FETCH_ERROR"))?
            };
        }
        if is!(help::GetConfig) {
            return ok(&enums::Config::Config(config(self.timers)));
        }
        if is!(auth::SendCode) {
            let asked = asked!(auth::SendCode);
            let phone = asked.phone_number.trim_start_matches('+').to_owned();
            if !self.users.values().any(|user| user.phone == phone) {
                return Err(refused(400, "PHONE_NUMBER_INVALID"));
            }
            return ok(&enums::auth::SentCode::Code(types::auth::SentCode {
                r#type: types::auth::SentCodeTypeApp { length: 5 }.into(),
                phone_code_hash: phone,
                next_type: None,
                timeout: None,
            }));
        }
        if is!(auth::SignIn) {
            let asked = asked!(auth::SignIn);
            if asked.phone_code.as_deref() != Some(CODE) {
                return Err(refused(400, "PHONE_CODE_INVALID"));
            }
            let user = self.users.values().find(|user| user.phone == asked.phone_code_hash);
            let user = user.ok_or_else(|| refused(400, "PHONE_CODE_EXPIRED"))?.clone();
            if user.password.is_some() {
                self.proving.insert(key, (BigUint::default(), user.id));
                return Err(refused(401, "SESSION_PASSWORD_NEEDED"));
            }
            return self.enter(key, user.id);
        }
        if is!(auth::ExportLoginToken) {
            if let Some(Fault::LinkElsewhere(centre)) = self.takes(|fault| matches!(fault, Fault::LinkElsewhere(_))) {
                self.links.elsewhere = Some(centre);
            }
            return self.export_link(keys, key);
        }
        if is!(auth::ImportLoginToken) {
            let asked = asked!(auth::ImportLoginToken);
            return self.import_link(keys, key, &asked.token);
        }
        if is!(account::GetPassword) {
            return self.password_wanted(keys, key);
        }
        if is!(auth::CheckPassword) {
            let asked = asked!(auth::CheckPassword);
            return self.password_checked(key, asked.password);
        }
        let Some(me) = me else {
            return Err(refused(401, "AUTH_KEY_UNREGISTERED"));
        };
        if is!(auth::AcceptLoginToken) {
            let asked = asked!(auth::AcceptLoginToken);
            return self.accept_link(me, &asked, pushes);
        }
        if is!(messages::SendMessage) {
            let asked = asked!(messages::SendMessage);
            return self.send_message(me, asked, pushes);
        }
        if is!(auth::LogOut) {
            self.logins.remove(&key);
            return ok(&enums::auth::LoggedOut::Out(types::auth::LoggedOut {
                future_auth_token: None,
            }));
        }
        if is!(updates::GetState) {
            return ok(&enums::updates::State::State(types::updates::State {
                pts: self.pts(me),
                qts: 0,
                date: unix(),
                seq: 1,
                unread_count: 0,
            }));
        }
        if is!(updates::GetDifference) {
            return ok(&enums::updates::Difference::Empty(types::updates::DifferenceEmpty {
                date: unix(),
                seq: 1,
            }));
        }
        if is!(users::GetUsers) {
            let asked = asked!(users::GetUsers);
            let found = asked.id.iter().filter_map(|id| match id {
                enums::InputUser::UserSelf => Some(self.users[&me].object(true)),
                enums::InputUser::User(user) => self.users.get(&user.user_id).map(|user| user.object(false)),
                enums::InputUser::Empty | enums::InputUser::FromMessage(_) => None,
            });
            return ok(&found.collect::<Vec<_>>());
        }
        if is!(contacts::GetContacts) {
            let others = self.users.values().filter(|user| user.id != me);
            let users: Vec<_> = others.map(|user| user.object(false)).collect();
            return ok(&enums::contacts::Contacts::Contacts(types::contacts::Contacts {
                contacts: Vec::new(),
                saved_count: 0,
                users,
            }));
        }
        if is!(contacts::ResolveUsername) {
            let asked = asked!(contacts::ResolveUsername);
            let found = self
                .users
                .values()
                .find(|user| user.name.to_lowercase() == asked.username.to_lowercase());
            let found = found.ok_or_else(|| refused(400, "USERNAME_NOT_OCCUPIED"))?;
            return ok(&resolved(found));
        }
        if is!(contacts::ResolvePhone) {
            let asked = asked!(contacts::ResolvePhone);
            let found = self.users.values().find(|user| user.phone == asked.phone);
            let found = found.ok_or_else(|| refused(400, "PHONE_NOT_OCCUPIED"))?;
            return ok(&resolved(found));
        }
        if is!(messages::GetDhConfig) {
            return ok(&enums::messages::DhConfig::Config(types::messages::DhConfig {
                g: 3,
                p: known_group().to_vec(),
                version: 3,
                random: keys.bytes::<256>().to_vec(),
            }));
        }
        if is!(phone::RequestCall) {
            let asked = asked!(phone::RequestCall);
            return self.request_call(keys, me, asked, pushes);
        }
        if is!(phone::ReceivedCall) {
            let asked = asked!(phone::ReceivedCall);
            let id = self.call_of(me, &asked.peer)?;
            let call = &self.calls[&id];
            pushes.push(call.tell(call.caller, call.waiting(id, call.caller, Some(unix()))));
            return ok(&true);
        }
        if is!(phone::AcceptCall) {
            let asked = asked!(phone::AcceptCall);
            let id = self.call_of(me, &asked.peer)?;
            let enums::PhoneCallProtocol::Protocol(protocol) = asked.protocol;
            let call = self
                .calls
                .get_mut(&id)
                .ok_or_else(|| refused(400, "CALL_PEER_INVALID"))?;
            if call.taken.is_some() {
                return Err(refused(400, "CALL_ALREADY_ACCEPTED"));
            }
            (call.answer, call.taken) = (asked.g_b, Some(protocol));
            let common = call.common(self.versions.as_deref());
            if common.library_versions.is_empty() {
                return Err(refused(406, "CALL_PROTOCOL_COMPAT_LAYER_INVALID"));
            }
            let accepted = types::PhoneCallAccepted {
                video: false,
                id,
                access_hash: call.keys[0],
                date: call.date,
                admin_id: call.caller,
                participant_id: call.callee,
                g_b: call
                    .between
                    .as_ref()
                    .map_or_else(|| call.answer.clone(), Between::public),
                protocol: common.into(),
            };
            pushes.push(call.tell(call.caller, accepted.into()));
            // The user's other devices stop ringing, and are not told why.
            pushes.push(Push {
                to: To::Others(me, key),
                ..call.tell(me, call.discarded(id, None, None))
            });
            return ok(&self.answered(id, me, self.calls[&id].waiting(id, me, None)));
        }
        if is!(phone::ConfirmCall) {
            let asked = asked!(phone::ConfirmCall);
            return self.confirm_call(me, asked, pushes);
        }
        if is!(phone::SendSignalingData) {
            let asked = asked!(phone::SendSignalingData);
            let id = self.call_of(me, &asked.peer)?;
            let call = &self.calls[&id];
            let mut data = asked.data;
            if let Some(between) = &call.between {
                let Some((sealed, plain)) = between.pass(me == call.caller, &data) else {
                    return Err(refused(400, "DATA_INVALID"));
                };
                self.overheard.push(Overheard { by: me, plain });
                data = sealed;
            }
            let data = types::UpdatePhoneCallSignalingData {
                phone_call_id: id,
                data,
            };
            pushes.push(Push {
                to: To::User(call.other(me)),
                update: data.into(),
                about: Vec::new(),
            });
            return ok(&true);
        }
        if is!(phone::DiscardCall) {
            let asked = asked!(phone::DiscardCall);
            let id = self.call_of(me, &asked.peer)?;
            let call = self
                .calls
                .remove(&id)
                .ok_or_else(|| refused(400, "CALL_PEER_INVALID"))?;
            let discarded = call.discarded(id, Some(asked.reason), Some(asked.duration));
            let push = call.tell(call.other(me), discarded.clone());
            let update = push.update.clone();
            pushes.push(push);
            if me == call.callee {
                pushes.push(Push {
                    to: To::Others(me, key),
                    ..call.tell(me, discarded)
                });
            }
            return ok(&enums::Updates::Updates(types::Updates {
                updates: vec![update],
                users: Vec::new(),
                chats: Vec::new(),
                date: unix(),
                seq: 0,
            }));
        }
        Err(refused(400, "METHOD_NOT_SERVED"))
    }

    pub(super) fn enter(&mut self, key: [u8; 8], user: i64) -> Answer {
        ok(&self.entered(key, user))
    }

    pub(super) fn entered(&mut self, key: [u8; 8], user: i64) -> enums::auth::Authorization {
        self.logins.insert(key, user);
        enums::auth::Authorization::Authorization(types::auth::Authorization {
            setup_password_required: false,
            otherwise_relogin_days: None,
            tmp_sessions: None,
            future_auth_token: None,
            user: self.users[&user].object(true),
        })
    }

    /// An update as that user is told it.
    pub(super) fn update_for(&self, push: &Push) -> Vec<u8> {
        let to = match push.to {
            To::User(user) | To::Others(user, _) => user,
            To::Key(_) => 0,
        };
        let users = push.about.iter().map(|user| self.users[user].object(*user == to));
        enums::Updates::Updates(types::Updates {
            updates: vec![push.update.clone()],
            users: users.collect(),
            chats: Vec::new(),
            date: unix(),
            seq: 0,
        })
        .to_bytes()
    }
}

fn resolved(user: &User) -> enums::contacts::ResolvedPeer {
    enums::contacts::ResolvedPeer::Peer(types::contacts::ResolvedPeer {
        peer: types::PeerUser { user_id: user.id }.into(),
        chats: Vec::new(),
        users: vec![user.object(false)],
    })
}

pub(super) fn ok(object: &impl Serializable) -> Answer {
    Ok(object.to_bytes())
}

pub(super) fn refused(code: i32, name: &str) -> Refused {
    Refused(code, name.to_owned())
}

//! What the service knows and does: users, their logins, calls between them, and faults on order.

use std::collections::{BTreeMap, HashMap, VecDeque};

use grammers_tl_types::{Cursor, Deserializable as _, Identifiable as _, Serializable, enums, functions, types};
use num_bigint::BigUint;
use quartet_proto::e2ee::key_exchange::known_group;

use super::mtproto::{Keys, padded, sha256, unix};

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
    fn access_hash(&self) -> i64 {
        self.id * 7_919
    }

    fn object(&self, is_self: bool) -> enums::User {
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
    /// The next updates do not come: so many.
    Drop(usize),
    /// The next updates come twice: so many.
    Twice(usize),
}

struct Call {
    caller: i64,
    callee: i64,
    /// The keys to it, of each side.
    keys: [i64; 2],
    date: i32,
    commitment: Vec<u8>,
    answer: Vec<u8>,
    offered: types::PhoneCallProtocol,
    taken: Option<types::PhoneCallProtocol>,
}

/// For a user: an update, and whom it is about.
pub(super) struct Push {
    pub(super) to: i64,
    pub(super) update: enums::Update,
    pub(super) about: Vec<i64>,
}

/// A refusal.
struct Refused(i32, String);

type Answer = Result<Vec<u8>, Refused>;

/// The service.
pub struct Service {
    pub(super) users: BTreeMap<i64, User>,
    /// Who is logged in under which key.
    pub(super) logins: HashMap<[u8; 8], i64>,
    calls: HashMap<i64, Call>,
    /// Whether media may go straight.
    pub p2p: bool,
    /// The servers of each call.
    pub connections: Vec<enums::PhoneConnection>,
    /// In this order.
    pub faults: VecDeque<Fault>,
    /// Each request: of whom, and what.
    pub requests: Vec<(i64, &'static str)>,
    /// Passwords on their way: the server's exponent, by key.
    proving: HashMap<[u8; 8], (BigUint, i64)>,
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
            proving: HashMap::new(),
        }
    }

    /// Answers a request under that key, and says what others are to be told.
    pub(super) fn handle(&mut self, keys: &mut Keys, key: [u8; 8], function: u32, body: &[u8]) -> (Vec<u8>, Vec<Push>) {
        let me = self.logins.get(&key).copied();
        let name = grammers_tl_types::name_for_id(function);
        self.requests.push((me.unwrap_or_default(), name));
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
            Some(Fault::Error(..) | Fault::WrongValue) | None => (1, false),
        };
        if is_over {
            self.faults.pop_front();
        }
        copies
    }

    fn takes_wrong_value(&mut self) -> bool {
        let at = self.faults.iter().position(|fault| matches!(fault, Fault::WrongValue));
        at.is_some_and(|at| self.faults.remove(at).is_some())
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
            return ok(&enums::Config::Config(config()));
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
        if is!(auth::LogOut) {
            self.logins.remove(&key);
            return ok(&enums::auth::LoggedOut::Out(types::auth::LoggedOut {
                future_auth_token: None,
            }));
        }
        if is!(updates::GetState) {
            return ok(&enums::updates::State::State(types::updates::State {
                pts: 1,
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
            let common = call.common();
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
                g_b: call.answer.clone(),
                protocol: common.into(),
            };
            pushes.push(call.tell(call.caller, accepted.into()));
            return ok(&self.answered(id, me, self.calls[&id].waiting(id, me, None)));
        }
        if is!(phone::ConfirmCall) {
            let asked = asked!(phone::ConfirmCall);
            return self.confirm_call(me, asked, pushes);
        }
        if is!(phone::SendSignalingData) {
            let asked = asked!(phone::SendSignalingData);
            let id = self.call_of(me, &asked.peer)?;
            let data = types::UpdatePhoneCallSignalingData {
                phone_call_id: id,
                data: asked.data,
            };
            pushes.push(Push {
                to: self.calls[&id].other(me),
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
            let discarded = types::PhoneCallDiscarded {
                need_rating: false,
                need_debug: false,
                video: false,
                id,
                reason: Some(asked.reason),
                duration: Some(asked.duration),
            };
            let push = call.tell(call.other(me), discarded.into());
            let update = push.update.clone();
            pushes.push(push);
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

    fn enter(&mut self, key: [u8; 8], user: i64) -> Answer {
        self.logins.insert(key, user);
        ok(&enums::auth::Authorization::Authorization(types::auth::Authorization {
            setup_password_required: false,
            otherwise_relogin_days: None,
            tmp_sessions: None,
            future_auth_token: None,
            user: self.users[&user].object(true),
        }))
    }

    /// The service's half of the proof that somebody knows a password (SRP).
    fn password_wanted(&mut self, keys: &mut Keys, key: [u8; 8]) -> Answer {
        let Some((_, user)) = self.proving.get(&key).cloned() else {
            return Err(refused(401, "AUTH_KEY_UNREGISTERED"));
        };
        let secret = BigUint::from_bytes_be(&keys.bytes::<256>());
        let (prime, generator) = (BigUint::from_bytes_be(&known_group()), BigUint::from(3_u8));
        let verifier = generator.modpow(&self.secret_of(user), &prime);
        let public = (multiplier() * verifier + generator.modpow(&secret, &prime)) % &prime;
        self.proving.insert(key, (secret, user));
        let algorithm = types::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow {
            salt1: SALTS[0].to_vec(),
            salt2: SALTS[1].to_vec(),
            g: 3,
            p: known_group().to_vec(),
        };
        ok(&enums::account::Password::Password(types::account::Password {
            has_recovery: false,
            has_secure_values: false,
            has_password: true,
            current_algo: Some(algorithm.clone().into()),
            srp_b: Some(padded(&public).to_vec()),
            srp_id: Some(1),
            hint: Some("a word".to_owned()),
            email_unconfirmed_pattern: None,
            new_algo: algorithm.into(),
            new_secure_algo: enums::SecurePasswordKdfAlgo::Unknown,
            secure_random: keys.bytes::<256>().to_vec(),
            pending_reset_date: None,
            login_email_pattern: None,
        }))
    }

    fn password_checked(&mut self, key: [u8; 8], proof: enums::InputCheckPasswordSrp) -> Answer {
        let enums::InputCheckPasswordSrp::Srp(proof) = proof else {
            return Err(refused(400, "PASSWORD_HASH_INVALID"));
        };
        let Some((secret, user)) = self.proving.get(&key).cloned() else {
            return Err(refused(400, "SRP_ID_INVALID"));
        };
        let (prime, generator) = (BigUint::from_bytes_be(&known_group()), BigUint::from(3_u8));
        let verifier = generator.modpow(&self.secret_of(user), &prime);
        let public = (multiplier() * &verifier + generator.modpow(&secret, &prime)) % &prime;
        let (theirs, ours) = (padded(&BigUint::from_bytes_be(&proof.a)), padded(&public));
        let scramble = BigUint::from_bytes_be(&sha256(&[&theirs, &ours]));
        let base = BigUint::from_bytes_be(&theirs) * verifier.modpow(&scramble, &prime);
        let shared = sha256(&[&padded(&base.modpow(&secret, &prime))]);
        let group = sha256(&[&known_group()]);
        let of_generator = sha256(&[&padded(&generator)]);
        let mixed: Vec<u8> = group.iter().zip(of_generator).map(|(a, b)| a ^ b).collect();
        let salts = [sha256(&[SALTS[0]]), sha256(&[SALTS[1]])];
        let expected = sha256(&[&mixed, &salts[0], &salts[1], &theirs, &ours, &shared]);
        if proof.m1 != expected {
            return Err(refused(400, "PASSWORD_HASH_INVALID"));
        }
        self.proving.remove(&key);
        self.enter(key, user)
    }

    /// What a password comes to.
    fn secret_of(&self, user: i64) -> BigUint {
        let password = self.users[&user].password.clone().unwrap_or_default();
        let salted = |data: &[u8], salt: &[u8]| sha256(&[salt, data, salt]);
        let first = salted(&salted(password.as_bytes(), SALTS[0]), SALTS[1]);
        let mut long = [0; 64];
        pbkdf2::pbkdf2_hmac::<sha2::Sha512>(&first, SALTS[0], 100_000, &mut long);
        BigUint::from_bytes_be(&salted(&long, SALTS[1]))
    }

    fn request_call(
        &mut self,
        keys: &mut Keys,
        me: i64,
        asked: functions::phone::RequestCall,
        pushes: &mut Vec<Push>,
    ) -> Answer {
        let enums::InputUser::User(callee) = asked.user_id else {
            return Err(refused(400, "USER_ID_INVALID"));
        };
        let known = self.users.get(&callee.user_id);
        if known.is_none_or(|user| user.access_hash() != callee.access_hash) {
            return Err(refused(400, "USER_ID_INVALID"));
        }
        let enums::PhoneCallProtocol::Protocol(offered) = asked.protocol;
        if offered.max_layer != 92 || !matches!(offered.min_layer, 65 | 92) {
            return Err(refused(400, "CALL_PROTOCOL_LAYER_INVALID"));
        }
        if self.calls.values().any(|call| call.caller == me || call.callee == me) {
            return Err(refused(500, "CALL_OCCUPY_FAILED"));
        }
        let id = i64::from_le_bytes(keys.bytes()) & i64::MAX;
        let call = Call {
            caller: me,
            callee: callee.user_id,
            keys: [i64::from_le_bytes(keys.bytes()), i64::from_le_bytes(keys.bytes())],
            date: unix(),
            commitment: asked.g_a_hash,
            answer: Vec::new(),
            offered,
            taken: None,
        };
        let requested = types::PhoneCallRequested {
            video: false,
            id,
            access_hash: call.keys[1],
            date: call.date,
            admin_id: me,
            participant_id: call.callee,
            g_a_hash: call.commitment.clone(),
            protocol: call.offered.clone().into(),
        };
        pushes.push(call.tell(call.callee, requested.into()));
        let waiting = call.waiting(id, me, None);
        self.calls.insert(id, call);
        ok(&self.answered(id, me, waiting))
    }

    fn confirm_call(&mut self, me: i64, asked: functions::phone::ConfirmCall, pushes: &mut Vec<Push>) -> Answer {
        let id = self.call_of(me, &asked.peer)?;
        let is_wrong = self.takes_wrong_value();
        let call = &self.calls[&id];
        if sha256(&[&asked.g_a])[..] != call.commitment[..] {
            return Err(refused(400, "CALL_G_A_INVALID"));
        }
        let object = |value: Vec<u8>, access_hash: i64| -> enums::PhoneCall {
            types::PhoneCall {
                p2p_allowed: self.p2p,
                video: false,
                conference_supported: false,
                id,
                access_hash,
                date: call.date,
                admin_id: call.caller,
                participant_id: call.callee,
                g_a_or_b: value,
                key_fingerprint: asked.key_fingerprint,
                protocol: call.common().into(),
                connections: self.connections.clone(),
                start_date: unix(),
                custom_parameters: None,
            }
            .into()
        };
        let mut value = asked.g_a;
        if is_wrong && let Some(last) = value.last_mut() {
            *last ^= 1;
        }
        pushes.push(call.tell(call.callee, object(value, call.keys[1])));
        ok(&self.answered(id, me, object(call.answer.clone(), call.keys[0])))
    }

    /// The call that this side has the key to.
    fn call_of(&self, me: i64, peer: &enums::InputPhoneCall) -> Result<i64, Refused> {
        let enums::InputPhoneCall::Call(peer) = peer;
        let has_key = |call: &&Call| {
            (me == call.caller && peer.access_hash == call.keys[0])
                || (me == call.callee && peer.access_hash == call.keys[1])
        };
        let call = self.calls.get(&peer.id).filter(has_key);
        call.map(|_| peer.id).ok_or_else(|| refused(400, "CALL_PEER_INVALID"))
    }

    fn answered(&self, id: i64, me: i64, phone_call: enums::PhoneCall) -> enums::phone::PhoneCall {
        let call = &self.calls[&id];
        let users = [call.caller, call.callee].map(|user| self.users[&user].object(user == me));
        enums::phone::PhoneCall::Call(types::phone::PhoneCall {
            phone_call,
            users: users.to_vec(),
        })
    }

    /// An update as that user is told it.
    pub(super) fn update_for(&self, push: &Push) -> Vec<u8> {
        let users = push.about.iter().map(|user| self.users[user].object(*user == push.to));
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

impl Call {
    fn other(&self, me: i64) -> i64 {
        if me == self.caller { self.callee } else { self.caller }
    }

    fn tell(&self, to: i64, phone_call: enums::PhoneCall) -> Push {
        Push {
            to,
            update: types::UpdatePhoneCall { phone_call }.into(),
            about: vec![self.caller, self.callee],
        }
    }

    fn waiting(&self, id: i64, of: i64, receive_date: Option<i32>) -> enums::PhoneCall {
        types::PhoneCallWaiting {
            video: false,
            id,
            access_hash: self.keys[usize::from(of != self.caller)],
            date: self.date,
            admin_id: self.caller,
            participant_id: self.callee,
            protocol: self.offered.clone().into(),
            receive_date,
        }
        .into()
    }

    /// What both speak.
    fn common(&self) -> types::PhoneCallProtocol {
        let mut common = self.offered.clone();
        if let Some(taken) = &self.taken {
            common
                .library_versions
                .retain(|version| taken.library_versions.contains(version));
        }
        common
    }
}

const SALTS: [&[u8]; 2] = [b"one salt", b"another salt"];

fn multiplier() -> BigUint {
    BigUint::from_bytes_be(&sha256(&[&known_group(), &padded(&BigUint::from(3_u8))]))
}

fn resolved(user: &User) -> enums::contacts::ResolvedPeer {
    enums::contacts::ResolvedPeer::Peer(types::contacts::ResolvedPeer {
        peer: types::PeerUser { user_id: user.id }.into(),
        chats: Vec::new(),
        users: vec![user.object(false)],
    })
}

fn ok(object: &impl Serializable) -> Answer {
    Ok(object.to_bytes())
}

fn refused(code: i32, name: &str) -> Refused {
    Refused(code, name.to_owned())
}

fn config() -> types::Config {
    types::Config {
        default_p2p_contacts: false,
        preload_featured_stickers: false,
        revoke_pm_inbox: false,
        blocked_mode: false,
        force_try_ipv6: false,
        date: unix(),
        expires: unix() + 3_600,
        test_mode: true,
        this_dc: 2,
        dc_options: Vec::new(),
        dc_txt_domain_name: String::new(),
        chat_size_max: 200,
        megagroup_size_max: 200,
        forwarded_count_max: 100,
        online_update_period_ms: 120_000,
        offline_blur_timeout_ms: 5_000,
        offline_idle_timeout_ms: 30_000,
        online_cloud_timeout_ms: 300_000,
        notify_cloud_delay_ms: 30_000,
        notify_default_delay_ms: 1_500,
        push_chat_period_ms: 60_000,
        push_chat_limit: 2,
        edit_time_limit: 1,
        revoke_time_limit: 1,
        revoke_pm_time_limit: 1,
        rating_e_decay: 1,
        stickers_recent_limit: 1,
        channels_read_media_period: 1,
        tmp_sessions: None,
        call_receive_timeout_ms: 20_000,
        call_ring_timeout_ms: 90_000,
        call_connect_timeout_ms: 30_000,
        call_packet_timeout_ms: 10_000,
        me_url_prefix: String::new(),
        autoupdate_url_prefix: None,
        gif_search_username: None,
        venue_search_username: None,
        img_search_username: None,
        static_maps_provider: None,
        caption_length_max: 1_024,
        message_length_max: 4_096,
        webfile_dc_id: 4,
        suggested_lang_code: None,
        lang_pack_version: None,
        base_lang_pack_version: None,
        reactions_default: None,
        autologin_token: None,
    }
}

//! Calls between users of the service: who has the key to which, and what each side is told.

use grammers_tl_types::{enums, functions, types};

use super::between::Between;
use super::mtproto::{Keys, sha256, unix};
use super::service::{Answer, Fault, Push, Refused, Service, To, ok, refused};

/// A call between two users.
pub(super) struct Call {
    pub(super) caller: i64,
    pub(super) callee: i64,
    /// The keys to it, of each side.
    pub(super) keys: [i64; 2],
    pub(super) date: i32,
    pub(super) commitment: Vec<u8>,
    pub(super) answer: Vec<u8>,
    pub(super) offered: types::PhoneCallProtocol,
    pub(super) taken: Option<types::PhoneCallProtocol>,
    pub(super) between: Option<Between>,
}

impl Service {
    pub(super) fn request_call(
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
        let is_between = self.takes(|fault| matches!(fault, Fault::Between)).is_some();
        let mut commitment = asked.g_a_hash;
        let between = is_between.then(|| Between::new(keys, commitment.clone()));
        if let Some(between) = &between {
            commitment = between.own_commitment();
        }
        let call = Call {
            caller: me,
            callee: callee.user_id,
            keys: [i64::from_le_bytes(keys.bytes()), i64::from_le_bytes(keys.bytes())],
            date: unix(),
            commitment,
            answer: Vec::new(),
            offered,
            taken: None,
            between,
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

    pub(super) fn confirm_call(
        &mut self,
        me: i64,
        asked: functions::phone::ConfirmCall,
        pushes: &mut Vec<Push>,
    ) -> Answer {
        let id = self.call_of(me, &asked.peer)?;
        let is_wrong = self.takes(|fault| matches!(fault, Fault::WrongValue)).is_some();
        let (versions, p2p, connections) = (self.versions.clone(), self.p2p, self.connections.clone());
        let call = self
            .calls
            .get_mut(&id)
            .ok_or_else(|| refused(400, "CALL_PEER_INVALID"))?;
        let committed = call
            .between
            .as_ref()
            .map_or(&call.commitment, |between| &between.commitment);
        if sha256(&[&asked.g_a])[..] != committed[..] {
            return Err(refused(400, "CALL_G_A_INVALID"));
        }
        // Values and fingerprint as each side is told them: of the caller, of the callee.
        let (mut of_caller, mut of_callee, mut fingerprint) =
            (asked.g_a.clone(), call.answer.clone(), asked.key_fingerprint);
        if let Some(between) = &mut call.between {
            fingerprint = between.agree(&asked.g_a, &call.answer);
            (of_caller, of_callee) = (between.public(), between.public());
        }
        let call = &self.calls[&id];
        let object = |value: Vec<u8>, key_fingerprint: i64, access_hash: i64| -> enums::PhoneCall {
            types::PhoneCall {
                p2p_allowed: p2p,
                video: false,
                conference_supported: false,
                id,
                access_hash,
                date: call.date,
                admin_id: call.caller,
                participant_id: call.callee,
                g_a_or_b: value,
                key_fingerprint,
                protocol: call.common(versions.as_deref()).into(),
                connections: connections.clone(),
                start_date: unix(),
                custom_parameters: None,
            }
            .into()
        };
        if is_wrong && let Some(last) = of_caller.last_mut() {
            *last ^= 1;
        }
        pushes.push(call.tell(call.callee, object(of_caller, fingerprint, call.keys[1])));
        ok(&self.answered(id, me, object(of_callee, asked.key_fingerprint, call.keys[0])))
    }

    /// The call that this side has the key to.
    pub(super) fn call_of(&self, me: i64, peer: &enums::InputPhoneCall) -> Result<i64, Refused> {
        let enums::InputPhoneCall::Call(peer) = peer;
        let has_key = |call: &&Call| {
            (me == call.caller && peer.access_hash == call.keys[0])
                || (me == call.callee && peer.access_hash == call.keys[1])
        };
        let call = self.calls.get(&peer.id).filter(has_key);
        call.map(|_| peer.id).ok_or_else(|| refused(400, "CALL_PEER_INVALID"))
    }

    pub(super) fn answered(&self, id: i64, me: i64, phone_call: enums::PhoneCall) -> enums::phone::PhoneCall {
        let call = &self.calls[&id];
        let users = [call.caller, call.callee].map(|user| self.users[&user].object(user == me));
        enums::phone::PhoneCall::Call(types::phone::PhoneCall {
            phone_call,
            users: users.to_vec(),
        })
    }
}

impl Call {
    pub(super) fn other(&self, me: i64) -> i64 {
        if me == self.caller { self.callee } else { self.caller }
    }

    pub(super) fn tell(&self, to: i64, phone_call: enums::PhoneCall) -> Push {
        Push {
            to: To::User(to),
            update: types::UpdatePhoneCall { phone_call }.into(),
            about: vec![self.caller, self.callee],
        }
    }

    pub(super) fn waiting(&self, id: i64, of: i64, receive_date: Option<i32>) -> enums::PhoneCall {
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

    pub(super) fn discarded(
        &self,
        id: i64,
        reason: Option<enums::PhoneCallDiscardReason>,
        duration: Option<i32>,
    ) -> enums::PhoneCall {
        types::PhoneCallDiscarded {
            need_rating: false,
            need_debug: false,
            video: false,
            id,
            reason,
            duration,
        }
        .into()
    }

    /// What both speak, of what the service lets calls have.
    pub(super) fn common(&self, versions: Option<&[String]>) -> types::PhoneCallProtocol {
        let mut common = self.offered.clone();
        if let Some(versions) = versions {
            common.library_versions.retain(|version| versions.contains(version));
        }
        if let Some(taken) = &self.taken {
            common
                .library_versions
                .retain(|version| taken.library_versions.contains(version));
        }
        common
    }
}

//! Messages from one user to another.

use grammers_tl_types::{Deserializable as _, Identifiable as _, Serializable as _, enums, functions, types};

use super::mtproto::unix;
use super::service::{Answer, Push, Service, To, ok, refused};

impl Service {
    pub(super) fn pts(&self, user: i64) -> i32 {
        1 + self.messages.get(&user).copied().unwrap_or_default()
    }

    /// A message to another user.
    pub(super) fn send_message(
        &mut self,
        me: i64,
        asked: functions::messages::SendMessage,
        pushes: &mut Vec<Push>,
    ) -> Answer {
        let enums::InputPeer::User(types::InputPeerUser { user_id: to, .. }) = asked.peer else {
            return Err(refused(400, "PEER_ID_INVALID"));
        };
        *self.messages.entry(to).or_default() += 1;
        *self.messages.entry(me).or_default() += 1;
        let pts = self.pts(to);
        let update = types::UpdateNewMessage {
            message: message(me, pts, &asked.message),
            pts,
            pts_count: 1,
        };
        pushes.push(Push {
            to: To::User(to),
            update: update.into(),
            about: vec![me],
        });
        ok(&enums::Updates::UpdateShortSentMessage(types::UpdateShortSentMessage {
            out: true,
            id: self.pts(me),
            pts: self.pts(me),
            pts_count: 1,
            date: unix(),
            media: None,
            entities: None,
            ttl_period: None,
        }))
    }
}

/// A message of that user's, in the chat with that user.
fn message(of: i64, id: i32, text: &str) -> enums::Message {
    // Two flag words: nothing is said but the number, the chat, the date and the text.
    let mut bytes = types::Message::CONSTRUCTOR_ID.to_le_bytes().to_vec();
    bytes.extend([0; 8]);
    bytes.extend(id.to_le_bytes());
    bytes.extend(enums::Peer::from(types::PeerUser { user_id: of }).to_bytes());
    bytes.extend(unix().to_le_bytes());
    bytes.extend(text.to_owned().to_bytes());
    enums::Message::from_bytes(&bytes).expect("a message of which little is said")
}

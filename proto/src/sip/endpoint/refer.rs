//! REFER within a call: its peer asks that the other side be connected with somebody else, and is told what becomes of it.
//! RFC 3515, RFC 5589; Replaces by RFC 3891, Refer-Sub by RFC 4488.

use std::time::Instant;

use super::Endpoint;
use super::callee::reason_field;
use crate::sip::command::Reason;
use crate::sip::dialog::State;
use crate::sip::message::{Headers, Method, NameAddr, Request, Scheme, reason_phrase};
use crate::sip::response::Head;
use crate::sip::transaction::{Holder, Purpose};
use crate::sip::{DialogKey, ReferTo, SipError, SipEvent};

/// How long we say that there may be something to tell, in seconds; whoever is called rings no longer.
const EXPIRES: u32 = 600;

/// The body of a NOTIFY: the first line of a response (RFC 3420).
const SIPFRAG: &str = "message/sipfrag;version=2.0";

/// A REFER that is being followed.
#[derive(Clone, Debug)]
pub(in crate::sip) struct Refer {
    /// Its transaction, until the TU has answered it.
    transaction: Option<u64>,
    /// Its CSeq number: names it where it is not the first of its dialog.
    number: Option<u32>,
    /// Whether its sender wants to hear what becomes of it.
    is_told: bool,
    /// What it was told last: whoever is called may say the same again and again.
    last: Option<u16>,
}

impl Endpoint {
    /// A transfer is asked for.
    pub(super) fn on_refer(&mut self, now: Instant, key: DialogKey, request: &Request, head: Head) {
        let found = self.refer_to(key, &request.headers);
        let id = self.create_server_transaction(request, head, Holder::Dialog(key), None);
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        match found {
            Ok(to) => {
                let is_first = !std::mem::replace(&mut dialog.was_referred, true);
                let is_told = request.headers.get("Refer-Sub").map(str::trim);
                dialog.refer = Some(Refer {
                    transaction: Some(id),
                    number: Some(request.cseq).filter(|_| !is_first),
                    last: None,
                    is_told: !is_told.is_some_and(|told| told.eq_ignore_ascii_case("false")),
                });
                let account = dialog.account.clone();
                self.events.push_back(SipEvent::Refer {
                    dialog: key,
                    account,
                    to,
                });
            }
            Err((status, reason)) => {
                self.respond_extra(now, id, (status, reason), "", Vec::new());
            }
        }
    }

    /// Whom a REFER within this dialog names, or what is wrong with it.
    fn refer_to(&self, key: DialogKey, headers: &Headers) -> Result<ReferTo, (u16, Option<&'static str>)> {
        let dialog = self.dialogs.get(key).ok_or((481, None))?;
        if dialog.state != State::Confirmed || dialog.refer.is_some() {
            return Err((491, None));
        }
        let mut values = headers.all("Refer-To");
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err((400, Some("Wants One Refer-To")));
        };
        let to: NameAddr = value.parse().map_err(|_| (400, Some("Bad Refer-To")))?;
        if !matches!(to.uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel) {
            return Err((416, None));
        }
        if to.uri.param("method").is_some_and(|method| method != "INVITE") {
            return Err((400, Some("Only Calls Are Transferred")));
        }
        let Some(replaces) = to.uri.header("Replaces") else {
            return Ok(ReferTo::Number(to.uri.dialled()));
        };
        // Only what is still ringing is to be replaced, and no call that rings is (RFC 3891 §3).
        if replaces
            .split(';')
            .any(|part| part.trim().eq_ignore_ascii_case("early-only"))
        {
            return Err((486, None));
        }
        let replaced = replaced(&replaces).ok_or((400, Some("Bad Replaces")))?;
        let replaced = self.dialogs.named(replaced).filter(|other| other.key != key);
        // Whoever has seen the tags of another's call does not get it by that.
        let is_own = |account: &Option<String>| account.is_some() && *account == dialog.account;
        let replaced = replaced.filter(|other| is_own(&other.account));
        replaced.map(|other| ReferTo::Dialog(other.key)).ok_or((481, None))
    }

    /// The TU: 202, or 300-699.
    pub(super) fn answer_refer(
        &mut self,
        now: Instant,
        key: DialogKey,
        status: u16,
        reason: Option<&Reason>,
    ) -> Result<(), SipError> {
        if status != 202 && !(300..700).contains(&status) {
            return Err(SipError::BadStatus(status));
        }
        let dialog = self.dialogs.get_mut(key).ok_or(SipError::UnknownDialog)?;
        let peer = dialog.peer;
        let refer = dialog.refer.as_mut().ok_or(SipError::WrongState("not referred"))?;
        let id = refer.transaction.take().ok_or(SipError::WrongState("answered"))?;
        let is_told = refer.is_told;
        if status >= 300 {
            dialog.refer = None;
        }
        let mut extra: Vec<_> = reason.map(reason_field).into_iter().collect();
        extra.push(("Contact", self.contact_in(key, peer)));
        extra.extend((!is_told).then(|| ("Refer-Sub", "false".to_owned())));
        self.respond_extra(now, id, (status, None), "", extra);
        if status < 300 {
            self.notify_refer(now, key, 100)
        } else {
            Ok(())
        }
    }

    /// The TU: what has become of the transfer so far; a final status is the last word of it.
    pub(super) fn notify_refer(&mut self, now: Instant, key: DialogKey, status: u16) -> Result<(), SipError> {
        let dialog = self.dialogs.get_mut(key).ok_or(SipError::UnknownDialog)?;
        let peer = dialog.peer;
        let known = dialog.refer.as_mut().ok_or(SipError::WrongState("not referred"))?;
        if known.last.replace(status) == Some(status) {
            return Ok(());
        }
        let refer = known.clone();
        let state = if status < 200 {
            format!("active;expires={EXPIRES}")
        } else {
            dialog.refer = None;
            "terminated;reason=noresource".to_owned()
        };
        if !refer.is_told {
            return Ok(());
        }
        let id = refer.number.map(|number| format!(";id={number}"));
        let extra = vec![
            ("Contact", self.contact_in(key, peer)),
            ("Event", format!("refer{}", id.unwrap_or_default())),
            ("Subscription-State", state),
        ];
        let line = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        let body = Some((SIPFRAG.to_owned(), line.into_bytes()));
        self.send_in_dialog(now, key, (Method::Notify, Purpose::Notify(key)), extra, body)
            .map(drop)
    }
}

/// Call-ID, our tag and the peer's of a Replaces: as whoever receives it has them (RFC 3891 §3).
fn replaced(value: &str) -> Option<(&str, &str, &str)> {
    let mut parts = value.split(';').map(str::trim);
    let call_id = parts.next().filter(|id| !id.is_empty())?;
    let (mut to_tag, mut from_tag) = (None, None);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim() {
            name if name.eq_ignore_ascii_case("to-tag") => to_tag = Some(value.trim()),
            name if name.eq_ignore_ascii_case("from-tag") => from_tag = Some(value.trim()),
            _ => {}
        }
    }
    Some((call_id, to_tag?, from_tag?))
}

//! The keep-alive of phones over UDP (RFC 5626 §4.4.2): a STUN Binding request to where SIP is heard, and as whom we see them.

use std::net::SocketAddr;

use crate::unlogged::unlogged;
use stun_types::attribute::{AttributeStaticType as _, AttributeType, Fingerprint, XorMappedAddress};
use stun_types::message::{BINDING, Message, MessageClass, MessageWrite as _, MessageWriteExt as _, MessageWriteVec};

/// Longest keep-alive: what STUN may have where nobody knows what fits the way. RFC 8489 §6.1.
const MAX_LENGTH: usize = 548;

/// The bytes of every STUN message from the fifth on. RFC 8489 §5.
const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

/// Whether a datagram is STUN's and not SIP's: a SIP message begins with a letter. RFC 5626 §8.
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4) && datagram.get(4..8) == Some(&MAGIC_COOKIE)
}

/// The answer to a Binding request; `None` to anything else. One that wants what we do not know is told so.
pub(super) fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    if datagram.len() > MAX_LENGTH {
        return None;
    }
    // The library warns of what is wrong with a stranger's message.
    unlogged(|| answer_to(datagram, source))
}

fn answer_to(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    /// There is nothing to log in to: no attribute needs to be understood.
    const UNDERSTOOD: [AttributeType; 0] = [];
    let request = Message::from_bytes(datagram).ok()?;
    if !request.has_method(BINDING) || !request.has_class(MessageClass::Request) {
        return None;
    }
    if let Some(refusal) = Message::check_attribute_types(&request, &UNDERSTOOD, &[], MessageWriteVec::new()) {
        return Some(refusal.finish());
    }
    let mut response = Message::builder_success(&request, MessageWriteVec::new());
    let mapped = XorMappedAddress::new(source, request.transaction_id());
    response.add_attribute(&mapped).ok()?;
    if request.has_attribute(Fingerprint::TYPE) {
        response.add_fingerprint().ok()?;
    }
    Some(response.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stun_types::attribute::{ErrorCode, RawAttribute, Username};

    const ADDRESSES: [&str; 2] = ["198.51.100.7:40001", "[2001:db8::7]:40001"];

    fn request(add: impl FnOnce(&mut MessageWriteVec)) -> Vec<u8> {
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        add(&mut request);
        request.finish()
    }

    #[test]
    fn a_phone_is_told_as_whom_it_is_seen() {
        for source in ADDRESSES.map(|text| text.parse().unwrap()) {
            let plain = request(|_| ());
            let answered = answer(&plain, source).unwrap();
            let response = Message::from_bytes(&answered).unwrap();
            assert!(response.has_class(MessageClass::Success) && is_stun(&answered) && is_stun(&plain));
            let mapped = response.attribute::<XorMappedAddress>().unwrap();
            assert_eq!(mapped.addr(response.transaction_id()), source);
            assert!(!response.has_attribute(Fingerprint::TYPE));
            assert!(answered.len() <= plain.len() * 3, "no flood can be aimed with it");
        }
        let checked = request(|request| request.add_fingerprint().unwrap());
        let answered = answer(&checked, ADDRESSES[0].parse().unwrap()).unwrap();
        assert!(Message::from_bytes(&answered).unwrap().has_attribute(Fingerprint::TYPE));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let source = ADDRESSES[0].parse().unwrap();
        let login = request(|request| request.add_attribute(&Username::new("me").unwrap()).unwrap());
        let answered = answer(&login, source).unwrap();
        let response = Message::from_bytes(&answered).unwrap();
        assert_eq!(response.attribute::<ErrorCode>().unwrap().code(), 420);
        assert!(
            answered.len() <= login.len() * 3,
            "{} for {}",
            answered.len(),
            login.len()
        );
    }

    #[test]
    fn nothing_else_is_answered() {
        let source = ADDRESSES[0].parse().unwrap();
        let plain = request(|_| ());
        let ours = answer(&plain, source).unwrap();
        let indication = Message::builder_indication(BINDING, MessageWriteVec::new()).finish();
        for other in [
            &ours[..],
            &indication,
            b"",
            b"\r\n\r\n",
            b"OPTIONS sip:x SIP/2.0\r\n\r\n",
        ] {
            assert_eq!(answer(other, source), None);
        }
        let long = request(|request| {
            for kind in 0x7000..0x7090 {
                let attribute = RawAttribute::new(AttributeType::new(kind), &[]);
                request.add_attribute(&attribute).unwrap();
            }
        });
        assert!(long.len() > MAX_LENGTH && answer(&long, source).is_none());
        for length in 0..plain.len() {
            assert_eq!(answer(&plain[..length], source), None);
        }
        assert!(!is_stun(b"OPTIONS sip:x SIP/2.0") && !is_stun(b"\r\n\r\n") && !is_stun(&plain[..7]));
    }
}

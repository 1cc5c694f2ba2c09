//! Says which records of a datagram DTLS is given: those that the state of the handshake can expect. RFC 6347 §4.1.2.7, §4.2.
//!
//! Before there are keys no record is authentic, and dimpl treats each as the peer's: a plaintext alert is final, and a
//! record that no state wants stays in its queue, blocks what comes after it, and is final when the handshake completes. So
//! whoever can write the peer's address as its source would end a session with one datagram. Here handshake messages are
//! reassembled, and each is handed on whole, by itself and in its turn; what has no turn is dropped.
//!
//! It looks at types, numbers and lengths, at no contents: a forged message of the type and the number whose turn it is
//! cannot be told from the true one before the handshake is verified. The first one counts, and DTLS ends on it. One that DTLS
//! cannot read it forgets without a word; so that the peer's ChangeCipherSpec has its turn is concluded from what DTLS gives
//! out, and never from what it was given.

use std::collections::BTreeMap;

/// Content types, RFC 5246 §6.2.1.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// Versions in a record's header: of DTLS 1.0, which the first flights may carry, and 1.2.
const VERSIONS: [[u8; 2]; 2] = [[0xFE, 0xFF], [0xFE, 0xFD]];

/// Handshake types, RFC 5246 §7.4 and RFC 6347 §4.3.2.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// Bytes of a record's header, and of a handshake message's.
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;
/// Longest handshake message; it fits one record (RFC 5246 §6.2.1). Certificates of calls have some 500 bytes.
const MAX_MESSAGE: usize = 8192;

/// Shortest hellos, in bytes: version, random, and empty or shortest lists.
const MIN_CLIENT_HELLO: usize = 2 + 32 + 1 + 1 + 2 + 2 + 1 + 1;
const MIN_SERVER_HELLO: usize = 2 + 32 + 1 + 2 + 1;
/// Shortest point of a curve that calls use, in bytes: of X25519.
const MIN_POINT: usize = 32;

/// Judges each datagram before DTLS sees it, and is told what DTLS gives out. What it hands on may be one that DTLS cannot read,
/// so a message may come again.
pub(super) struct Guard {
    client: bool,
    /// The number (`message_seq`) of the first message after the cookie: 1 if the server asked for one.
    first: u16,
    /// The number whose turn it is; all below were handed on.
    next: u16,
    /// A CertificateRequest was handed on, so the server's flight is one message longer.
    certificate_requested: bool,
    /// DTLS has read the peer's certificate.
    certificate_read: bool,
    /// DTLS has read the last message before the peer's ChangeCipherSpec.
    complete: bool,
    /// ChangeCipherSpec was handed on: what follows is encrypted.
    encrypted: bool,
    /// Messages that have not arrived whole: at most five numbers, see [`Guard::expects`].
    waiting: BTreeMap<u16, Message>,
}

/// A handshake message in the course of its reassembly.
struct Message {
    kind: u8,
    body: Vec<u8>,
    received: Vec<bool>,
    missing: usize,
}

/// One fragment of a handshake message, as a record carries it.
struct Fragment<'a> {
    kind: u8,
    length: usize,
    number: u16,
    offset: usize,
    bytes: &'a [u8],
}

impl Guard {
    /// For the client's side of a handshake, or the server's.
    pub(super) fn new(client: bool) -> Self {
        Guard {
            client,
            first: 0,
            next: 0,
            certificate_requested: false,
            certificate_read: false,
            complete: false,
            encrypted: false,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes one record, or more if their turns do not depend on each other. Returns what to hand on, each as a datagram of its own.
    ///
    /// dimpl judges a datagram as a whole; alone, a forged record spoils no true one beside it.
    pub(super) fn handle_input(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        for (header, fragment) in each_record(datagram) {
            if VERSIONS.iter().any(|version| header[1..3] == *version) {
                self.handle_record(header, fragment, &mut records);
            }
        }
        records
    }

    /// DTLS has read the peer's certificate.
    pub(super) fn certificate_read(&mut self) {
        self.certificate_read = true;
    }

    /// DTLS sends this datagram. A client's ChangeCipherSpec follows the server's last message, so that one was read.
    pub(super) fn sent(&mut self, datagram: &[u8]) {
        if self.client && !self.complete {
            self.complete = each_record(datagram).any(|(header, _)| header[0] == CHANGE_CIPHER_SPEC);
        }
    }

    fn handle_record(&mut self, header: &[u8; RECORD_HEADER], fragment: &[u8], records: &mut Vec<Vec<u8>>) {
        match (u16::from_be_bytes([header[3], header[4]]), header[0]) {
            (0, HANDSHAKE) => self.handle_messages(header, fragment, records),
            (0, CHANGE_CIPHER_SPEC) if self.complete && !self.encrypted && fragment == [1] => {
                self.encrypted = true;
                records.push([header, fragment].concat());
            }
            // From here on a key decides.
            (1, ALERT | HANDSHAKE | APPLICATION_DATA) if self.encrypted => records.push([header, fragment].concat()),
            // Plaintext alerts above all: who could not agree with us falls silent, and time ends the handshake.
            _ => tracing::trace!(kind = header[0], "DTLS record dropped"),
        }
    }

    /// Takes the plaintext messages of one record.
    fn handle_messages(&mut self, header: &[u8; RECORD_HEADER], mut rest: &[u8], records: &mut Vec<Vec<u8>>) {
        while let Some((fragment, after)) = Fragment::parse(rest) {
            rest = after;
            let number = fragment.number;
            if !self.expects(number, fragment.kind) {
                tracing::trace!(kind = fragment.kind, number, "DTLS handshake message dropped");
                continue;
            }
            if let Some(message) = self.reassemble(&fragment) {
                self.hand_on(header, number, &message, records);
            }
        }
    }

    /// Whether a message of this type can have this number, and its turn has come. The order within a flight is fixed: RFC
    /// 5246 §7.3. What overtook another is lost with it; the peer repeats its flight.
    fn expects(&self, number: u16, kind: u8) -> bool {
        if number > self.next {
            return false;
        }
        if !self.client {
            return matches!(
                (number, kind),
                (0, CLIENT_HELLO) | (1, CERTIFICATE) | (2, CLIENT_KEY_EXCHANGE) | (3, CERTIFICATE_VERIFY)
            );
        }
        if kind == HELLO_VERIFY_REQUEST {
            return number == 0 && (self.next == 0 || self.first == 1);
        }
        match number.checked_sub(self.first) {
            Some(0) => kind == SERVER_HELLO,
            Some(1) => kind == CERTIFICATE,
            Some(2) => kind == SERVER_KEY_EXCHANGE,
            Some(3) => kind == CERTIFICATE_REQUEST || kind == SERVER_HELLO_DONE,
            Some(4) => kind == SERVER_HELLO_DONE && self.certificate_requested,
            Some(_) | None => false,
        }
    }

    /// Adds a fragment, and takes the message if that made it whole.
    ///
    /// A fragment that contradicts what came before begins the message anew, and of bytes that came twice the later count:
    /// so a forged fragment is undone when the peer repeats its flight.
    fn reassemble(&mut self, fragment: &Fragment<'_>) -> Option<Message> {
        let new = || Message {
            kind: fragment.kind,
            body: vec![0; fragment.length],
            received: vec![false; fragment.length],
            missing: fragment.length,
        };
        let message = self.waiting.entry(fragment.number).or_insert_with(new);
        if message.kind != fragment.kind || message.body.len() != fragment.length {
            *message = new();
        }
        let place = fragment.offset..fragment.offset + fragment.bytes.len();
        message.body[place.clone()].copy_from_slice(fragment.bytes);
        for received in &mut message.received[place] {
            message.missing -= usize::from(!std::mem::replace(received, true));
        }
        if message.missing > 0 {
            return None;
        }
        self.waiting.remove(&fragment.number)
    }

    /// Hands a message on. A repeated one too: DTLS answers it with its last flight, which the peer may have lost; and if the
    /// one before was forged and broken, DTLS still waits for it.
    fn hand_on(&mut self, header: &[u8; RECORD_HEADER], number: u16, message: &Message, records: &mut Vec<Vec<u8>>) {
        if !is_well_formed(message.kind, &message.body) {
            return;
        }
        match message.kind {
            HELLO_VERIFY_REQUEST => self.first = 1,
            CERTIFICATE_REQUEST => self.certificate_requested = true,
            // A server is sent nothing between this and the end.
            CERTIFICATE_VERIFY => self.complete |= self.certificate_read,
            _ => {}
        }
        self.next = self.next.max(number + 1);
        records.push(message.to_record(header, number));
    }
}

impl Message {
    /// Writes the message as one record, under the header of the record that completed it.
    fn to_record(&self, header: &[u8; RECORD_HEADER], number: u16) -> Vec<u8> {
        let length = self.body.len() as u32;
        let mut record = Vec::with_capacity(RECORD_HEADER + MESSAGE_HEADER + self.body.len());
        record.extend_from_slice(&header[..11]);
        record.extend_from_slice(&((MESSAGE_HEADER + self.body.len()) as u16).to_be_bytes());
        record.push(self.kind);
        record.extend_from_slice(&length.to_be_bytes()[1..]);
        record.extend_from_slice(&number.to_be_bytes());
        record.extend_from_slice(&[0; 3]);
        record.extend_from_slice(&length.to_be_bytes()[1..]);
        record.extend_from_slice(&self.body);
        record
    }
}

impl<'a> Fragment<'a> {
    /// Reads the first fragment and returns what follows it. `None` if nothing more can be read.
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = bytes.split_first_chunk::<MESSAGE_HEADER>()?;
        let number =
            |at: usize| usize::from(header[at]) << 16 | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2]);
        let (length, offset) = (number(1), number(6));
        let (bytes, rest) = rest.split_at_checked(number(9))?;
        // An empty part of a message that has a body says nothing.
        let fits = length <= MAX_MESSAGE && offset + bytes.len() <= length && (length == 0 || !bytes.is_empty());
        let fragment = Fragment {
            kind: header[0],
            length,
            number: u16::from_be_bytes([header[4], header[5]]),
            offset,
            bytes,
        };
        fits.then_some((fragment, rest))
    }
}

/// Whether a message of this type can have this body (RFC 5246 §7.4, RFC 8422 §5): at what cannot be, DTLS fails, or concludes what is
/// not so. Hellos are judged by their length alone.
fn is_well_formed(kind: u8, body: &[u8]) -> bool {
    match kind {
        CLIENT_HELLO => body.len() >= MIN_CLIENT_HELLO,
        // Else the true ServerHello would not have the number that comes after it.
        HELLO_VERIFY_REQUEST => is_hello_verify_request(body),
        SERVER_HELLO => body.len() >= MIN_SERVER_HELLO,
        CERTIFICATE => is_certificates(body),
        SERVER_KEY_EXCHANGE => is_server_key_exchange(body),
        CERTIFICATE_REQUEST => is_certificate_request(body),
        // By its type alone DTLS concludes that no CertificateRequest comes.
        SERVER_HELLO_DONE => body.is_empty(),
        CLIENT_KEY_EXCHANGE => body.len() > MIN_POINT && is_vector(body, 1),
        CERTIFICATE_VERIFY => is_signature(body),
        _ => true,
    }
}

/// Splits off a vector with a length of so many bytes.
fn vector(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(length)?;
    rest.split_at_checked(length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// Whether the body is a list of certificates, none of them empty (RFC 5246 §7.4.2).
fn is_certificates(body: &[u8]) -> bool {
    let Some((mut list, [])) = vector(body, 3) else {
        return false;
    };
    let is_any = !list.is_empty();
    while let Some((_, rest)) = vector(list, 3).filter(|(certificate, _)| !certificate.is_empty()) {
        list = rest;
    }
    is_any && list.is_empty()
}

/// Whether the body is a named curve, a point on it, and a signature (RFC 8422 §5.4).
fn is_server_key_exchange(body: &[u8]) -> bool {
    let point = body.get(3..).filter(|_| body[0] == 3).and_then(|rest| vector(rest, 1));
    point.is_some_and(|(point, signature)| point.len() >= MIN_POINT && is_signature(signature))
}

/// Whether this is an algorithm and a signature, which has bytes (RFC 5246 §4.7).
fn is_signature(bytes: &[u8]) -> bool {
    let signature = bytes.get(2..).and_then(|rest| vector(rest, 2));
    signature.is_some_and(|(signature, rest)| !signature.is_empty() && rest.is_empty())
}

/// Whether the body is types of certificates, signature algorithms and authorities; only of the last there may be none (RFC 5246 §7.4.4).
fn is_certificate_request(body: &[u8]) -> bool {
    let types = vector(body, 1).filter(|(types, _)| !types.is_empty());
    let algorithms = types.and_then(|(_, rest)| vector(rest, 2));
    let rest = algorithms.filter(|(algorithms, _)| !algorithms.is_empty() && algorithms.len() % 2 == 0);
    rest.is_some_and(|(_, rest)| is_vector(rest, 2))
}

/// Whether the body is a version and a cookie (RFC 6347 §4.2.1).
fn is_hello_verify_request(body: &[u8]) -> bool {
    matches!(body, [major, minor, length, ..]
        if VERSIONS.contains(&[*major, *minor]) && *length > 0 && is_vector(&body[2..], 1))
}

/// Whether this is a length of so many bytes and as many bytes as it says (RFC 5246 §4.3).
fn is_vector(bytes: &[u8], length: usize) -> bool {
    vector(bytes, length).is_some_and(|(_, rest)| rest.is_empty())
}

/// The records of a datagram, up to the first that is not whole.
///
/// DTLS is to have taken one before the guard is asked about the next: a client's last flight may come in one datagram, and its
/// ChangeCipherSpec has its turn once DTLS has read the messages before.
pub(super) fn records(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<RECORD_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let (record, after) = rest.split_at_checked(RECORD_HEADER + length)?;
        rest = after;
        Some(record)
    })
}

/// The same, each as its header and its fragment.
fn each_record(datagram: &[u8]) -> impl Iterator<Item = (&[u8; RECORD_HEADER], &[u8])> {
    records(datagram).filter_map(<[u8]>::split_first_chunk)
}

#[cfg(test)]
mod tests;

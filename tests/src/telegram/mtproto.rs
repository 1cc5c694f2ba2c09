//! The service's side of MTProto 2.0 on one connection: framing, agreement on a key, encryption, containers. Without any IO.

use std::collections::HashMap;
use std::io::Read as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grammers_crypto::{AuthKey, DequeBuffer, aes, generate_key_data_from_nonce};
use grammers_mtproto::transport::{Error as Unfinished, Full, Transport as _};
use grammers_tl_types::{
    Cursor, Deserializable as _, Identifiable as _, RawVec, Serializable as _, enums, functions, types,
};
use num_bigint::BigUint;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::keys::rsa;
use quartet_proto::e2ee::key_exchange::known_group;

/// Constructors without a type of their own.
const CONTAINER: u32 = 0x73f1_f8dc;
const GZIP: u32 = 0x3072_cfa1;
const RPC_RESULT: u32 = 0xf35c_6d01;
/// Wrappers around a request.
const INVOKE_WITH_LAYER: u32 = 0xda9b_0d0d;
const INVOKE_WITHOUT_UPDATES: u32 = 0xbf94_59b7;
const INVOKE_AFTER: u32 = 0xcb9f_372d;
const INIT_CONNECTION: u32 = 0xc1cd_5ea9;
/// Two primes whose product a client has to take apart.
const P: u64 = 1_229_739_323;
const Q: u64 = 1_402_015_859;
/// A key that we do not know.
const UNKNOWN_KEY: i32 = -404;

type Result<T> = std::result::Result<T, String>;

pub(super) fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// A number in 256 bytes.
pub(super) fn padded(number: &BigUint) -> [u8; 256] {
    let bytes = number.to_bytes_be();
    let mut padded = [0; 256];
    padded[256 - bytes.len()..].copy_from_slice(&bytes);
    padded
}

/// What all connections share: keys, the clock of messages, chance.
pub(super) struct Keys {
    known: HashMap<[u8; 8], [u8; 256]>,
    salt: i64,
    last: i64,
    pub(super) rng: ChaCha8Rng,
}

impl Keys {
    pub(super) fn new(rng: ChaCha8Rng) -> Self {
        Self {
            known: HashMap::new(),
            salt: 0x0123_4567,
            last: 0,
            rng,
        }
    }

    /// Knows this key from now on; what it is called.
    pub(super) fn learn(&mut self, key: [u8; 256]) -> [u8; 8] {
        let id: [u8; 8] = sha1(&[&key])[12..].try_into().expect("eight bytes");
        self.known.insert(id, key);
        id
    }

    pub(super) fn forget(&mut self, id: &[u8; 8]) {
        self.known.remove(id);
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Ids rise, and are the time: 1 modulo 4 for answers, 3 for the rest.
    fn message_id(&mut self, kind: i64) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let of_clock = ((now.as_secs() as i64) << 32 | i64::from(now.subsec_nanos()) << 2) & !3;
        self.last = of_clock.max(self.last + 4);
        self.last | kind
    }
}

pub(super) fn unix() -> i32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs() as i32
}

/// A request of the client.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) message: i64,
    /// The function, without wrappers, and its body with the constructor.
    pub(super) function: u32,
    pub(super) body: Vec<u8>,
}

/// An agreement on a key, on its way.
struct Agreeing {
    nonce: [u8; 16],
    server_nonce: [u8; 16],
    new_nonce: [u8; 32],
    exponent: BigUint,
}

/// One connection.
pub(super) struct Wire {
    transport: Full,
    read: Vec<u8>,
    pub(super) out: Vec<u8>,
    /// The key in use and what it is called.
    key: Option<([u8; 8], [u8; 256])>,
    session: i64,
    sequence: i32,
    is_greeted: bool,
    agreeing: Option<Agreeing>,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self {
            transport: Full::new(),
            read: Vec::new(),
            out: Vec::new(),
            key: None,
            session: 0,
            sequence: 0,
            is_greeted: false,
            agreeing: None,
        }
    }

    pub(super) fn key(&self) -> Option<[u8; 8]> {
        self.key.map(|(id, _)| id)
    }

    /// Takes bytes of the client; the requests in them.
    pub(super) fn handle_input(&mut self, keys: &mut Keys, bytes: &[u8]) -> Result<Vec<Request>> {
        self.read.extend(bytes);
        let mut requests = Vec::new();
        loop {
            let offset = match self.transport.unpack(&mut self.read) {
                Ok(offset) => offset,
                Err(Unfinished::MissingBytes) => return Ok(requests),
                Err(error) => return Err(error.to_string()),
            };
            let packet = self.read[offset.data_range.clone()].to_vec();
            self.read.drain(..offset.next_offset);
            if packet.len() < 24 {
                return Err("a packet that is too short".to_owned());
            }
            if packet[..8] == [0; 8] {
                self.agree(keys, &packet)?;
            } else {
                self.decrypt(keys, &packet, &mut requests)?;
            }
        }
    }

    fn frame(&mut self, packet: &[u8]) {
        let mut buffer = DequeBuffer::with_capacity(packet.len() + 4, 16);
        buffer.extend(packet.iter().copied());
        self.transport.pack(&mut buffer);
        self.out.extend_from_slice(buffer.as_ref());
    }

    /// A step of the agreement on a key.
    fn agree(&mut self, keys: &mut Keys, packet: &[u8]) -> Result<()> {
        let body = packet.get(20..).unwrap_or_default();
        let cursor = &mut Cursor::from_slice(body);
        let read = |error: grammers_tl_types::deserialize::Error| error.to_string();
        let function = u32::deserialize(cursor).map_err(read)?;
        let answer = match function {
            functions::ReqPqMulti::CONSTRUCTOR_ID => {
                let asked = functions::ReqPqMulti::deserialize(cursor).map_err(read)?;
                let server_nonce = keys.bytes();
                self.agreeing = Some(Agreeing {
                    nonce: asked.nonce,
                    server_nonce,
                    new_nonce: [0; 32],
                    exponent: BigUint::default(),
                });
                let modulus = rsa().modulus.to_bytes_be();
                let fingerprint = sha1(&[&modulus.to_bytes(), &vec![1_u8, 0, 1].to_bytes()]);
                let fingerprint = i64::from_le_bytes(fingerprint[12..].try_into().expect("eight bytes"));
                enums::ResPq::Pq(types::ResPq {
                    nonce: asked.nonce,
                    server_nonce,
                    pq: (P * Q).to_be_bytes().to_vec(),
                    server_public_key_fingerprints: vec![fingerprint],
                })
                .to_bytes()
            }
            functions::ReqDhParams::CONSTRUCTOR_ID => {
                let asked = functions::ReqDhParams::deserialize(cursor).map_err(read)?;
                self.parameters(keys, &asked)?
            }
            functions::SetClientDhParams::CONSTRUCTOR_ID => {
                let asked = functions::SetClientDhParams::deserialize(cursor).map_err(read)?;
                self.finish(keys, asked)?
            }
            other => {
                return Err(format!(
                    "{} is not for plain packets",
                    grammers_tl_types::name_for_id(other)
                ));
            }
        };
        let mut plain = vec![0; 8];
        plain.extend(keys.message_id(1).to_le_bytes());
        plain.extend((answer.len() as i32).to_le_bytes());
        plain.extend(answer);
        self.frame(&plain);
        Ok(())
    }

    /// The client has shown that it can take a product apart, and sent a nonce that only we can read.
    fn parameters(&mut self, keys: &mut Keys, asked: &functions::ReqDhParams) -> Result<Vec<u8>> {
        let agreeing = self.agreeing.as_mut().ok_or("out of order")?;
        let key = rsa();
        let plain = padded(&BigUint::from_bytes_be(&asked.encrypted_data).modpow(&key.private, &key.modulus));
        // The newer padding has the data under a key of its own; the older one a hash before it.
        let mask = sha256(&[&plain[32..]]);
        let own: Vec<u8> = plain[..32].iter().zip(mask).map(|(a, b)| a ^ b).collect();
        let own: [u8; 32] = own.try_into().map_err(|_| "a key of 32 bytes")?;
        let mut inner = plain[32..].to_vec();
        aes::ige_decrypt(&mut inner, &own, &[0; 32]);
        let data: Vec<u8> = inner[..192].iter().rev().copied().collect();
        let data = if sha256(&[&own, &data])[..] == inner[192..] {
            data
        } else {
            plain[21..].to_vec()
        };
        let inner =
            enums::PQInnerData::deserialize(&mut Cursor::from_slice(&data)).map_err(|error| error.to_string())?;
        let enums::PQInnerData::Data(inner) = inner else {
            return Err("a kind of key that is not served".to_owned());
        };
        if (inner.nonce, inner.server_nonce) != (agreeing.nonce, agreeing.server_nonce) {
            return Err("another nonce".to_owned());
        }
        agreeing.new_nonce = inner.new_nonce;
        agreeing.exponent = BigUint::from_bytes_be(&keys.bytes::<256>());
        let (key, iv) = generate_key_data_from_nonce(&agreeing.server_nonce, &agreeing.new_nonce);
        let prime = BigUint::from_bytes_be(&known_group());
        let answer = enums::ServerDhInnerData::Data(types::ServerDhInnerData {
            nonce: agreeing.nonce,
            server_nonce: agreeing.server_nonce,
            g: 3,
            dh_prime: known_group().to_vec(),
            g_a: padded(&BigUint::from(3_u8).modpow(&agreeing.exponent, &prime)).to_vec(),
            server_time: unix(),
        })
        .to_bytes();
        let mut encrypted_answer = sha1(&[&answer]).to_vec();
        encrypted_answer.extend(answer);
        encrypted_answer.resize(encrypted_answer.len().next_multiple_of(16), 0);
        aes::ige_encrypt(&mut encrypted_answer, &key, &iv);
        Ok(enums::ServerDhParams::Ok(types::ServerDhParamsOk {
            nonce: agreeing.nonce,
            server_nonce: agreeing.server_nonce,
            encrypted_answer,
        })
        .to_bytes())
    }

    fn finish(&mut self, keys: &mut Keys, asked: functions::SetClientDhParams) -> Result<Vec<u8>> {
        let agreeing = self.agreeing.take().ok_or("out of order")?;
        let (key, iv) = generate_key_data_from_nonce(&agreeing.server_nonce, &agreeing.new_nonce);
        let mut inner = asked.encrypted_data;
        aes::ige_decrypt(&mut inner, &key, &iv);
        let inner = enums::ClientDhInnerData::from_bytes(inner.get(20..).unwrap_or_default());
        let enums::ClientDhInnerData::Data(inner) = inner.map_err(|error| error.to_string())?;
        let prime = BigUint::from_bytes_be(&known_group());
        let key = padded(&BigUint::from_bytes_be(&inner.g_b).modpow(&agreeing.exponent, &prime));
        keys.learn(key);
        Ok(enums::SetClientDhParamsAnswer::DhGenOk(types::DhGenOk {
            nonce: agreeing.nonce,
            server_nonce: agreeing.server_nonce,
            new_nonce_hash1: AuthKey::from_bytes(key).calc_new_nonce_hash(&agreeing.new_nonce, 1),
        })
        .to_bytes())
    }

    fn decrypt(&mut self, keys: &mut Keys, packet: &[u8], requests: &mut Vec<Request>) -> Result<()> {
        let id: [u8; 8] = packet[..8].try_into().expect("eight bytes");
        let Some(key) = keys.known.get(&id).copied() else {
            self.out.extend(UNKNOWN_KEY.to_le_bytes());
            return Err("a key that is not known".to_owned());
        };
        self.key = Some((id, key));
        let check = &packet[8..24];
        let (aes_key, iv) = derived(&key, check, 0);
        let mut plain = packet[24..].to_vec();
        if plain.len() < 32 || !plain.len().is_multiple_of(16) {
            return Err("a packet of a wrong size".to_owned());
        }
        aes::ige_decrypt(&mut plain, &aes_key, &iv);
        if &sha256(&[&key[88..120], &plain])[8..24] != check {
            return Err("a packet under another key".to_owned());
        }
        let long = |at: usize| i64::from_le_bytes(plain[at..at + 8].try_into().expect("eight bytes"));
        let int = |at: usize| i32::from_le_bytes(plain[at..at + 4].try_into().expect("four bytes"));
        let (salt, message, sequence, length) = (long(0), long(16), int(24), int(28) as usize);
        self.session = long(8);
        let body = plain.get(32..32 + length).ok_or("a length that is too large")?;
        if salt != keys.salt {
            let answer = enums::BadMsgNotification::BadServerSalt(types::BadServerSalt {
                bad_msg_id: message,
                bad_msg_seqno: sequence,
                error_code: 48,
                new_server_salt: keys.salt,
            });
            self.send(keys, &answer.to_bytes(), 3, false);
            return Ok(());
        }
        if !self.is_greeted {
            self.is_greeted = true;
            let created = enums::NewSession::Created(types::NewSessionCreated {
                first_msg_id: message,
                unique_id: 1,
                server_salt: keys.salt,
            });
            self.send(keys, &created.to_bytes(), 3, true);
        }
        self.message(keys, message, sequence, body, requests)
    }

    fn message(
        &mut self,
        keys: &mut Keys,
        message: i64,
        sequence: i32,
        body: &[u8],
        requests: &mut Vec<Request>,
    ) -> Result<()> {
        let cursor = &mut Cursor::from_slice(body);
        let read = |error: grammers_tl_types::deserialize::Error| error.to_string();
        let mut function = u32::deserialize(cursor).map_err(read)?;
        match function {
            CONTAINER => {
                let count = u32::deserialize(cursor).map_err(read)?;
                let mut at = 8;
                for _ in 0..count {
                    let part = body.get(at..at + 16).ok_or("a container that is too short")?;
                    let message = i64::from_le_bytes(part[..8].try_into().expect("eight bytes"));
                    let sequence = i32::from_le_bytes(part[8..12].try_into().expect("four bytes"));
                    let length = u32::from_le_bytes(part[12..].try_into().expect("four bytes")) as usize;
                    let inner = body
                        .get(at + 16..at + 16 + length)
                        .ok_or("a container that is too short")?;
                    self.message(keys, message, sequence, inner, requests)?;
                    at += 16 + length;
                }
                return Ok(());
            }
            GZIP => {
                let packed = Vec::<u8>::deserialize(cursor).map_err(read)?;
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(&packed[..])
                    .read_to_end(&mut plain)
                    .map_err(|error| error.to_string())?;
                return self.message(keys, message, sequence, &plain, requests);
            }
            types::MsgsAck::CONSTRUCTOR_ID => return Ok(()),
            _ => {}
        }
        if sequence & 1 == 1 {
            let ack = enums::MsgsAck::Ack(types::MsgsAck { msg_ids: vec![message] });
            self.send(keys, &ack.to_bytes(), 3, false);
        }
        loop {
            match function {
                INVOKE_WITH_LAYER => _ = i32::deserialize(cursor).map_err(read)?,
                INVOKE_WITHOUT_UPDATES => {}
                INVOKE_AFTER => _ = i64::deserialize(cursor).map_err(read)?,
                INIT_CONNECTION => {
                    let flags = u32::deserialize(cursor).map_err(read)?;
                    i32::deserialize(cursor).map_err(read)?;
                    for _ in 0..6 {
                        String::deserialize(cursor).map_err(read)?;
                    }
                    if flags & 2 != 0 {
                        enums::Jsonvalue::deserialize(cursor).map_err(read)?;
                    }
                }
                _ => break,
            }
            function = u32::deserialize(cursor).map_err(read)?;
        }
        let rest = &body[cursor.pos()..];
        match function {
            functions::Ping::CONSTRUCTOR_ID | functions::PingDelayDisconnect::CONSTRUCTOR_ID => {
                let ping_id = i64::deserialize(cursor).map_err(read)?;
                let msg_id = message;
                let pong = enums::Pong::Pong(types::Pong { msg_id, ping_id });
                self.send(keys, &pong.to_bytes(), 1, true);
            }
            functions::GetFutureSalts::CONSTRUCTOR_ID => {
                let count = i32::deserialize(cursor).map_err(read)?;
                let now = unix();
                let salt = |at: i32| types::FutureSalt {
                    valid_since: now + at * 1_800,
                    valid_until: now + (at + 2) * 1_800,
                    salt: keys.salt,
                };
                let salts = enums::FutureSalts::Salts(types::FutureSalts {
                    req_msg_id: message,
                    now,
                    salts: RawVec((0..count).map(salt).collect()),
                });
                self.send(keys, &salts.to_bytes(), 1, true);
            }
            _ => requests.push(Request {
                message,
                function,
                body: rest.to_vec(),
            }),
        }
        Ok(())
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, keys: &mut Keys, message: i64, result: &[u8]) {
        let mut body = RPC_RESULT.to_le_bytes().to_vec();
        body.extend(message.to_le_bytes());
        body.extend(result);
        self.send(keys, &body, 1, true);
    }

    /// Says something by itself.
    pub(super) fn push(&mut self, keys: &mut Keys, body: &[u8]) {
        self.send(keys, body, 3, true);
    }

    fn send(&mut self, keys: &mut Keys, body: &[u8], kind: i64, is_content: bool) {
        let Some((id, key)) = self.key else { return };
        let sequence = self.sequence * 2 + i32::from(is_content);
        self.sequence += i32::from(is_content);
        let mut plain = keys.salt.to_le_bytes().to_vec();
        plain.extend(self.session.to_le_bytes());
        plain.extend(keys.message_id(kind).to_le_bytes());
        plain.extend(sequence.to_le_bytes());
        plain.extend((body.len() as i32).to_le_bytes());
        plain.extend(body);
        let padding = (plain.len() + 12).next_multiple_of(16) - plain.len();
        plain.extend(&keys.bytes::<28>()[..padding]);
        let check: [u8; 16] = sha256(&[&key[96..128], &plain])[8..24]
            .try_into()
            .expect("sixteen bytes");
        let (aes_key, iv) = derived(&key, &check, 8);
        aes::ige_encrypt(&mut plain, &aes_key, &iv);
        self.frame(&[&id[..], &check, &plain].concat());
    }
}

/// Key and vector of one packet; `x`: 0 from the client, 8 to it.
fn derived(key: &[u8; 256], check: &[u8], x: usize) -> ([u8; 32], [u8; 32]) {
    let a = sha256(&[check, &key[x..x + 36]]);
    let b = sha256(&[&key[x + 40..x + 76], check]);
    let joined = |parts: [&[u8]; 3]| <[u8; 32]>::try_from(parts.concat()).expect("32 bytes");
    (
        joined([&a[..8], &b[8..24], &a[24..]]),
        joined([&b[..8], &a[8..24], &b[24..]]),
    )
}

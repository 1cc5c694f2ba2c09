//! The service's half of the proof that somebody knows a password (SRP, core.telegram.org/api/srp).

use grammers_tl_types::{enums, types};
use num_bigint::BigUint;
use quartet_proto::e2ee::key_exchange::known_group;

use super::mtproto::{Keys, padded, sha256};
use super::service::{Answer, Service, ok, refused};

/// What passwords are salted with.
const SALTS: [&[u8]; 2] = [b"one salt", b"another salt"];

fn multiplier() -> BigUint {
    BigUint::from_bytes_be(&sha256(&[&known_group(), &padded(&BigUint::from(3_u8))]))
}

impl Service {
    /// The service's half of the proof that somebody knows a password (SRP).
    pub(super) fn password_wanted(&mut self, keys: &mut Keys, key: [u8; 8]) -> Answer {
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

    pub(super) fn password_checked(&mut self, key: [u8; 8], proof: enums::InputCheckPasswordSrp) -> Answer {
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
}

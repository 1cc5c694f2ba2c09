//! The keys of the test service. They protect nothing: whoever reads this knows them.

use num_bigint::BigUint;
use sha1::{Digest as _, Sha1};

/// Of the service's RSA key, in hexadecimal digits.
const MODULUS: &str = concat!(
    "ced94d180e6062a5d0a06a0f372cbc1c09a2b3919382ffdb0c7def33a5e0abecd91f06297da34f6a4648dcaff5cb10c6",
    "b57b23f2f07b99ae603f2a73dfd1d8cad68d038269deeeae9332883ef533bafc570ab49e6bbb9c76efb165a5414dea07",
    "51a5c3012fb1d126dd5949597d0073a83a7814290e0fec35e17e69c7243ff252a49c2782d8be1e9f21c6b0dbc709537d",
    "4b8a9825f7dbcb0da445b09f5943f66e3ac96f66f36cfcde997fa8e4ea9dcfd14cd56ac9c830151f02dc8e538861506c",
    "402588dfa8bd446f776baa6f4cbe739f661e7acbc19831d4fd044f756f1333c4495496ed735552ad9d71b4df277a51e6",
    "bdc859fde28493ca3e028aacfabfd46f",
);
const PRIVATE: &str = concat!(
    "039dac240b0b5a6a5948b499759c47ff6d0157958e03874aa62b230edd40a522a2554227061d58ba857531157bc82226",
    "78fdb033e5594005532acf0a77fd0c4a8c9f7ccace5ca1e3bf99cf7b358f86e235adabe0bfac32fb1147f49a74d3708f",
    "6922728fe19208135f7f704fa3396a53b3779b157068c9335bb0d3adb9a261b6f7981904252c738b5c693952d8c75046",
    "2a5c83f1dead39e60983826033b1d4626929de7bc23543121030623b169b50b52894f9ab3135efcd72d3cfb2e27e4e0c",
    "cef42086327f5e7ce5351eb60735348be4d98f750c4c94239698fd79764c656ec72748fcda4e73d716d2c5641771de0e",
    "8a62ae389f3aa2f9a5dd509acef1c441",
);

/// The service's RSA key.
pub(super) struct RsaKey {
    pub(super) modulus: BigUint,
    pub(super) private: BigUint,
}

pub(super) fn rsa() -> RsaKey {
    let number = |digits: &str| BigUint::parse_bytes(digits.as_bytes(), 16).expect("hexadecimal digits");
    RsaKey {
        modulus: number(MODULUS),
        private: number(PRIVATE),
    }
}

/// The public key as a client wants it: PKCS #1, in DER.
fn public_der() -> Vec<u8> {
    let integer = |number: &[u8]| {
        let mut bytes = if number[0] & 0x80 == 0 { Vec::new() } else { vec![0] };
        bytes.extend(number);
        tagged(0x02, &bytes)
    };
    let both = [integer(&rsa().modulus.to_bytes_be()), integer(&[1, 0, 1])].concat();
    tagged(0x30, &both)
}

/// The same in PEM.
#[must_use]
pub fn public_pem() -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(public_der());
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    format!(
        "-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

fn tagged(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, body.to_vec()].concat()
}

/// The key of one client, known before it connects: then neither has to agree on one.
#[must_use]
pub fn auth_key(of: &str) -> [u8; 256] {
    let mut key = [0; 256];
    for (block, part) in key.chunks_mut(20).enumerate() {
        let digest = Sha1::digest(format!("{of} {block}"));
        part.copy_from_slice(&digest[..part.len()]);
    }
    key
}

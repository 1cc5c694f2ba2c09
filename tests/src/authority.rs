//! A certificate authority of a test's own.

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A certificate for one name, and the authority that has signed it.
#[derive(Debug)]
pub struct Certified {
    /// The authority, for a `ca_file`.
    pub authority_pem: String,
    pub certificate: Certificate,
    pub key: KeyPair,
}

/// Makes a certificate for this name or address, signed by an authority that nobody else knows.
pub fn certify(name: &str) -> Certified {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, format!("the authority of {name}"));
    let authority_key = KeyPair::generate().expect("a key");
    let authority_pem = authority.self_signed(&authority_key).expect("it signs itself").pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .and_then(|certificate| certificate.signed_by(&key, &issuer))
        .expect("it is signed");
    Certified {
        authority_pem,
        certificate,
        key,
    }
}

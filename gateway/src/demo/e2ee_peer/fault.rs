//! The ways in which a peer can be in the wrong, for tests of what a gateway must refuse.

/// How the peer breaks the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// As caller: the revealed public value is not the one it committed to.
    OtherPublic,
    /// As caller: the fingerprint is another key's.
    OtherFingerprint,
    /// The certificate of its media is not the one that it announces.
    OtherCertificate,
    /// The signalling packet of this number, its own or the gateway's, is altered in one bit; counted from 0.
    AlteredPacket(usize),
    /// Every signalling packet is altered in one bit.
    AlteredPackets,
}

/// A fingerprint line with its last digit changed; any other line as it is.
pub(super) fn other_certificate(line: &str) -> String {
    if !line.starts_with("fingerprint:") {
        return line.to_owned();
    }
    let (rest, last) = line.split_at(line.len() - 1);
    format!("{rest}{}", if last == "0" { '1' } else { '0' })
}

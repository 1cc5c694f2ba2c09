//! Where a description may have us send to.

use std::net::IpAddr;

use super::{MediaDescription, OfferAnswerError};
use crate::net::is_destination;

/// Below it are the ports of services (RFC 6335 §6: System Ports).
const WELL_KNOWN_PORTS: u16 = 1024;

/// True if both ends speak ICE: what the description says of an address is then not used. One that speaks it alone is sent
/// to where its `c=` says.
pub(super) fn is_ice<'a>(mut ours: impl Iterator<Item = &'a str>, theirs: &MediaDescription) -> bool {
    theirs.has("ice-ufrag") && ours.any(|line| line.starts_with("ice-ufrag"))
}

/// Refuses what media may not be sent to: host names, groups, loopback unless the peer is there, and well-known ports.
///
/// Whoever describes a session says where we send 50 packets a second. No phone takes media below port 1024, where DNS, NTP
/// and their like answer whatever reaches them; a NAT keeps such ports for those who come from such (RFC 4787 §4.2.2). With
/// ICE none of this is a destination before it has answered a check.
pub(super) fn check_destination(theirs: &MediaDescription, ice: bool, loopback: bool) -> Result<(), OfferAnswerError> {
    if ice {
        return Ok(());
    }
    let address = theirs.address.ok_or(OfferAnswerError::BadAddress)?;
    // RTCP goes to the address of RTP, whatever is written; who writes such an address is no phone.
    let reports = theirs.rtcp_addresses();
    let usable = |ip: IpAddr| is_hold(ip) || is_destination(ip, loopback);
    if !std::iter::once(address).chain(reports).all(usable) {
        return Err(OfferAnswerError::BadAddress);
    }
    let known = |port: u16| port < WELL_KNOWN_PORTS;
    if !is_hold(address) && (known(theirs.port) || theirs.rtcp_port().is_some_and(known)) {
        return Err(OfferAnswerError::BadPort);
    }
    Ok(())
}

/// An unspecified address is the hold of old (RFC 3264 §8.4), and never a place to send to.
pub(super) fn is_hold(address: IpAddr) -> bool {
    address.to_canonical().is_unspecified()
}

//! Plugin transport-rtp: RTP and RTCP, in clear or as SRTP, as desk phones speak them.
//!
//! The session is in `session`, its keys in `secure`; which source of packets is accepted is `proto::rtp::latch`.

mod secure;
mod session;

pub use session::Rtp;

quartet_plugin::export_transport! {
    symbol: quartet_plugin_transport_rtp,
    id: "transport-rtp",
    licence: "MIT OR Apache-2.0",
    summary: "RTP and RTCP, in clear or as SRTP with keys of the descriptions (SDES)",
    options: [],
    transports: [Rtp],
}

#[cfg(test)]
mod driver;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_secure;

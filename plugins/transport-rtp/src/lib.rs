//! Plugin transport-rtp: plain RTP and RTCP, as most desk phones speak them.
//!
//! The session is in `session`; which source of packets is accepted is `proto::rtp::latch`.

mod session;

pub use session::Rtp;

quartet_plugin::export_transport! {
    symbol: quartet_plugin_transport_rtp,
    id: "transport-rtp",
    licence: "MIT OR Apache-2.0",
    summary: "RTP and RTCP in clear, for phones on a trusted network",
    options: [],
    transports: [Rtp],
}

#[cfg(test)]
mod driver;
#[cfg(test)]
mod tests;

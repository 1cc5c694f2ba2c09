//! Plugin transport-rtp.

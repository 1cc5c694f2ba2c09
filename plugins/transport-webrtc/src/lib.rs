//! Plugin transport-webrtc.

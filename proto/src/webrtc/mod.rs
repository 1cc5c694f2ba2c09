//! ICE, DTLS and SCTP as machines of their own, and the endpoint that joins them with SRTP. Used by transport-webrtc alone.

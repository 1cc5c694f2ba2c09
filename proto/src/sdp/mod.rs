//! SDP: descriptions, and offer and answer (RFC 4566, RFC 3264).

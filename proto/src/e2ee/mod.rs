//! End-to-end encrypted calls: key exchange, fingerprint, signalling, negotiation.

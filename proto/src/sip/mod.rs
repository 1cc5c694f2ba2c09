//! SIP: one endpoint in front of messages, transactions, dialogs, digest and registrar (RFC 3261).

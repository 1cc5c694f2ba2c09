//! The composition root, sans-IO: the SIP endpoint, the routes, every call by its key.

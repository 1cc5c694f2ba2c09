//! The core: a call, its legs, verification, causes.

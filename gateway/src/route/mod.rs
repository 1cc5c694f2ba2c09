//! From a dialled number or a caller to a destination.

//! Plugin codec-opus.

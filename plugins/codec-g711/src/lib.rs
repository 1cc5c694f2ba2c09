//! Plugin codec-g711.

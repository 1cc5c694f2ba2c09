//! Checks for plugin authors.

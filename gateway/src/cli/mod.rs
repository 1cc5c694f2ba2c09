//! The command line: a file per verb.

pub mod check;
pub mod passwd;
pub mod plugin;

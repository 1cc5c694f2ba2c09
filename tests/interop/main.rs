//! Real peers: SIP phones from Debian, an unmodified native E2EE client from PyPI. tests/setup installs them; where one is
//! missing, its tests are skipped with a visible line, except in CI, where they fail.
#![allow(missing_docs, reason = "tests")]

mod browser;
mod calls;
mod encrypted;
mod kamailio;
mod moves;
mod phones;
mod relays;
mod scanners;
mod telegram;
mod transfers;
mod transports;
mod watch;

/// The product, as cargo built it for these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quartet-under-test");

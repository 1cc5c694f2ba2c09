//! A desk phone and users of the telegram network, by unmodified Telethon and PyTgCalls, over a data centre of our own.

mod accounts;
mod calls;
mod network;

use quartet_tests::telegram::office::{Office, OfficeSetup};

use crate::PROGRAM;

async fn office(name: &str) -> Option<Office> {
    office_with(name, OfficeSetup::default()).await
}

async fn office_with(name: &str, setup: OfficeSetup<'_>) -> Option<Office> {
    Office::start(PROGRAM, name, setup).await
}

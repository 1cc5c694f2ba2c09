//! Media, sans-IO: legs, flows, bridges.
//!
//! The call speaks to it in [`MediaCommand`]s and hears [`MediaEvent`]s; packets come from and go to
//! [`crate::io::media_worker`] and nowhere else.

mod command;

pub use command::{Bind, LegCodec, LegKey, MediaCommand, MediaEvent, PlayKey, Report, Role, TelephoneEvent};

//! Messages.

mod address;
mod uri;

pub use address::NameAddr;
pub use uri::{Param, Scheme, Uri};

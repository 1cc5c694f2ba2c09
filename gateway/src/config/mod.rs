//! Settings: three conf files, one struct per section, one table row per option.

mod secret;
mod settings;
mod units;

pub use secret::{Hash, PasswordHash};
pub use settings::{
    Call, Cdr, Control, Hub, Ivr, Limits, Log, Media, Networks, Phone, Plugins, Route, Settings, Sip, Store, Strategy,
    Verify,
};
pub use units::{Addresses, HttpListen, Level, Period, Ports, Prompts, SipListen};

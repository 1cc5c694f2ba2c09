//! Settings: three conf files, one struct per section, one table row per option.
//!
//! The way of a value: `load` reads the files, `tree` knows the line of every key, `check` holds them against the table in
//! `options`, `environment` does the same with variables, `cross` looks at what refers to what. Only if all of them are
//! content, `config` merges and serde builds [`Settings`]. So an operator sees every mistake of a run at once, and a mistake
//! never starts half a gateway.
//!
//! **Invariant:** a value that is in no row of the table reaches nobody.

mod check;
mod cross;
mod environment;
mod generate;
mod hub_url;
mod ice_url;
mod kind;
mod listen;
mod load;
mod nearest;
mod options;
mod origin;
mod problem;
mod reload;
mod rows;
mod secret;
mod settings;
mod telegram;
mod tree;
mod trunk;
mod units;
mod words;

pub use generate::{manual, quartet_conf};
pub use hub_url::{HUB_PATH, HubUrl};
pub use ice_url::{IceService, IceUrl, Via};
pub(crate) use kind::quoted;
pub use listen::{SipListen, Tls};
pub use load::{Loaded, environment, find_folder, load, load_texts, realm};
pub use options::Reload;
pub use origin::Origin;
pub use problem::{Place, Problem, Problems};
pub use reload::{Changes, reload};
pub use secret::{Hash, Hashes, PasswordHash};
pub use settings::{
    Call, Cdr, Control, Hub, IceServer, Ivr, Limits, Log, Media, Networks, Phone, Plugins, Redirects, Reflector, Route,
    Settings, Sip, Store, Strategy, VerifyMode, stack,
};
pub use telegram::{CallerDisplay, SocksProxy, Telegram, TelegramAccount};
pub use trunk::{Identity, Trunk, TrunkAddress};
pub use units::{
    Addresses, ExternalAddress, HttpListen, Level, LocalNetworks, Period, Ports, Prompts, ReflectorListen,
};
pub(crate) use words::{realm as check_realm, user as check_user};

#[cfg(test)]
mod tests;

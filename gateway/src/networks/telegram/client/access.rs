//! How an account reaches the service: as which application, with which login, and by which way.

use std::path::PathBuf;
use std::sync::Arc;

use grammers_mtsender::{ConnectionParams, NoRetries, SenderPool};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::session::Login;
use crate::config::{SocksProxy, TelegramAccount};

/// What a client is made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    /// Identifies the operator's application to the service.
    pub api_id: i32,
    /// Where the login is kept.
    pub session: PathBuf,
    /// The file of the key to it.
    pub key: PathBuf,
    /// By which way; `None`: straight.
    pub proxy: Option<SocksProxy>,
    /// Whether a new login is one at the service's public test service.
    pub is_test: bool,
}

impl Access {
    /// As the settings say.
    #[must_use]
    pub fn of(account: &TelegramAccount) -> Self {
        Self {
            api_id: account.api_id,
            session: account.session_file.clone(),
            key: account.session_key_file.clone(),
            proxy: account.proxy.clone(),
            is_test: account.test_service,
        }
    }

    /// Reads the login, or begins one.
    ///
    /// # Errors
    /// If it cannot be used.
    pub(super) fn login(&self) -> Result<Login, super::session::SessionError> {
        Login::open(&self.session, &self.key)
    }

    /// The way to the service that a login knows.
    ///
    /// # Errors
    /// If the proxy is not found.
    pub(super) async fn pool(&self, login: &Arc<Login>) -> anyhow::Result<SenderPool> {
        let proxy_url = match &self.proxy {
            Some(proxy) => Some(url_of(proxy).await?.to_string()),
            None => None,
        };
        let params = ConnectionParams {
            device_model: "Quartet".to_owned(),
            system_version: std::env::consts::OS.to_owned(),
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
            system_lang_code: "en".to_owned(),
            lang_code: "en".to_owned(),
            retry_policy: Box::new(NoRetries),
            updates_channel_capacity: super::UPDATES,
            proxy_url,
            ..ConnectionParams::default()
        };
        Ok(SenderPool::with_configuration(Arc::clone(login), self.api_id, params))
    }
}

/// As the library wants it; a host name is looked up here.
async fn url_of(proxy: &SocksProxy) -> anyhow::Result<Zeroizing<String>> {
    let found = tokio::net::lookup_host(&proxy.place).await;
    let address = found.ok().and_then(|mut addresses| addresses.next());
    let address = address.ok_or_else(|| anyhow::anyhow!("the proxy {} is not found", proxy.place))?;
    let login = proxy
        .login
        .as_ref()
        .map_or_else(Zeroizing::default, |(user, password)| {
            Zeroizing::new(format!("{user}:{}@", **password))
        });
    Ok(Zeroizing::new(format!("socks5://{}{address}", *login)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proxy_is_a_place_and_a_login_that_nobody_sees() {
        let (user, password) = SocksProxy::read_login("anna:s3cret!\n").unwrap();
        assert_eq!((user.as_str(), password.as_str()), ("anna", "s3cret!"));
        assert!(SocksProxy::read_login("anna").unwrap_err().contains("USER:PASSWORD"));
        for text in ["anna:a@b", "anna:a/b", ":x", "anna:a b", "anna:p%41"] {
            assert!(
                SocksProxy::read_login(text).unwrap_err().contains("only letters"),
                "{text}"
            );
        }
        let proxy = SocksProxy {
            place: "127.0.0.1:1080".to_owned(),
            login: Some((user, password)),
        };
        assert_eq!(*url_of(&proxy).await.unwrap(), "socks5://anna:s3cret!@127.0.0.1:1080");
        assert_eq!(format!("{proxy:?}"), "SocksProxy(127.0.0.1:1080)");
        let nowhere = SocksProxy {
            place: "nowhere.invalid:1080".to_owned(),
            login: None,
        };
        assert!(url_of(&nowhere).await.unwrap_err().to_string().contains("is not found"));
    }
}

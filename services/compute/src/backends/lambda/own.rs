//! Functions in accounts that belong to agents: the same calls, with the keys of the request and no others.

use sre_service::connectors::SecretSetting;

use super::{Client, Lambda, Settings};
use crate::code::Account;
use crate::error::CodeError;

/// The way to agents' own accounts. Clones share its connections.
#[derive(Clone)]
pub struct OwnAccounts {
    http: reqwest::Client,
    /// Another address than the region's own.
    endpoint: Option<String>,
}

impl OwnAccounts {
    /// The way there. `endpoint` is the operator's: an agent chooses a region, never an address.
    pub fn new(endpoint: &str) -> anyhow::Result<Self> {
        let http = super::client::http(super::settings::TIMEOUT)?;
        Ok(Self { http, endpoint: (!endpoint.is_empty()).then(|| endpoint.to_owned()) })
    }

    /// The functions of an account; nothing is called yet.
    pub(crate) fn of(&self, account: &Account) -> Result<Lambda, CodeError> {
        let account = account.given();
        let settings = Settings {
            cost_micros_per_second: 0,
            endpoint: self.endpoint.clone(),
            ..Settings::new(
                &account.region,
                &account.access_key_id,
                SecretSetting::from(account.secret_access_key.as_str()),
                &account.role,
            )
        };
        let wrong = |error: anyhow::Error| CodeError::Account(format!("the account's {error:#}"));
        settings.check().map_err(wrong)?;
        let client = Client::over(self.http.clone(), &settings).map_err(wrong)?;
        Ok(Lambda { client: client.of_agent(), settings })
    }
}

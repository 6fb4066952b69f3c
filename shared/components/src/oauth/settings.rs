//! The connection that a component's settings name. One way to say it, whatever the component calls.

use sre_engine::spec::SettingSpec;

use super::Connection;
use super::record::{CLIENT_CREDENTIALS, Record};
use crate::context::Call;
use crate::settings;

pub(crate) const SERVICE: SettingSpec = SettingSpec::any("oauthService", "OAuth Service")
    .nullable()
    .describe("of older agents: the service whose tokens are used, `None` for none");
pub(crate) const CONNECTION: SettingSpec = SettingSpec::any("oauth_con_id", "OAuth Connection")
    .nullable()
    .describe(
        "the key in the managed vault of the agent that holds the connection's tokens; `sre oauth login` makes it",
    );
pub(crate) const CLIENT_ID: SettingSpec =
    SettingSpec::any("clientID", "Client ID").nullable().template().describe("OAuth 2: the application's id");
pub(crate) const CLIENT_SECRET: SettingSpec = SettingSpec::any("clientSecret", "Client Secret")
    .nullable()
    .template()
    .describe("OAuth 2: its secret, from the vault: `{{KEY(name)}}`");
pub(crate) const TOKEN_URL: SettingSpec = SettingSpec::any("tokenURL", "Token URL")
    .nullable()
    .template()
    .describe("OAuth 2: where tokens come from");
pub(crate) const SCOPE: SettingSpec =
    SettingSpec::any("scope", "Scope").nullable().template().describe("OAuth 2: what is asked for");

impl<'a> Connection<'a> {
    /// The connection that the settings name; none where they name none.
    pub(crate) fn of_settings(call: Call<'a>) -> Option<Self> {
        let key = key(call)?;
        Some(Self::new(call, key, own(call, named(call, "oauthService").as_deref())))
    }
}

/// The key in the managed vault under which a component's connection is.
pub(crate) fn key(call: Call<'_>) -> Option<String> {
    let (id, service) = (named(call, "oauth_con_id"), named(call, "oauthService"));
    if id.is_none() && service.is_none() {
        return None;
    }
    Some(id.unwrap_or_else(|| format!("OAUTH_{}_TOKENS", call.node.id)))
}

fn named(call: Call<'_>, name: &str) -> Option<String> {
    let text = settings::text(call, name).trim().to_owned();
    (!text.is_empty() && text != "None").then_some(text)
}

/// An application that has credentials of its own needs nobody who logs in: its record is made at the first use.
fn own(call: Call<'_>, service: Option<&str>) -> Option<Record> {
    let plain = |text: &str| text.to_lowercase().replace([' ', '_', '-'], "");
    if plain(service?) != plain(CLIENT_CREDENTIALS) {
        return None;
    }
    let mut settings: serde_json::Map<String, serde_json::Value> =
        [("type", "oauth2"), ("service", CLIENT_CREDENTIALS)]
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into_iter()
            .collect();
    for name in ["tokenURL", "clientID", "clientSecret", "scope"] {
        settings.insert(name.to_owned(), settings::text(call, name).into());
    }
    Some(Record::new(settings, &call.context.agent().team))
}

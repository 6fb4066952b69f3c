//! Who the agent is to the service: a bearer, a name and a password, or a key, all of them templates that may name
//! vault keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use sre_engine::spec::SettingSpec;
use url::Url;

use super::document::Document;
use crate::context::Call;
use crate::settings;
use crate::toolbox::headers;

pub(crate) const AUTHENTICATION: SettingSpec =
    SettingSpec::one_of("authentication", "Authentication", &["none", "bearer", "basic", "apiKey"])
        .default("none")
        .describe("who the agent is to the service");
pub(crate) const TOKEN: SettingSpec = SettingSpec::text_or_empty("authToken", "Token or Key", 4096)
    .template()
    .describe("the bearer, the password or the key, for example `{{KEY(my-key)}}`");
pub(crate) const USER: SettingSpec =
    SettingSpec::text_or_empty("authUser", "User", 512).template().describe("the name, for `basic`");
pub(crate) const KEY_NAME: SettingSpec = SettingSpec::text_or_empty("authKeyName", "Key Name", 200)
    .describe("what the key is called in a request, for `apiKey`; empty for what the document says");
pub(crate) const KEY_IN: SettingSpec =
    SettingSpec::one_of("authKeyIn", "Key Place", &["", "header", "query", "cookie"])
        .describe("where the key goes, for `apiKey`; empty for what the document says");

/// What every request of a toolbox carries.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    headers: HeaderMap,
    query: Option<(String, SecretString)>,
    cookie: Option<(String, SecretString)>,
}

impl Credentials {
    /// As the settings say.
    pub async fn of(call: Call<'_>, document: &Document) -> Result<Self, String> {
        let mut credentials =
            Self { headers: headers::of_setting(call, "headers").await?, ..Self::default() };
        let kind = settings::text(call, "authentication");
        if matches!(kind.as_str(), "" | "none") {
            return Ok(credentials);
        }
        let token = rendered(call, "authToken").await?;
        if token.is_empty() {
            return Err(
                "authToken is empty: name a vault key there, or set authentication to none".to_owned()
            );
        }
        match kind.as_str() {
            "bearer" => credentials.authorization(&format!("Bearer {token}"))?,
            "basic" => {
                let user = rendered(call, "authUser").await?;
                credentials
                    .authorization(&format!("Basic {}", STANDARD.encode(format!("{user}:{token}"))))?;
            }
            _ => credentials.key(call, document, token)?,
        }
        Ok(credentials)
    }

    fn authorization(&mut self, text: &str) -> Result<(), String> {
        self.header(AUTHORIZATION, text)
    }

    fn header(&mut self, name: HeaderName, text: &str) -> Result<(), String> {
        let value = HeaderValue::from_str(text);
        let mut value = value.map_err(|_| "authToken has characters that no header can carry".to_owned())?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }

    fn key(&mut self, call: Call<'_>, document: &Document, key: String) -> Result<(), String> {
        let (name, place) = (settings::text(call, "authKeyName"), settings::text(call, "authKeyIn"));
        let (said_name, said_place) = document.key_scheme().unwrap_or_default();
        let or = |own: String, said: String| if own.is_empty() { said } else { own };
        let (name, place) = (or(name, said_name), or(place, said_place));
        if name.is_empty() {
            return Err("the document names no key: set authKeyName and authKeyIn".to_owned());
        }
        match place.as_str() {
            "query" => self.query = Some((name, key.into())),
            "cookie" => self.cookie = Some((name, key.into())),
            _ => {
                let header = HeaderName::try_from(name.as_str());
                self.header(header.map_err(|_| format!("{name:?} is no name of a header"))?, &key)?;
            }
        }
        Ok(())
    }

    /// Whether anything would go astray with a redirect.
    pub fn any(&self) -> bool {
        !self.headers.is_empty() || self.query.is_some() || self.cookie.is_some()
    }

    /// Puts them into a request. They count over what a model says.
    pub fn apply(&self, url: &mut Url, headers: &mut HeaderMap, cookies: &mut Vec<String>) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        if let Some((name, value)) = &self.query {
            let others: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(known, _)| known != name)
                .map(|(k, v)| (k.into(), v.into()))
                .collect();
            url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value.expose_secret());
        }
        if let Some((name, value)) = &self.cookie {
            cookies.retain(|cookie| !cookie.starts_with(&format!("{name}=")));
            cookies.push(format!("{name}={}", value.expose_secret()));
        }
    }
}

async fn rendered(call: Call<'_>, name: &str) -> Result<String, String> {
    let text = settings::text(call, name);
    settings::render(call, &text).await.map_err(|error| error.message)
}

//! Keys of providers: found when a call is made, kept no longer than it, sent to the provider's host alone.

use std::collections::BTreeSet;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tonic::Status;

use super::error::InferenceError;
use crate::models::{CredentialMode, Resolved};

/// The caller's secrets.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// A secret of the caller's team; none where there is no such key, or the caller may not use it.
    async fn access(&self, key: &str) -> Result<Option<SecretString>, Status>;
    /// The keys that the caller may use.
    async fn keys(&self) -> Result<BTreeSet<String>, Status>;
}

/// Nobody's secrets.
#[derive(Debug, Clone, Copy)]
pub struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn access(&self, _key: &str) -> Result<Option<SecretString>, Status> {
        Ok(None)
    }

    async fn keys(&self) -> Result<BTreeSet<String>, Status> {
        Ok(BTreeSet::new())
    }
}

/// The environment, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(String, SecretString)>);

impl Environment {
    /// All variables of the process.
    pub fn of_process() -> Self {
        Self(std::env::vars().map(|(name, value)| (name, SecretString::from(value))).collect())
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect())
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)?;
        (!found.expose_secret().is_empty()).then_some(found)
    }
}

/// What a call is paid with: a key, or the fields that a cloud wants.
#[derive(Clone, Default)]
pub struct Key(std::collections::BTreeMap<String, SecretString>);

impl Key {
    /// A key alone.
    pub fn of(api_key: SecretString) -> Self {
        Self([("apiKey".to_owned(), api_key)].into())
    }

    /// The fields that a cloud wants, by the names that entries of the catalogue give them.
    pub fn of_fields(fields: impl IntoIterator<Item = (String, SecretString)>) -> Self {
        Self(fields.into_iter().collect())
    }

    /// The key of providers that want one alone.
    pub fn api_key(&self) -> Option<&SecretString> {
        self.field("apiKey")
    }

    /// A field, by the name that entries of the catalogue give it.
    pub fn field(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a model needs before it can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing more.
    Nothing,
    /// One of these vault keys.
    AnyOf(Vec<String>),
}

/// The variable of the environment that holds a deployment's key for a provider; none where none is needed.
pub type Variable = Option<&'static str>;

/// The ways to a key, in order, for a model at a provider.
fn modes(model: &Resolved, variable: Variable) -> Vec<CredentialMode> {
    let named = |name: &str| CredentialMode::Named(name.to_owned());
    match &model.credentials {
        Some(credentials) => credentials.modes().to_vec(),
        // An entry that sends its calls elsewhere and names no key sends none: the key for the provider's
        // own address is not that of a stranger.
        None if model.base_url.is_some() || variable.is_none() => vec![named("none")],
        None => vec![named("internal"), named("vault")],
    }
}

/// The vault key of a provider.
pub fn vault_key(provider: &str) -> String {
    provider.to_lowercase()
}

/// Finds the key of a call: none where the provider needs none.
pub async fn find(
    model: &Resolved,
    variable: Variable,
    environment: &Environment,
    secrets: &dyn Secrets,
) -> Result<Option<SecretString>, InferenceError> {
    let mut missing = None;
    for mode in modes(model, variable) {
        match &mode {
            CredentialMode::Object(fields) => match object_key(fields, environment, secrets).await? {
                Found::Key(key) => return Ok(Some(key)),
                Found::Empty => return Ok(None),
                Found::Missing(key) => missing = missing.or(Some(key)),
            },
            CredentialMode::Named(name) => match name.as_str() {
                "none" => return Ok(None),
                "internal" => {
                    let found = variable.and_then(|name| environment.get(name));
                    if let Some(key) = found {
                        return Ok(Some(key.clone()));
                    }
                }
                "vault" => {
                    let found = secrets.access(&vault_key(&model.provider)).await;
                    if let Some(key) = found.map_err(InferenceError::Service)? {
                        return Ok(Some(key));
                    }
                }
                other => {
                    let words = format!("model {:?} has unknown credentials {other:?}", model.entry);
                    return Err(InferenceError::invalid(
                        "model",
                        format!("{words}: use none, internal or vault"),
                    ));
                }
            },
        }
    }
    Err(InferenceError::KeyMissing {
        provider: model.provider.clone(),
        key: missing.unwrap_or_else(|| vault_key(&model.provider)),
        environment: variable,
    })
}

/// What a caller must configure to use a model, without looking at any value.
pub fn need(model: &Resolved, variable: Variable, environment: &Environment) -> Need {
    let mut keys = Vec::new();
    for mode in modes(model, variable) {
        match &mode {
            CredentialMode::Object(fields) => match fields.get("apiKey").and_then(Value::as_str) {
                Some(text) => match key_template(text) {
                    Some(key) => keys.push(key.to_owned()),
                    None => match env_template(text) {
                        Some(name) if environment.get(name).is_none() => {}
                        _ => return Need::Nothing,
                    },
                },
                None => return Need::Nothing,
            },
            CredentialMode::Named(name) => match name.as_str() {
                "internal" if variable.is_some_and(|name| environment.get(name).is_some()) => {
                    return Need::Nothing;
                }
                "internal" => {}
                "vault" => keys.push(vault_key(&model.provider)),
                _ => return Need::Nothing,
            },
        }
    }
    if keys.is_empty() {
        keys.push(vault_key(&model.provider));
    }
    Need::AnyOf(keys)
}

enum Found {
    Key(SecretString),
    /// The entry says that there is none.
    Empty,
    /// The vault lacks the key that the entry names.
    Missing(String),
}

async fn object_key(
    fields: &serde_json::Map<String, Value>,
    environment: &Environment,
    secrets: &dyn Secrets,
) -> Result<Found, InferenceError> {
    let Some(text) = fields.get("apiKey").and_then(Value::as_str).filter(|text| !text.is_empty()) else {
        return Ok(Found::Empty);
    };
    if let Some(name) = env_template(text) {
        let found = environment.get(name);
        return Ok(found.map_or_else(|| Found::Missing(name.to_owned()), |key| Found::Key(key.clone())));
    }
    if let Some(key) = key_template(text) {
        let found = secrets.access(key).await.map_err(InferenceError::Service)?;
        return Ok(found.map_or_else(|| Found::Missing(key.to_owned()), Found::Key));
    }
    Ok(Found::Key(text.into()))
}

/// The key in `{{KEY(name)}}`.
fn key_template(text: &str) -> Option<&str> {
    text.trim().strip_prefix("{{KEY(")?.strip_suffix(")}}").map(str::trim).filter(|key| !key.is_empty())
}

/// The variable in `$env(NAME)`.
fn env_template(text: &str) -> Option<&str> {
    text.trim().strip_prefix("$env(")?.strip_suffix(')').map(str::trim)
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;

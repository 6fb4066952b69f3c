//! Keys of providers: found when a call is made, kept no longer than it, sent to the provider's host alone.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use tonic::Status;

use super::error::InferenceError;
use crate::models::{CredentialMode, Resolved};

/// An object of credentials nests no deeper.
const MAX_DEPTH: usize = 8;

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
pub struct Key {
    fields: BTreeMap<String, SecretString>,
    /// It is the team's, not the deployment's.
    own: bool,
}

impl Key {
    /// A key alone.
    pub fn of(api_key: SecretString) -> Self {
        Self { fields: [("apiKey".to_owned(), api_key)].into(), own: false }
    }

    /// The fields that a cloud wants, by the names that entries of the catalogue give them.
    #[cfg(test)]
    pub fn of_fields(fields: impl IntoIterator<Item = (String, SecretString)>) -> Self {
        Self { fields: fields.into_iter().collect(), own: false }
    }

    /// The key of providers that want one alone.
    pub fn api_key(&self) -> Option<&SecretString> {
        self.field("apiKey")
    }

    /// A field, by the name that entries of the catalogue give it; an inner one as `outer.inner`.
    pub fn field(&self, name: &str) -> Option<&SecretString> {
        self.fields.get(name)
    }

    /// Whether it is the team's own.
    pub fn is_own(&self) -> bool {
        self.own
    }

    fn own(fields: BTreeMap<String, SecretString>) -> Self {
        Self { fields, own: true }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.fields.keys()).finish()
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

/// Where a key may come from and go to.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// The model, in the place where it is called.
    pub model: &'a Resolved,
    /// Where the deployment's key for the provider is.
    pub variable: Variable,
    /// The environment.
    pub environment: &'a Environment,
    /// The call goes where keys of the deployment may go: to an address that the operator chose (D29).
    pub pinned: bool,
}

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

impl Search<'_> {
    /// Finds the key of a call: none where the provider needs none. The first way that yields one counts; what is
    /// missing is passed over (D31).
    pub async fn find(&self, secrets: &dyn Secrets) -> Result<Option<Key>, InferenceError> {
        let mut missing = None;
        for mode in modes(self.model, self.variable) {
            let found = match &mode {
                CredentialMode::Object(fields) => self.of_object(fields, secrets).await?,
                CredentialMode::Named(name) => match name.as_str() {
                    "none" => Found::Empty,
                    "internal" => self.of_deployment(),
                    "vault" => of_vault(&vault_key(&self.model.provider), secrets).await?,
                    "bedrock_vault" => self.of_bedrock(secrets).await?,
                    "vertexai_vault" => self.of_vertex(secrets).await?,
                    other => return Err(self.unknown_mode(other)),
                },
            };
            match found {
                Found::Key(key) => return Ok(Some(key)),
                Found::Empty => return Ok(None),
                Found::Missing(key) => missing = missing.or(key),
            }
        }
        Err(InferenceError::KeyMissing {
            provider: self.model.provider.clone(),
            key: missing.unwrap_or_else(|| vault_key(&self.model.provider)),
            environment: self.variable,
        })
    }

    fn reads_variables(&self) -> bool {
        self.pinned && self.model.origin.is_operator()
    }

    fn lacks(&self, variable: &str) -> bool {
        !self.reads_variables() || self.environment.get(variable).is_none()
    }

    fn unknown_mode(&self, mode: &str) -> InferenceError {
        let words = format!("model {:?} has unknown credentials {mode:?}", self.model.entry);
        InferenceError::invalid(
            "model",
            format!("{words}: use none, internal, vault, bedrock_vault or vertexai_vault"),
        )
    }

    /// The deployment's own key; it goes to no address that a team or a caller chose.
    fn of_deployment(&self) -> Found {
        let fields = self.pinned.then(|| internal(self.model, self.variable, self.environment)).flatten();
        fields.map_or(Found::Missing(None), |fields| Found::Key(Key { fields, own: false }))
    }

    async fn of_bedrock(&self, secrets: &dyn Secrets) -> Result<Found, InferenceError> {
        let mut fields = BTreeMap::new();
        for (setting, field, needed) in [
            ("keyIDName", "accessKeyId", true),
            ("secretKeyName", "secretAccessKey", true),
            ("sessionKeyName", "sessionToken", false),
        ] {
            let Some(key) = self.model.setting(setting) else {
                if needed {
                    return Ok(Found::Missing(None));
                }
                continue;
            };
            let key = key_template(key).unwrap_or(key);
            match secrets.access(key).await.map_err(InferenceError::Service)? {
                Some(value) => {
                    fields.insert(field.to_owned(), value);
                }
                None if needed => return Ok(Found::Missing(Some(key.to_owned()))),
                None => {}
            }
        }
        Ok(Found::Key(Key::own(fields)))
    }

    /// The fields of a service account. One that is no JSON is as one that is not there (D31).
    async fn of_vertex(&self, secrets: &dyn Secrets) -> Result<Found, InferenceError> {
        let named =
            self.model.setting("jsonCredentialsName").or_else(|| self.model.setting("credentialsName"));
        let Some(key) = named.map(|key| key_template(key).unwrap_or(key)) else {
            return Ok(Found::Missing(None));
        };
        let found = secrets.access(key).await.map_err(InferenceError::Service)?;
        let fields = found.as_ref().and_then(service_account);
        Ok(fields.map_or_else(|| Found::Missing(Some(key.to_owned())), |fields| Found::Key(Key::own(fields))))
    }

    async fn of_object(
        &self,
        fields: &Map<String, Value>,
        secrets: &dyn Secrets,
    ) -> Result<Found, InferenceError> {
        let mut key = Key::default();
        let mut texts = Vec::new();
        flatten("", fields, 0, &mut texts);
        for (name, text) in texts {
            if name == "isUserKey" {
                key.own |= text == "true";
                continue;
            }
            match self.expand(&text, secrets, &mut key.own).await? {
                Ok(value) => {
                    key.fields.insert(name, value);
                }
                Err(missing) => return Ok(Found::Missing(Some(missing))),
            }
        }
        key.fields.retain(|_, value| !value.expose_secret().is_empty());
        Ok(if key.fields.is_empty() { Found::Empty } else { Found::Key(key) })
    }

    /// A text with its templates filled in, or what one of them lacks.
    async fn expand(
        &self,
        text: &str,
        secrets: &dyn Secrets,
        own: &mut bool,
    ) -> Result<Result<SecretString, String>, InferenceError> {
        if let Some(name) = env_template(text) {
            // Variables are the operator's: a team's entry that names one would send it somewhere.
            let found = self.environment.get(name).filter(|_| self.reads_variables());
            return Ok(found.cloned().ok_or_else(|| name.to_owned()));
        }
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{KEY(") {
            let Some((key, after)) = after.split_once(")}}") else { break };
            let Some(value) = secrets.access(key.trim()).await.map_err(InferenceError::Service)? else {
                return Ok(Err(key.trim().to_owned()));
            };
            *own = true;
            whole.push_str(before);
            whole.push_str(value.expose_secret());
            rest = after;
        }
        whole.push_str(rest);
        Ok(Ok(whole.into()))
    }

    /// What a caller must configure, without looking at any value.
    pub fn need(&self) -> Need {
        let mut keys = Vec::new();
        for mode in modes(self.model, self.variable) {
            match &mode {
                CredentialMode::Object(fields) => {
                    let mut texts = Vec::new();
                    flatten("", fields, 0, &mut texts);
                    let mut wanted =
                        texts.iter().filter_map(|(_, text)| key_template(text)).map(str::to_owned).peekable();
                    let mut variables = texts.iter().filter_map(|(_, text)| env_template(text));
                    if wanted.peek().is_some() {
                        keys.extend(wanted);
                    } else if !variables.any(|name| self.lacks(name)) {
                        return Need::Nothing;
                    }
                }
                CredentialMode::Named(name) => match name.as_str() {
                    "internal" => {
                        if matches!(self.of_deployment(), Found::Key(_)) {
                            return Need::Nothing;
                        }
                    }
                    "vault" => keys.push(vault_key(&self.model.provider)),
                    "bedrock_vault" => keys.extend(self.model.setting("keyIDName").map(str::to_owned)),
                    "vertexai_vault" => {
                        keys.extend(self.model.setting("jsonCredentialsName").map(str::to_owned));
                    }
                    _ => return Need::Nothing,
                },
            }
        }
        if keys.is_empty() {
            keys.push(vault_key(&self.model.provider));
        }
        Need::AnyOf(keys)
    }
}

enum Found {
    Key(Key),
    /// The entry says that there is none.
    Empty,
    /// Not there; the vault key or variable that lacks, where one does.
    Missing(Option<String>),
}

async fn of_vault(key: &str, secrets: &dyn Secrets) -> Result<Found, InferenceError> {
    let found = secrets.access(key).await.map_err(InferenceError::Service)?;
    Ok(found.map_or_else(
        || Found::Missing(Some(key.to_owned())),
        |value| Found::Key(Key { own: true, ..Key::of(value) }),
    ))
}

/// The deployment's key for a provider, from the environment.
fn internal(
    model: &Resolved,
    variable: Variable,
    environment: &Environment,
) -> Option<BTreeMap<String, SecretString>> {
    if let Some(key) = variable.and_then(|name| environment.get(name)) {
        return Some([("apiKey".to_owned(), key.clone())].into());
    }
    if model.provider.eq_ignore_ascii_case("Bedrock") {
        let field =
            |variable: &str, field: &str| Some((field.to_owned(), environment.get(variable)?.clone()));
        let needed =
            [field("AWS_ACCESS_KEY_ID", "accessKeyId")?, field("AWS_SECRET_ACCESS_KEY", "secretAccessKey")?];
        return Some(needed.into_iter().chain(field("AWS_SESSION_TOKEN", "sessionToken")).collect());
    }
    if model.provider.eq_ignore_ascii_case("VertexAI") {
        return service_account(environment.get("GOOGLE_SERVICE_ACCOUNT_JSON")?);
    }
    None
}

/// The texts of a service account's JSON.
fn service_account(text: &SecretString) -> Option<BTreeMap<String, SecretString>> {
    let parsed: Map<String, Value> = serde_json::from_str(text.expose_secret()).ok()?;
    let texts = parsed.into_iter().filter_map(|(name, value)| match value {
        Value::String(text) if !text.is_empty() => Some((name, SecretString::from(text))),
        _ => None,
    });
    let fields: BTreeMap<_, _> = texts.collect();
    (!fields.is_empty()).then_some(fields)
}

/// The texts of an object, inner ones under `outer.inner`.
fn flatten(prefix: &str, fields: &Map<String, Value>, depth: usize, texts: &mut Vec<(String, String)>) {
    for (name, value) in fields {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::String(text) => texts.push((name, text.clone())),
            Value::Bool(_) | Value::Number(_) => texts.push((name, value.to_string())),
            Value::Object(inner) if depth < MAX_DEPTH => flatten(&name, inner, depth + 1, texts),
            _ => {}
        }
    }
}

/// The key in `{{KEY(name)}}`.
fn key_template(text: &str) -> Option<&str> {
    text.split_once("{{KEY(")?.1.split_once(")}}").map(|(key, _)| key.trim()).filter(|key| !key.is_empty())
}

/// The variable in `$env(NAME)`.
fn env_template(text: &str) -> Option<&str> {
    text.trim().strip_prefix("$env(")?.strip_suffix(')').map(str::trim)
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;

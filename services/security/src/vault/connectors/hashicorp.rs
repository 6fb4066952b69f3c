//! HashiCorp Vault's KV version 2, and what speaks its HTTP API (OpenBao): `<mount>/<prefix>/<team>/<key>`, the value
//! in one field of the secret. The server seals, keeps the versions and says who may in.
//!
//! Who set a version is kept beside its value; lists, which read no values, do not know it.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use percent_encoding::percent_decode_str;
use reqwest::Method;
use serde_json::{Map, Value, json};
use sre_service::connectors::{Connector, Opening, Unhealthy};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::hashicorp::Client;
use crate::hashicorp::settings::Settings;
use crate::moment::Moment;
use crate::vault::secret::SecretValue;

/// Look-ups of a list that are under way at once.
const AT_ONCE: usize = 16;
/// Fields beside the value.
const UPDATER: &str = "updater";
const ENCODING: &str = "encoding";
const BASE64: &str = "base64";

/// Secrets of a KV version 2 engine.
pub struct Hashicorp {
    client: Arc<Client>,
    mount: String,
    prefix: String,
    field: String,
}

/// Opens an instance.
pub async fn open(opening: Opening) -> anyhow::Result<Arc<dyn SecretStore>> {
    let settings: Settings = opening.settings()?;
    let vault = Hashicorp::open(&settings, &opening.data_dir).await?;
    // Outside a service it is opened for a look alone.
    if let Ok(host) = opening.host() {
        vault.client.keep_fresh(host);
    }
    Ok(Arc::new(vault))
}

/// Checks settings.
pub fn check(opening: &Opening) -> anyhow::Result<()> {
    opening.settings::<Settings>()?.check()
}

impl Hashicorp {
    /// Logs in.
    pub async fn open(settings: &Settings, data_dir: &std::path::Path) -> anyhow::Result<Self> {
        let client = Client::open(settings, data_dir).await?;
        let mount = settings.mount.clone().unwrap_or_else(|| "secret".to_owned());
        Ok(Self { client, mount, prefix: settings.prefix.clone(), field: settings.field.clone() })
    }

    async fn call(
        &self,
        method: Method,
        part: &str,
        team: &str,
        key: Option<&str>,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Option<Value>, SecretStoreError> {
        let name = key.map(segment);
        let mut path: Vec<&str> = self.mount.split('/').collect();
        path.push(part);
        path.extend(self.prefix.split('/'));
        path.push(team);
        path.extend(name.as_deref());
        self.client.call(method, &path, query, body).await
    }

    /// What is known about a secret without its value; none where its current version is deleted.
    async fn metadata(&self, team: &str, key: &str) -> Result<Option<Value>, SecretStoreError> {
        let answer = self.call(Method::GET, "metadata", team, Some(key), &[], None).await?;
        let Some(data) = answer.as_ref().and_then(|answer| answer.get("data")) else { return Ok(None) };
        let current = number(data, "current_version");
        let is_live = data.get("versions").and_then(|all| all.get(current.to_string())).is_some_and(is_live);
        Ok(is_live.then(|| data.clone()))
    }

    fn value(&self, data: &Value) -> Result<SecretValue, SecretStoreError> {
        let text = data.get(&self.field).and_then(Value::as_str).ok_or_else(|| {
            SecretStoreError::Damaged(format!(
                "the secret has no text in its field {:?}: see the setting field",
                self.field
            ))
        })?;
        if data.get(ENCODING).and_then(Value::as_str) == Some(BASE64) {
            let bytes = STANDARD.decode(text);
            let bytes = bytes.map_err(|_| SecretStoreError::Damaged("the secret is no base64".into()))?;
            return Ok(SecretValue::new(bytes));
        }
        Ok(SecretValue::new(text.as_bytes().to_vec()))
    }

    fn fields(&self, value: &SecretValue, updater: &str) -> Value {
        let mut fields = Map::new();
        match std::str::from_utf8(value.expose()) {
            Ok(text) => drop(fields.insert(self.field.clone(), json!(text))),
            Err(_) => {
                fields.insert(self.field.clone(), json!(STANDARD.encode(value.expose())));
                fields.insert(ENCODING.to_owned(), json!(BASE64));
            }
        }
        fields.insert(UPDATER.to_owned(), json!(updater));
        Value::Object(fields)
    }
}

/// A key as one segment of a path. The server refuses two dots in a row anywhere, and a slash makes folders.
fn segment(key: &str) -> Cow<'_, str> {
    if key != "." && !key.contains(['%', '/']) && !key.contains("..") {
        return Cow::Borrowed(key);
    }
    let mut text = String::with_capacity(key.len() + 8);
    let mut after_dot = key == ".";
    for c in key.chars() {
        match c {
            '%' => text.push_str("%25"),
            '/' => text.push_str("%2F"),
            '.' if after_dot => text.push_str("%2E"),
            other => text.push(other),
        }
        after_dot = c == '.';
    }
    Cow::Owned(text)
}

/// The key of a name in a list; none for folders and what somebody else named.
fn key_of(name: &str) -> Option<String> {
    let key = percent_decode_str(name).decode_utf8().ok()?;
    (!name.ends_with('/') && segment(&key) == name).then(|| key.into_owned())
}

fn is_live(version: &Value) -> bool {
    let is_deleted =
        version.get("deletion_time").and_then(Value::as_str).is_some_and(|time| !time.is_empty());
    let is_destroyed = version.get("destroyed").and_then(Value::as_bool).unwrap_or_default();
    !is_deleted && !is_destroyed
}

fn number(of: &Value, field: &str) -> u64 {
    of.get(field).and_then(Value::as_u64).unwrap_or_default()
}

/// A version from what the server says about it.
fn info(key: &str, version: u64, of: &Value, updater: &str) -> SecretInfo {
    let created = of.get("created_time").and_then(Value::as_str).unwrap_or_default();
    let created = OffsetDateTime::parse(created, &Rfc3339).map(|time| time.unix_timestamp_nanos() / 1_000);
    SecretInfo {
        key: key.to_owned(),
        version,
        updated: Moment(created.ok().and_then(|micros| i64::try_from(micros).ok()).unwrap_or_default()),
        updater: updater.to_owned(),
    }
}

fn nothing_there() -> SecretStoreError {
    SecretStoreError::Refused("there is no KV version 2 engine: see the setting mount".into())
}

#[async_trait]
impl Connector for Hashicorp {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.client.health().await.map_err(Unhealthy::new)?;
        self.client.logged_in().await.map_err(Unhealthy::new)
    }
}

#[async_trait]
impl SecretStore for Hashicorp {
    async fn get(
        &self,
        team: &str,
        key: &str,
        version: Option<u64>,
    ) -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError> {
        let asked = version.map(|version| version.to_string());
        let query: Vec<(&str, &str)> = asked.iter().map(|asked| ("version", asked.as_str())).collect();
        let answer = self.call(Method::GET, "data", team, Some(key), &query, None).await?;
        let Some(data) = answer.as_ref().and_then(|answer| answer.get("data")) else { return Ok(None) };
        let (fields, metadata) = (&data["data"], &data["metadata"]);
        if fields.is_null() || !is_live(metadata) {
            return Ok(None);
        }
        let updater = fields.get(UPDATER).and_then(Value::as_str).unwrap_or_default();
        Ok(Some((info(key, number(metadata, "version"), metadata, updater), self.value(fields)?)))
    }

    async fn stat(&self, team: &str, key: &str) -> Result<Option<SecretInfo>, SecretStoreError> {
        Ok(self.versions(team, key, None, 1).await?.into_iter().next())
    }

    async fn put(
        &self,
        team: &str,
        key: &str,
        value: SecretValue,
        updater: &str,
        _: Moment,
    ) -> Result<SecretInfo, SecretStoreError> {
        let body = json!({ "data": self.fields(&value, updater) });
        let answer = self.call(Method::POST, "data", team, Some(key), &[], Some(&body)).await?;
        let made = answer.as_ref().and_then(|answer| answer.get("data")).ok_or_else(nothing_there)?;
        Ok(info(key, number(made, "version"), made, updater))
    }

    async fn delete(&self, team: &str, key: &str) -> Result<bool, SecretStoreError> {
        let was_there = self.metadata(team, key).await?.is_some();
        self.call(Method::DELETE, "metadata", team, Some(key), &[], None).await?;
        Ok(was_there)
    }

    async fn list(
        &self,
        team: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let list = [("list", "true")];
        let answer = self.call(Method::GET, "metadata", team, None, &list, None).await?;
        let names = answer.as_ref().and_then(|answer| answer.pointer("/data/keys")).and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str).filter_map(key_of);
        let mut keys: Vec<String> =
            names.filter(|key| after.is_none_or(|after| key.as_str() > after)).collect();
        keys.sort_unstable();
        // A secret whose current version was deleted elsewhere has a name still.
        let mut rows =
            stream::iter(keys).map(|key| async move { self.stat(team, &key).await }).buffered(AT_ONCE);
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(row) = rows.next().await
        {
            found.extend(row?);
        }
        Ok(found)
    }

    async fn versions(
        &self,
        team: &str,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let Some(metadata) = self.metadata(team, key).await? else { return Ok(Vec::new()) };
        let versions = metadata.get("versions").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut rows: Vec<SecretInfo> = versions
            .iter()
            .filter(|(_, version)| is_live(version))
            .filter_map(|(number, version)| Some(info(key, number.parse().ok()?, version, "")))
            .filter(|row| before.is_none_or(|before| row.version < before))
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.version));
        rows.truncate(limit);
        Ok(rows)
    }
}

#[cfg(test)]
#[path = "hashicorp_tests.rs"]
mod tests;

//! AWS Secrets Manager: `<prefix>/<team>/<agent>/<key>`, each value in an envelope, always: `{"v":1,"value":..}` with its
//! version and end beside it.
//!
//! A version's id names the version before it, and the service gives an id to one value alone: of two who replace the
//! same version, one succeeds. A secret that was deleted keeps its name for days; it is restored when it is set again.
//! What has expired is not there for readers and is left where it is until it is set again, deleted or purged.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sre_service::connectors::{Connector, Opening, Unhealthy};

use super::{Expected, ManagedInfo, ManagedStore, Place, Written};
use crate::aws::{AwsError, Client, Content, Settings};
use crate::moment::Moment;
use crate::vault::connectors::SecretStoreError;
use crate::vault::secret::SecretValue;

/// Writers that may come first.
const TRIES: usize = 32;
/// The largest envelope: the service takes no more.
const MAX_ENVELOPE: usize = 65_536;

/// Secrets of agents in AWS Secrets Manager.
pub struct ManagedSecretsManager {
    client: Client,
    prefix: String,
}

/// What is stored.
#[derive(Serialize, Deserialize)]
struct Envelope {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    version: u64,
    updated_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_us: Option<i64>,
    /// Tells equal values of two writers apart.
    nonce: String,
}

/// What is there.
enum Found {
    /// No such name.
    Nothing,
    /// A name that waits for its deletion.
    Deleted,
    /// A value, expired or not.
    Secret(ManagedInfo, SecretValue),
}

/// Opens an instance.
pub async fn open(opening: Opening) -> anyhow::Result<Arc<dyn ManagedStore>> {
    let store = ManagedSecretsManager::new(&opening.settings()?)?;
    store.check().await?;
    Ok(Arc::new(store))
}

/// The id of the version that follows another.
fn after(version: u64) -> String {
    format!("sre-after-{version:022}")
}

fn is_live(info: &ManagedInfo, now: Moment) -> bool {
    info.expires.is_none_or(|end| end > now)
}

impl Envelope {
    fn new(value: &SecretValue, info: &ManagedInfo) -> Self {
        let text = std::str::from_utf8(value.expose()).ok();
        Self {
            v: 1,
            value: text.map(str::to_owned),
            value_base64: text.is_none().then(|| STANDARD.encode(value.expose())),
            version: info.version,
            updated_us: info.updated.0,
            expires_us: info.expires.map(|end| end.0),
            nonce: sre_proto::ids::new_uuid().to_string(),
        }
    }

    fn open(self) -> Option<(ManagedInfo, SecretValue)> {
        let info = ManagedInfo {
            version: self.version,
            updated: Moment(self.updated_us),
            expires: self.expires_us.map(Moment),
        };
        let value = match (self.value, self.value_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => STANDARD.decode(text).ok()?,
            _ => return None,
        };
        (self.v == 1).then(|| (info, SecretValue::new(value)))
    }
}

impl ManagedSecretsManager {
    /// A client; nothing is called yet.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let prefix = settings.prefix.clone().unwrap_or_else(|| "sre-managed".to_owned());
        Ok(Self { client: Client::new(settings)?, prefix })
    }

    fn name(&self, place: &Place) -> Result<String, SecretStoreError> {
        Client::name(&self.prefix, &[&place.team, &place.agent, &place.key])
    }

    async fn find(&self, name: &str) -> Result<Found, SecretStoreError> {
        let stored = match self.client.value(name, None).await {
            Ok(stored) => stored,
            Err(AwsError::NotFound) => return Ok(Found::Nothing),
            Err(AwsError::Deleted) => return Ok(Found::Deleted),
            Err(error) => return Err(error.into()),
        };
        let envelope: Option<Envelope> = serde_json::from_slice(stored.value.expose()).ok();
        let (info, value) = envelope.and_then(Envelope::open).ok_or_else(|| {
            SecretStoreError::Damaged(format!("{name} holds something else than a managed secret"))
        })?;
        Ok(Found::Secret(info, value))
    }

    /// One try; none where somebody else came first.
    async fn try_set(
        &self,
        name: &str,
        value: &SecretValue,
        expires: Option<Moment>,
        expected: Expected,
        now: Moment,
    ) -> Result<Option<Written>, SecretStoreError> {
        let mut found = self.find(name).await?;
        let current = match &found {
            Found::Secret(info, _) if is_live(info, now) => Some(info.version),
            _ => None,
        };
        let is_expected = match expected {
            Expected::Anything => true,
            Expected::Nothing => current.is_none(),
            Expected::Version(version) => current == Some(version),
        };
        if !is_expected {
            return Ok(Some(Written::Conflict));
        }
        if matches!(found, Found::Deleted) {
            match self.client.restore(name).await {
                Ok(()) | Err(AwsError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
            found = self.find(name).await?;
        }
        let last = match &found {
            Found::Secret(info, _) => Some(info.version),
            Found::Nothing => None,
            Found::Deleted => return Ok(None),
        };
        let from_clock = u64::try_from(now.0).unwrap_or_default().max(1);
        let version = last.map_or(0, |last| last + 1).max(from_clock);
        let info = ManagedInfo { version, updated: now, expires };
        let content = content(value, &info)?;
        let written = match last {
            None => self.client.create(name, &after(0), &content).await,
            Some(last) => self.client.update(name, &after(last), &content).await,
        };
        match written {
            Ok(()) => Ok(Some(Written::Done(info))),
            Err(AwsError::Exists | AwsError::Deleted | AwsError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn content(value: &SecretValue, info: &ManagedInfo) -> Result<Content, SecretStoreError> {
    let json = serde_json::to_vec(&Envelope::new(value, info));
    let json = json.map_err(|error| SecretStoreError::Damaged(error.to_string()))?;
    if json.len() > MAX_ENVELOPE {
        return Err(SecretStoreError::Invalid(format!(
            "the value is too large for AWS Secrets Manager: with its envelope it has {} bytes, {MAX_ENVELOPE} at most",
            json.len()
        )));
    }
    Ok(Content(SecretValue::new(json)))
}

#[async_trait]
impl Connector for ManagedSecretsManager {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.client.ping().await.map_err(|error| Unhealthy::new(SecretStoreError::from(error)))
    }
}

#[async_trait]
impl ManagedStore for ManagedSecretsManager {
    async fn get(
        &self,
        place: &Place,
        now: Moment,
    ) -> Result<Option<(ManagedInfo, SecretValue)>, SecretStoreError> {
        Ok(match self.find(&self.name(place)?).await? {
            Found::Secret(info, value) if is_live(&info, now) => Some((info, value)),
            _ => None,
        })
    }

    async fn set(
        &self,
        place: &Place,
        value: SecretValue,
        expires: Option<Moment>,
        expected: Expected,
        now: Moment,
    ) -> Result<Written, SecretStoreError> {
        let name = self.name(place)?;
        for _ in 0..TRIES {
            if let Some(written) = self.try_set(&name, &value, expires, expected, now).await? {
                return Ok(written);
            }
        }
        Err(SecretStoreError::Busy("too many writers of one secret".to_owned()))
    }

    async fn delete(&self, place: &Place, now: Moment) -> Result<bool, SecretStoreError> {
        let name = self.name(place)?;
        let Found::Secret(info, _) = self.find(&name).await? else { return Ok(false) };
        Ok(self.client.remove(&name).await? && is_live(&info, now))
    }

    async fn purge(&self, team: &str, agent: &str) -> Result<u64, SecretStoreError> {
        let folder = format!("{}/", Client::name(&self.prefix, &[team, agent])?);
        let mut count = 0;
        for listed in self.client.list(&folder).await? {
            count += u64::from(self.client.remove(&listed.name).await?);
        }
        Ok(count)
    }
}

#[cfg(test)]
#[path = "aws_secrets_manager_tests.rs"]
mod tests;

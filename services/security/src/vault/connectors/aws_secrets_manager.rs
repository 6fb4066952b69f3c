//! AWS Secrets Manager: `<prefix>/<team>/<key>`, the value as it is, so that other tools read and write it too.
//!
//! A version's number is in its id. Two writers of one number are told apart by the service, which gives an id to one
//! value alone. A deleted secret that is set again is restored, since its name is taken for days: its numbers go on
//! after a gap, and what is beyond the gap is not there.

use std::sync::Arc;

use async_trait::async_trait;
use sre_service::connectors::{Connector, Opening, Unhealthy};

use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::aws::{AwsError, Client, Content, Settings, number_of, unescape, versioned};
use crate::moment::Moment;
use crate::vault::secret::SecretValue;

/// Writers of one secret that may come first.
const TRIES: usize = 32;

/// Secrets in AWS Secrets Manager.
pub struct SecretsManager {
    client: Client,
    prefix: String,
}

/// Opens an instance.
pub async fn open(opening: Opening) -> anyhow::Result<Arc<dyn SecretStore>> {
    let store = SecretsManager::new(&opening.settings()?)?;
    store.check().await?;
    Ok(Arc::new(store))
}

impl SecretsManager {
    /// A client; nothing is called yet.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let prefix = settings.prefix.clone().unwrap_or_else(|| "sre".to_owned());
        Ok(Self { client: Client::new(settings)?, prefix })
    }

    fn name(&self, team: &str, key: &str) -> Result<String, SecretStoreError> {
        Client::name(&self.prefix, &[team, key])
    }

    /// The versions that belong to the current one, the newest first; none where there is no secret.
    async fn history(&self, name: &str) -> Result<Option<Vec<(String, Moment)>>, SecretStoreError> {
        match self.client.describe(name).await? {
            Some(described) if !described.is_deleted => {}
            _ => return Ok(None),
        }
        let all = match self.client.versions(name).await {
            Err(AwsError::NotFound | AwsError::Deleted) => return Ok(None),
            other => other?,
        };
        let Some((current, created, _)) = all.iter().find(|(_, _, is_current)| *is_current) else {
            return Ok(None);
        };
        let mut found = vec![(current.clone(), *created)];
        let mut number = number_of(current);
        // One by one down to the first, or to a gap.
        while let Some(before) = number.checked_sub(1).filter(|before| *before > 0) {
            let id = versioned(before);
            let Some((_, created, _)) = all.iter().find(|(other, _, _)| *other == id) else { break };
            found.push((id, *created));
            number = before;
        }
        Ok(Some(found))
    }

    /// Sets the next version; none where somebody else took it.
    async fn try_put(&self, name: &str, content: &Content) -> Result<Option<u64>, SecretStoreError> {
        let described = self.client.describe(name).await?;
        let Some(described) = described else {
            return taken(self.client.create(name, &versioned(1), content).await, 1);
        };
        let step = if described.is_deleted { 2 } else { 1 };
        if described.is_deleted {
            match self.client.restore(name).await {
                Ok(()) | Err(AwsError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let all = match self.client.versions(name).await {
            Err(AwsError::NotFound | AwsError::Deleted) => return Ok(None),
            other => other?,
        };
        let last = all.iter().map(|(id, _, _)| number_of(id)).max().unwrap_or_default();
        let number = last + step;
        taken(self.client.update(name, &versioned(number), content).await, number)
    }
}

fn taken(written: Result<(), AwsError>, number: u64) -> Result<Option<u64>, SecretStoreError> {
    match written {
        Ok(()) => Ok(Some(number)),
        Err(AwsError::Exists | AwsError::Deleted | AwsError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn info(key: &str, id: &str, updated: Moment) -> SecretInfo {
    SecretInfo { key: key.to_owned(), version: number_of(id), updated, updater: String::new() }
}

#[async_trait]
impl Connector for SecretsManager {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.client.ping().await.map_err(|error| Unhealthy::new(SecretStoreError::from(error)))
    }
}

#[async_trait]
impl SecretStore for SecretsManager {
    async fn get(
        &self,
        team: &str,
        key: &str,
        version: Option<u64>,
    ) -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError> {
        let name = self.name(team, key)?;
        let asked = version.map(versioned);
        if let Some(asked) = &asked {
            let history = self.history(&name).await?.unwrap_or_default();
            if !history.iter().any(|(id, _)| id == asked) {
                return Ok(None);
            }
        }
        match self.client.value(&name, asked.as_deref()).await {
            Ok(found) => Ok(Some((info(key, &found.id, found.created), found.value))),
            Err(AwsError::NotFound | AwsError::Deleted) => Ok(None),
            Err(error) => Err(error.into()),
        }
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
        now: Moment,
    ) -> Result<SecretInfo, SecretStoreError> {
        let name = self.name(team, key)?;
        let content = Content(value);
        for _ in 0..TRIES {
            if let Some(version) = self.try_put(&name, &content).await? {
                let (key, updater) = (key.to_owned(), updater.to_owned());
                return Ok(SecretInfo { key, version, updated: now, updater });
            }
        }
        Err(SecretStoreError::Busy("too many writers of one secret".to_owned()))
    }

    async fn delete(&self, team: &str, key: &str) -> Result<bool, SecretStoreError> {
        Ok(self.client.remove(&self.name(team, key)?).await?)
    }

    async fn list(
        &self,
        team: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let folder = format!("{}/", Client::name(&self.prefix, &[team])?);
        let mut rows: Vec<SecretInfo> = self
            .client
            .list(&folder)
            .await?
            .iter()
            .filter_map(|listed| {
                let key = unescape(listed.name.strip_prefix(&folder)?)?;
                Some(info(&key, &listed.current, listed.changed))
            })
            .filter(|row| after.is_none_or(|after| row.key.as_str() > after))
            .collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows.truncate(limit);
        Ok(rows)
    }

    async fn versions(
        &self,
        team: &str,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let history = self.history(&self.name(team, key)?).await?.unwrap_or_default();
        let rows = history.iter().map(|(id, created)| info(key, id, *created));
        Ok(rows.filter(|row| before.is_none_or(|before| row.version < before)).take(limit).collect())
    }
}

#[cfg(test)]
#[path = "aws_secrets_manager_tests.rs"]
mod tests;

//! Secrets of teams. The domain: names, limits, sharing, and what is answered; the backends are behind a trait.
//!
//! A team uses its own; where it has none of that name, one that another team granted to it ([`grants`]). What
//! was written over the API is never expanded, and what looks like a reference to the environment is refused.

pub mod connectors;
pub mod envelope;
pub mod grants;
pub mod keks;
pub mod key_file;
pub mod key_protection;
pub mod keys;
pub mod listing;
pub mod rotation;
pub mod secret;
pub mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use connectors::{SecretInfo, SecretStore, SecretStoreError};
use grants::Grant;
use secret::SecretValue;
use sre_proto::error::Reason;
use sre_service::connectors::{Instance, Instances};

use crate::error::Error;
use crate::moment::Moment;
use crate::page::{self, Page};
use crate::state::State;

/// The largest value.
pub const MAX_VALUE_BYTES: usize = 64 << 10;
/// The longest key.
const MAX_KEY_CHARS: usize = 256;
/// The most keys of one batch.
const MAX_BATCH: usize = 100;

/// The vault. Callers have been checked.
#[derive(Clone)]
pub struct Vault {
    instances: Instances<dyn SecretStore>,
    /// Which instance keeps a team's secrets; the default one for all others.
    teams: Arc<BTreeMap<String, String>>,
    state: State,
}

/// A secret, and the team that it belongs to.
#[derive(Debug)]
pub struct Found {
    /// Without the value.
    pub info: SecretInfo,
    /// The team whose secret it is.
    pub source: String,
}

/// A batch: what exists, and the keys of what does not.
pub struct Batch {
    /// Those that exist, in the order asked for.
    pub found: Vec<(Found, SecretValue)>,
    /// Keys that do not.
    pub missing: Vec<String>,
}

impl Vault {
    /// Over backends, with the grants of the role's store.
    pub fn new(
        instances: Instances<dyn SecretStore>,
        teams: BTreeMap<String, String>,
        state: State,
    ) -> Result<Self, Error> {
        for (team, instance) in &teams {
            if instances.get(instance).is_err() {
                return Err(Error::Precondition(format!(
                    "vault.teams puts team {team} on instance {instance:?}, which no connector of vault has"
                )));
            }
        }
        Ok(Self { instances, teams: Arc::new(teams), state })
    }

    /// The backend that a request names, or the team's.
    fn store(&self, team: &str, instance: &str) -> Result<Instance<dyn SecretStore>, Error> {
        let id = match instance {
            "" => self.teams.get(team).map_or("", String::as_str),
            named => named,
        };
        Ok(self.instances.get(id).map_err(tonic::Status::from)?)
    }

    /// A secret with its value: the team's own, or one granted to it. An earlier version, and a secret of an
    /// instance that the request names, are the team's own alone.
    pub async fn access(
        &self,
        team: &str,
        key: &str,
        version: Option<u64>,
        instance: &str,
    ) -> Result<(Found, SecretValue), Error> {
        check_key(key)?;
        if let Some((info, value)) = self.store(team, instance)?.get(team, key, version).await? {
            return Ok((Found { info, source: team.to_owned() }, value));
        }
        if version.is_none() && instance.is_empty() {
            for owner in self.owners(team, key).await? {
                if let Some((info, value)) = self.store(&owner, "")?.get(&owner, key, None).await? {
                    return Ok((Found { info, source: owner }, value));
                }
            }
        }
        Err(Error::SecretNotFound(key.to_owned()))
    }

    /// A secret without its value, found as [`Self::access`] finds it.
    pub async fn stat(&self, team: &str, key: &str, instance: &str) -> Result<Found, Error> {
        check_key(key)?;
        if let Some(info) = self.store(team, instance)?.stat(team, key).await? {
            return Ok(Found { info, source: team.to_owned() });
        }
        let granted = if instance.is_empty() { self.granted(team, key).await? } else { None };
        granted.ok_or_else(|| Error::SecretNotFound(key.to_owned()))
    }

    /// What another team lets this one use under a key.
    async fn granted(&self, team: &str, key: &str) -> Result<Option<Found>, Error> {
        for owner in self.owners(team, key).await? {
            if let Some(info) = self.store(&owner, "")?.stat(&owner, key).await? {
                return Ok(Some(Found { info, source: owner }));
            }
        }
        Ok(None)
    }

    async fn owners(&self, team: &str, key: &str) -> Result<Vec<String>, Error> {
        let (team, key) = (team.to_owned(), key.to_owned());
        self.state.read(move |conn| grants::owners(conn, &team, &key)).await
    }

    /// Several secrets of a team; a missing one is told beside the others.
    pub async fn access_batch(&self, team: &str, keys: &[String], instance: &str) -> Result<Batch, Error> {
        if keys.len() > MAX_BATCH {
            return Err(Error::invalid("keys", format!("are {}: ask for {MAX_BATCH} at most", keys.len())));
        }
        let mut batch = Batch { found: Vec::with_capacity(keys.len()), missing: Vec::new() };
        for key in keys {
            match self.access(team, key, None, instance).await {
                Ok(secret) => batch.found.push(secret),
                Err(Error::SecretNotFound(_)) => batch.missing.push(key.clone()),
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }

    /// A page of the versions of a team's own secret, the newest first.
    pub async fn versions(
        &self,
        team: &str,
        key: &str,
        page: Page<u64>,
        instance: &str,
    ) -> Result<(Vec<SecretInfo>, String), Error> {
        check_key(key)?;
        let rows = self.store(team, instance)?.versions(team, key, page.after, page.size + 1).await?;
        if rows.is_empty() && page.after.is_none() {
            return Err(Error::SecretNotFound(key.to_owned()));
        }
        Ok(page::cut(rows, page.size, |row| row.version))
    }

    /// Sets a secret.
    pub async fn put(
        &self,
        team: &str,
        key: &str,
        value: SecretValue,
        updater: &str,
        instance: &str,
    ) -> Result<SecretInfo, Error> {
        check_key(key)?;
        check_value(&value)?;
        Ok(self.store(team, instance)?.put(team, key, value, updater, Moment::now()).await?)
    }

    /// Deletes a secret with all its versions and, before, its grants: one that is set again later is not
    /// shared by what was granted earlier.
    pub async fn delete(&self, team: &str, key: &str, instance: &str) -> Result<(), Error> {
        check_key(key)?;
        let store = self.store(team, instance)?;
        if store.stat(team, key).await?.is_none() {
            return Err(Error::SecretNotFound(key.to_owned()));
        }
        if store.id() == self.store(team, "")?.id() {
            let (team, key) = (team.to_owned(), key.to_owned());
            self.state.write(move |tx| grants::delete_all(tx, &team, &key)).await?;
        }
        if store.delete(team, key).await? { Ok(()) } else { Err(Error::SecretNotFound(key.to_owned())) }
    }

    /// Lets another team, or all, use a secret.
    pub async fn grant(&self, owner: &str, key: &str, grantee: &str, creator: &str) -> Result<Grant, Error> {
        check_key(key)?;
        if grantee == owner {
            return Err(Error::invalid("grantee", "is the secret's own team: name another one"));
        }
        if self.store(owner, "")?.stat(owner, key).await?.is_none() {
            return Err(Error::SecretNotFound(key.to_owned()));
        }
        let grant = Grant {
            owner: owner.to_owned(),
            key: key.to_owned(),
            grantee: grantee.to_owned(),
            created: Moment::now(),
            creator: creator.to_owned(),
        };
        self.state
            .write(move |tx| {
                if grant.grantee != grants::ALL && !grants::is_team(tx, &grant.grantee)? {
                    return Err(Error::NotFound(format!("team {}", grant.grantee)));
                }
                grants::insert(tx, &grant)
            })
            .await
    }

    /// Takes a grant back.
    pub async fn revoke(&self, owner: &str, key: &str, grantee: &str) -> Result<(), Error> {
        check_key(key)?;
        let (owner, key, grantee) = (owner.to_owned(), key.to_owned(), grantee.to_owned());
        let what = format!("a grant of {key:?} to {grantee}");
        let gone = self.state.write(move |tx| grants::delete(tx, &owner, &key, &grantee)).await?;
        if gone { Ok(()) } else { Err(Error::NotFound(what)) }
    }

    /// A page of what a team has granted.
    pub async fn grants(
        &self,
        owner: &str,
        page: Page<(String, String)>,
    ) -> Result<(Vec<Grant>, String), Error> {
        let (owner, size) = (owner.to_owned(), page.size);
        let limit = crate::rows::limit(size);
        let rows =
            self.state.read(move |conn| grants::of_owner(conn, &owner, page.after.as_ref(), limit)).await?;
        Ok(page::cut(rows, size, |row| (row.key.clone(), row.grantee.clone())))
    }
}

/// Keys of both vaults.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    let chars = key.chars().count();
    if chars == 0 || chars > MAX_KEY_CHARS || key.chars().any(char::is_control) {
        return Err(Error::invalid(
            "key",
            format!("must have 1 to {MAX_KEY_CHARS} characters, none of them control"),
        ));
    }
    Ok(())
}

/// Values of both vaults. A reference to the environment is refused: it would be text for ever, and whoever
/// writes one expects the service to read its own environment for a tenant.
pub(crate) fn check_value(value: &SecretValue) -> Result<(), Error> {
    let size = value.expose().len();
    if size > MAX_VALUE_BYTES {
        return Err(Error::invalid("value", format!("has {size} bytes: {MAX_VALUE_BYTES} at most")));
    }
    if names_environment(value.expose()) {
        return Err(Error::invalid(
            "value",
            "holds an $env(NAME) reference, which is never expanded here: send the value itself",
        ));
    }
    Ok(())
}

/// Whether a value holds `$env(`, a name, and `)`.
fn names_environment(value: &[u8]) -> bool {
    const OPEN: &[u8] = b"$env(";
    let mut rest = value;
    while let Some(at) = rest.windows(OPEN.len()).position(|window| window == OPEN) {
        rest = rest.get(at + OPEN.len()..).unwrap_or_default();
        if rest.iter().position(|byte| *byte == b')').is_some_and(|end| end > 0) {
            return true;
        }
    }
    false
}

impl From<SecretStoreError> for Error {
    fn from(error: SecretStoreError) -> Self {
        let away = |message: &str| Self::Unavailable {
            reason: Reason::BackendUnavailable,
            message: message.to_owned(),
        };
        match error {
            SecretStoreError::Unavailable(cause) => {
                tracing::warn!(cause, "the vault's backend is unavailable");
                away("the vault's backend is unavailable: try again")
            }
            SecretStoreError::Refused(cause) => {
                tracing::warn!(cause, "the vault's backend refuses this service");
                away("the vault's backend refuses this service: its operator finds the reason in the log")
            }
            SecretStoreError::Busy(cause) => {
                tracing::warn!(cause, "the vault's backend is busy");
                Self::Busy("the vault's backend is busy: try again".to_owned())
            }
            SecretStoreError::Damaged(cause) => Self::Internal(cause),
            SecretStoreError::Full(message) => Self::Exhausted(message),
            SecretStoreError::ReadOnly(message) => Self::Precondition(message),
            SecretStoreError::Invalid(message) => Self::Invalid { field: "name", message },
            SecretStoreError::None => Self::NotImplemented("a vault (connector `none`)"),
        }
    }
}

#[cfg(test)]
mod tests;

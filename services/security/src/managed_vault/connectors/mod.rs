//! Where secrets of agents are kept. One file per backend; `embedded` is the default.

#[cfg(feature = "aws")]
pub mod aws_secrets_manager;
#[cfg(test)]
pub(crate) mod contract;
pub mod embedded;
pub mod none;

use async_trait::async_trait;
use sre_service::Role;
use sre_service::connectors::{Connector, Kind, Opening, Registry};

use crate::moment::Moment;
use crate::vault::connectors::SecretStoreError;
use crate::vault::keks::Keks;
use crate::vault::secret::SecretValue;

/// The kinds of backend, one line each.
pub static MANAGED_VAULT: Registry<dyn ManagedStore> = Registry {
    role: Role::Security,
    service: "managedvault",
    kinds: &[
        Kind {
            name: "embedded",
            open: |it| Box::pin(embedded::open(it)),
            check: Opening::check::<embedded::Settings>,
        },
        #[cfg(feature = "aws")]
        Kind {
            name: "aws-secrets-manager",
            open: |it| Box::pin(aws_secrets_manager::open(it)),
            check: crate::aws::settings::check,
        },
        #[cfg(not(feature = "aws"))]
        sre_service::connector_compiled_out!("aws-secrets-manager", "sre-security/aws"),
        Kind { name: "none", open: |it| Box::pin(none::open(it)), check: |_| Ok(()) },
    ],
    built_in: "embedded",
};

/// The place of a secret. Team and agent are ids, the key is free text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The agent's team.
    pub team: String,
    /// The agent.
    pub agent: String,
    /// The key.
    pub key: String,
}

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedInfo {
    /// Grows with each change, also over a deletion.
    pub version: u64,
    /// When that was set.
    pub updated: Moment,
    /// When it is forgotten; never where none.
    pub expires: Option<Moment>,
}

/// What must be there for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Anything or nothing.
    Anything,
    /// Nothing.
    Nothing,
    /// This version.
    Version(u64),
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// Durably.
    Done(ManagedInfo),
    /// Something else is there: nothing was written.
    Conflict,
}

/// A backend for secrets of agents. It knows no Candidates and no rights: whoever holds it has been checked.
///
/// What has expired is as if it were not there, whether it has been removed yet or not. Limits: those of
/// [`SecretStore`](crate::vault::connectors::SecretStore). There is no way to list.
///
/// A backend is right when it passes `contract::every_case`.
#[async_trait]
pub trait ManagedStore: Connector {
    /// A secret with its value. Reads see every write that was answered. Idempotent.
    async fn get(
        &self,
        place: &Place,
        now: Moment,
    ) -> Result<Option<(ManagedInfo, SecretValue)>, SecretStoreError>;

    /// Sets a secret if what is there is as expected, durably; comparing and setting is one step, among all
    /// processes that share the backend. The version is greater than every one before. Not idempotent with
    /// [`Expected::Anything`]; with the others a repetition is a conflict.
    async fn set(
        &self,
        place: &Place,
        value: SecretValue,
        expires: Option<Moment>,
        expected: Expected,
        now: Moment,
    ) -> Result<Written, SecretStoreError>;

    /// Deletes a secret, durably; false where there was none. Idempotent.
    async fn delete(&self, place: &Place, now: Moment) -> Result<bool, SecretStoreError>;

    /// Deletes all secrets of an agent; gives how many were there. Idempotent.
    async fn purge(&self, team: &str, agent: &str) -> Result<u64, SecretStoreError>;

    /// Removes what has expired; gives how much. Backends that cannot find it by time leave it where it is:
    /// it is not there for readers.
    async fn sweep(&self, _now: Moment) -> Result<u64, SecretStoreError> {
        Ok(0)
    }

    /// The keys that seal what is kept here; none where the backend protects it itself.
    fn keks(&self) -> Option<&Keks> {
        None
    }

    /// Wraps what older keys sealed with the one that seals now; gives how many. Idempotent.
    async fn reseal(&self) -> Result<u64, SecretStoreError> {
        Ok(0)
    }
}

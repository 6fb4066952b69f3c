//! Where secrets are kept. One file or folder per backend; `encrypted_file` is the embedded default.

#[cfg(feature = "aws")]
pub mod aws_secrets_manager;
#[cfg(test)]
pub(crate) mod contract;
pub mod encrypted_file;
mod grpc;
#[cfg(test)]
mod grpc_tests;
#[cfg(feature = "hashicorp")]
pub mod hashicorp;
pub mod mounted_files;
pub mod none;
#[cfg(feature = "postgres")]
pub mod postgres;

use async_trait::async_trait;
use sre_service::Role;
use sre_service::connectors::{Connector, Kind, Opening, Registry};

use super::keks::Keks;
use super::secret::SecretValue;
use crate::moment::Moment;

/// The kinds of backend, one line each.
pub static VAULT: Registry<dyn SecretStore> = Registry {
    role: Role::Security,
    service: "vault",
    kinds: &[
        Kind { name: "file", open: |it| Box::pin(encrypted_file::open(it)), check: encrypted_file::check },
        Kind {
            name: "mounted-files",
            open: |it| Box::pin(mounted_files::open(it)),
            check: Opening::check::<mounted_files::Settings>,
        },
        #[cfg(feature = "hashicorp")]
        Kind {
            name: "hashicorp",
            open: |it| Box::pin(hashicorp::open(it)),
            check: |it| hashicorp::check(it),
        },
        #[cfg(not(feature = "hashicorp"))]
        sre_service::connector_compiled_out!("hashicorp", "sre-security/hashicorp"),
        #[cfg(feature = "aws")]
        Kind {
            name: "aws-secrets-manager",
            open: |it| Box::pin(aws_secrets_manager::open(it)),
            check: crate::aws::settings::check,
        },
        #[cfg(not(feature = "aws"))]
        sre_service::connector_compiled_out!("aws-secrets-manager", "sre-security/aws"),
        #[cfg(feature = "postgres")]
        Kind {
            name: "postgres",
            open: |it| Box::pin(postgres::open(it)),
            check: Opening::check::<postgres::Settings>,
        },
        #[cfg(not(feature = "postgres"))]
        sre_service::connector_compiled_out!("postgres", "sre-security/postgres"),
        Kind {
            name: "grpc",
            open: |it| Box::pin(grpc::open(it)),
            check: sre_service::connectors::grpc::check,
        },
        Kind { name: "none", open: |it| Box::pin(none::open(it)), check: |_| Ok(()) },
    ],
    built_in: "file",
};

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its key, free text.
    pub key: String,
    /// The version: grows with each change. 0 where the backend does not tell.
    pub version: u64,
    /// When that was set.
    pub updated: Moment,
    /// Who set it; empty where the backend does not know.
    pub updater: String,
}

/// Why a backend failed. Texts are for the operator's log unless said otherwise; none holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretStoreError {
    /// The backend cannot be reached, or is not able; nothing is known to be changed.
    #[error("{0}")]
    Unavailable(String),
    /// The backend does not let this service in, or not do this.
    #[error("{0}")]
    Refused(String),
    /// The backend asks to slow down.
    #[error("{0}")]
    Busy(String),
    /// What is stored is damaged or sealed with another key.
    #[error("{0}")]
    Damaged(String),
    /// There is no room. Told to the caller.
    #[error("{0}")]
    Full(String),
    /// Nothing can be written here. Told to the caller.
    #[error("{0}")]
    ReadOnly(String),
    /// The backend cannot hold such a key or value. Told to the caller.
    #[error("{0}")]
    Invalid(String),
    /// There is no backend.
    #[error("no vault is configured")]
    None,
}

/// A backend for secrets. It knows no Candidates and no rights: whoever holds it has been checked.
///
/// A version is a number that grows with each change of a secret. Limits: a value has 64 KiB at most and a key
/// 256 characters without control characters; both may be empty of meaning, and an empty value is a value.
///
/// A backend is right when it passes `contract::every_case`.
#[async_trait]
pub trait SecretStore: Connector {
    /// The current value, or that of an earlier version. Reads see every write that was answered. Idempotent.
    async fn get(
        &self,
        team: &str,
        key: &str,
        version: Option<u64>,
    ) -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError>;

    /// What there is, without the value. Idempotent.
    async fn stat(&self, team: &str, key: &str) -> Result<Option<SecretInfo>, SecretStoreError> {
        Ok(self.get(team, key, None).await?.map(|(info, _)| info))
    }

    /// Adds a version, durably; earlier ones are kept as far as the backend has room. Not idempotent: a
    /// repeated call adds another version of the same value.
    async fn put(
        &self,
        team: &str,
        key: &str,
        value: SecretValue,
        updater: &str,
        now: Moment,
    ) -> Result<SecretInfo, SecretStoreError>;

    /// Deletes all versions, durably; false where there was none. A secret that is set again afterwards does
    /// not have them. Idempotent.
    async fn delete(&self, team: &str, key: &str) -> Result<bool, SecretStoreError>;

    /// At most `limit` secrets with a key greater than `after`, by key in the order of their bytes.
    async fn list(
        &self,
        team: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError>;

    /// At most `limit` versions older than `before`, the newest first. The first is the current one; backends
    /// keep ten at least where they keep any.
    async fn versions(
        &self,
        team: &str,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError>;

    /// The keys that seal what is kept here; none where the backend protects it itself.
    fn keks(&self) -> Option<&Keks> {
        None
    }

    /// Wraps what older keys sealed with the one that seals now; gives how many. Idempotent.
    async fn reseal(&self) -> Result<u64, SecretStoreError> {
        Ok(0)
    }
}

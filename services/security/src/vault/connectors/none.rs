//! No vault: for deployments whose agents need no secrets. Every call says so; none is answered with something
//! that looks like a secret.

use std::sync::Arc;

use async_trait::async_trait;
use sre_service::connectors::{Connector, Opening, Unhealthy};

use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::moment::Moment;
use crate::vault::secret::SecretValue;

/// Answers every call with an error.
pub struct NoVault;

/// Opens an instance.
pub async fn open(_: Opening) -> anyhow::Result<Arc<dyn SecretStore>> {
    Ok(Arc::new(NoVault))
}

#[async_trait]
impl Connector for NoVault {
    async fn check(&self) -> Result<(), Unhealthy> {
        Ok(())
    }
}

#[async_trait]
impl SecretStore for NoVault {
    async fn get(
        &self,
        _: &str,
        _: &str,
        _: Option<u64>,
    ) -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError> {
        Err(SecretStoreError::None)
    }

    async fn put(
        &self,
        _: &str,
        _: &str,
        _: SecretValue,
        _: &str,
        _: Moment,
    ) -> Result<SecretInfo, SecretStoreError> {
        Err(SecretStoreError::None)
    }

    async fn delete(&self, _: &str, _: &str) -> Result<bool, SecretStoreError> {
        Err(SecretStoreError::None)
    }

    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<SecretInfo>, SecretStoreError> {
        Err(SecretStoreError::None)
    }

    async fn versions(
        &self,
        _: &str,
        _: &str,
        _: Option<u64>,
        _: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        Err(SecretStoreError::None)
    }
}

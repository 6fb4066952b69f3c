//! No managed vault. Every call says that it is not there; none is refused as if its caller lacked a right.

use std::sync::Arc;

use async_trait::async_trait;
use sre_service::connectors::{Connector, Opening, Unhealthy};

use super::{Expected, ManagedInfo, ManagedStore, Place, Written};
use crate::moment::Moment;
use crate::vault::connectors::SecretStoreError;
use crate::vault::secret::SecretValue;

/// Answers every call with an error.
pub struct NoManagedVault;

/// Opens an instance.
pub async fn open(_: Opening) -> anyhow::Result<Arc<dyn ManagedStore>> {
    Ok(Arc::new(NoManagedVault))
}

#[async_trait]
impl Connector for NoManagedVault {
    async fn check(&self) -> Result<(), Unhealthy> {
        Ok(())
    }
}

#[async_trait]
impl ManagedStore for NoManagedVault {
    async fn get(
        &self,
        _: &Place,
        _: Moment,
    ) -> Result<Option<(ManagedInfo, SecretValue)>, SecretStoreError> {
        Err(SecretStoreError::None)
    }

    async fn set(
        &self,
        _: &Place,
        _: SecretValue,
        _: Option<Moment>,
        _: Expected,
        _: Moment,
    ) -> Result<Written, SecretStoreError> {
        Err(SecretStoreError::None)
    }

    async fn delete(&self, _: &Place, _: Moment) -> Result<bool, SecretStoreError> {
        Err(SecretStoreError::None)
    }

    /// There is nothing, so all of it is gone: deleting an agent does not fail for it.
    async fn purge(&self, _: &str, _: &str) -> Result<u64, SecretStoreError> {
        Ok(0)
    }
}

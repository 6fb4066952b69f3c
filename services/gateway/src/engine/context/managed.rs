//! The managed vault of the running agent.

use std::time::Duration;

use async_trait::async_trait;
use sre_components::ContextError;
use sre_components::context::managed::{Kept, ManagedSecrets};
use sre_proto::security::v1::managed_vault_client::ManagedVaultClient;
use sre_proto::security::v1::{
    CompareAndSetManagedSecretRequest, DeleteManagedSecretRequest, GetManagedSecretRequest,
};
use sre_service::{Link, Role};
use tonic::{Code, Status};
use zeroize::Zeroizing;

use super::ActivationContext;

impl ActivationContext {
    async fn vault(&self) -> Result<ManagedVaultClient<Link>, Status> {
        Ok(ManagedVaultClient::new(self.link(Role::Security).await?))
    }

    fn managed_name(&self, key: &str) -> String {
        format!("{}/managedSecrets/{key}", self.scope.subject.version.agent)
    }
}

#[async_trait]
impl ManagedSecrets for ActivationContext {
    async fn get(&self, key: &str) -> Result<Option<Kept>, ContextError> {
        let name = self.managed_name(key);
        let request = self.call(GetManagedSecretRequest { name, ..Default::default() });
        match self.vault().await?.get_managed_secret(request).await {
            Ok(found) => {
                let found = found.into_inner();
                Ok(Some(Kept { value: Zeroizing::new(found.value.to_vec()), version: found.version }))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    async fn replace(
        &self,
        key: &str,
        version: i64,
        value: Zeroizing<Vec<u8>>,
        lives: Option<Duration>,
    ) -> Result<bool, ContextError> {
        let request = self.call(CompareAndSetManagedSecretRequest {
            name: self.managed_name(key),
            expected_version: version,
            value: value.to_vec().into(),
            time_to_live: lives.and_then(|lives| lives.try_into().ok()),
            ..Default::default()
        });
        match self.vault().await?.compare_and_set_managed_secret(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::Aborted => Ok(false),
            Err(status) => Err(status.into()),
        }
    }

    async fn forget(&self, key: &str) -> Result<(), ContextError> {
        let name = self.managed_name(key);
        let request = self.call(DeleteManagedSecretRequest { name, ..Default::default() });
        match self.vault().await?.delete_managed_secret(request).await {
            Err(status) if status.code() != Code::NotFound => Err(status.into()),
            _ => Ok(()),
        }
    }
}

//! What the running agent remembers: its entries in the cache.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sre_components::{ContextError, Memory};
use sre_proto::memory::v1::cache_client::CacheClient;
use sre_proto::memory::v1::{DeleteEntryRequest, GetEntryRequest, SetEntryRequest};
use sre_service::{Link, Role};
use tonic::Status;

use super::ActivationContext;

/// A message with a value of 4 MiB is a little longer.
const MESSAGE_BYTES: usize = 5 << 20;

#[async_trait]
impl Memory for ActivationContext {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, ContextError> {
        let request = GetEntryRequest { name: self.entry(key), ..GetEntryRequest::default() };
        let answer = self.cache().await?.get_entry(self.call(request)).await?.into_inner();
        Ok(answer.found.then_some(answer.value))
    }

    async fn set(&self, key: &str, value: Bytes, time_to_live: Duration) -> Result<(), ContextError> {
        let request = SetEntryRequest {
            name: self.entry(key),
            value,
            ttl_ms: Some(i64::try_from(time_to_live.as_millis()).unwrap_or(i64::MAX)),
            ..SetEntryRequest::default()
        };
        self.cache().await?.set_entry(self.call(request)).await?;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<bool, ContextError> {
        let request = DeleteEntryRequest { name: self.entry(key), ..DeleteEntryRequest::default() };
        Ok(self.cache().await?.delete_entry(self.call(request)).await?.into_inner().deleted)
    }
}

impl ActivationContext {
    /// The cache, as the agent.
    pub(super) async fn cache(&self) -> Result<CacheClient<Link>, Status> {
        Ok(CacheClient::new(self.link(Role::Memory).await?).max_decoding_message_size(MESSAGE_BYTES))
    }

    /// The name of an entry of the agent's.
    pub(super) fn entry(&self, key: &str) -> String {
        format!("{}/cache/{key}", self.scope.subject.version.agent)
    }
}

//! Documents of the running agent, in the cache.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sre_components::{ContextError, Histories, Remembered};
use sre_proto::memory::v1::{GetEntryRequest, SetCondition, SetEntryRequest};

use super::ActivationContext;

#[async_trait]
impl Histories for ActivationContext {
    async fn read(&self, key: &str) -> Result<Option<Remembered>, ContextError> {
        let request = GetEntryRequest { name: self.entry(key), ..GetEntryRequest::default() };
        let found = self.cache().await?.get_entry(self.call(request)).await?.into_inner();
        Ok(found.found.then_some(Remembered { document: found.value, version: found.etag }))
    }

    async fn write(
        &self,
        key: &str,
        document: Bytes,
        replaces: Option<&str>,
        time_to_live: Option<Duration>,
    ) -> Result<bool, ContextError> {
        let condition = match replaces {
            Some(_) => SetCondition::IfMatch,
            None => SetCondition::IfAbsent,
        };
        let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let request = SetEntryRequest {
            name: self.entry(key),
            value: document,
            ttl_ms: Some(time_to_live.map_or(-1, milliseconds)),
            condition: condition.into(),
            etag: replaces.unwrap_or_default().to_owned(),
            ..SetEntryRequest::default()
        };
        Ok(self.cache().await?.set_entry(self.call(request)).await?.into_inner().stored)
    }
}

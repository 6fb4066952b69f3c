//! Files that the running agent publishes.

use std::time::Duration;

use async_trait::async_trait;
use sre_components::{ContextError, Files};
use sre_engine::Binary;
use sre_proto::io::v1::router_client::RouterClient;
use sre_proto::io::v1::{CreateUrlRequest, UrlKind, WriteFileHeader};
use sre_service::Role;

use super::ActivationContext;
use crate::engine::files;

#[async_trait]
impl Files for ActivationContext {
    async fn publish(
        &self,
        path: &str,
        binary: &Binary,
        time_to_live: Duration,
    ) -> Result<String, ContextError> {
        let file = format!("{}/files/{path}", self.scope.subject.version.agent);
        let time_to_live = time_to_live.try_into().ok();
        let header = WriteFileHeader {
            name: file.clone(),
            mimetype: binary.mimetype.to_string(),
            time_to_live,
            ..WriteFileHeader::default()
        };
        let link = self.link(Role::Io).await?;
        files::write(link.clone(), header, binary.data.clone(), self.scope.left()).await?;
        let request =
            CreateUrlRequest { file, kind: UrlKind::Resource.into(), time_to_live, ..Default::default() };
        Ok(RouterClient::new(link).create_url(self.call(request)).await?.into_inner().url)
    }
}

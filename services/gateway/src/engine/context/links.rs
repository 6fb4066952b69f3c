//! Links to files that the running agent may read.

use std::time::Duration;

use async_trait::async_trait;
use sre_components::ContextError;
use sre_components::context::links::{FileLinks, Link};
use sre_proto::io::v1::router_client::RouterClient;
use sre_proto::io::v1::{CreateUrlRequest, RevokeUrlRequest, UrlKind};
use sre_service::Role;

use super::ActivationContext;
use super::files;

/// How long a link lives that nobody ends.
const LIVES: Duration = Duration::from_secs(60 * 60);

#[async_trait]
impl FileLinks for ActivationContext {
    async fn link(&self, uri: &str) -> Result<Link, ContextError> {
        let file = files::name_of(uri, &self.scope.engine.host, &self.scope.subject.version.agent).await?;
        let request = self.call(CreateUrlRequest {
            file: file.clone(),
            kind: UrlKind::Temporary.into(),
            time_to_live: LIVES.try_into().ok(),
            ..Default::default()
        });
        let made = RouterClient::new(self.link(Role::Io).await?).create_url(request).await?.into_inner();
        Ok(Link { url: made.url, id: made.id, file })
    }

    async fn end(&self, link: &Link) -> Result<(), ContextError> {
        let request = self.call(RevokeUrlRequest { file: link.file.clone(), id: link.id.clone() });
        RouterClient::new(self.link(Role::Io).await?).revoke_url(request).await?;
        Ok(())
    }
}

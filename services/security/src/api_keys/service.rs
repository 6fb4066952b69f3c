//! `sre.security.v1.ApiKeys` over gRPC.

use sre_identity::{Caller, Candidate};
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::api_keys_server;
use sre_service::Host;
use tonic::{Request, Response, Status};

use super::{ApiKey, NewKey};
use crate::account::{names, settings};
use crate::error::Error;
use crate::moment::Moment;
use crate::page::Page;
use crate::state::State;

/// The adapter.
pub struct ApiKeysService {
    host: Host,
    state: State,
}

impl ApiKeysService {
    /// Over the role's store.
    pub fn new(host: Host, state: State) -> Self {
        Self { host, state }
    }
}

#[tonic::async_trait]
impl api_keys_server::ApiKeys for ApiKeysService {
    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let principal = names::principal("parent", &request.parent)?;
        // A key of a principal that nobody knows would start to work when somebody takes that name.
        if self.state.resolve(&principal).await?.is_none() {
            return Err(Error::NotFound(principal.to_string()).into());
        }
        let asked = request.api_key.unwrap_or_default();
        let expires = asked.expire_time.as_ref().map(Moment::from);
        let new = NewKey { principal, display_name: asked.display_name, expires };
        let (key, text) = self
            .state
            .write(move |tx| {
                let created = super::create(tx, new, Moment::now())?;
                granted.record(tx)?;
                Ok(created)
            })
            .await?;
        Ok(Response::new(pb::CreateApiKeyResponse { api_key: Some(api_key(&key)?), key: text.to_string() }))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let principal = names::principal("parent", &request.parent)?;
        let page = Page::read(request.page_size, &request.page_token)?;
        let (rows, next_page_token) =
            self.state.read(move |conn| super::list(conn, &principal, &page)).await?;
        let api_keys = rows.iter().map(api_key).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListApiKeysResponse { api_keys, next_page_token }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::ApiKey>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.host.authorizer().resolve_name(&caller, &request.name).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let (principal, id) = names::child("name", &request.name, "apiKeys")?;
        let key = self.state.revoke_key(principal, id.to_owned(), move |tx| Ok(granted.record(tx)?)).await?;
        Ok(Response::new(api_key(&key)?))
    }
}

fn api_key(key: &ApiKey) -> Result<pb::ApiKey, Error> {
    Ok(pb::ApiKey {
        name: key_name(&key.principal, &key.id)?,
        display_name: key.display_name.clone(),
        candidate: Some((&key.principal).into()),
        create_time: Some(key.created.into()),
        expire_time: key.expires.map(Into::into),
        revoke_time: key.revoked.map(Into::into),
    })
}

fn key_name(principal: &Candidate, id: &str) -> Result<String, Error> {
    Ok(format!("{}/{}/apiKeys/{id}", settings::collection(principal)?, principal.id()))
}

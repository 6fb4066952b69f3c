//! The gRPC face of component types.

use sre_engine::Types;
use sre_engine::issue::nearest;
use sre_engine::spec::ComponentSpec;
use sre_identity::Caller;
use sre_proto::agent::v1::components_server::Components;
use sre_proto::agent::v1::{Component, GetComponentRequest, ListComponentsRequest, ListComponentsResponse};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_service::Host;
use tonic::{Code, Request, Response, Status};

use super::message::component;

/// Serves `sre.agent.v1.Components`.
#[derive(Clone)]
pub struct ComponentsService {
    host: Host,
    types: &'static dyn Types,
}

impl ComponentsService {
    /// Describes these types.
    pub fn new(host: Host, types: &'static dyn Types) -> Self {
        Self { host, types }
    }

    /// Every type once, by name; aliases are not types of their own.
    fn specs(&self) -> Vec<&'static ComponentSpec> {
        let names = self.types.names();
        let mut specs: Vec<_> =
            names.iter().filter_map(|name| self.types.lookup(name)).map(|entry| entry.spec).collect();
        specs.sort_by_key(|spec| spec.name);
        specs.dedup_by_key(|spec| spec.name);
        specs
    }
}

#[tonic::async_trait]
impl Components for ComponentsService {
    async fn list_components(
        &self,
        request: Request<ListComponentsRequest>,
    ) -> Result<Response<ListComponentsResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let _granted = self.host.authorizer().check(caller, request.get_ref(), None).await?;
        let request = request.get_ref();
        let size = match usize::try_from(request.page_size) {
            Ok(0) => usize::MAX,
            Ok(size) => size,
            Err(_) => {
                return Err(invalid_argument("page_size", "must not be negative: leave it out for all"));
            }
        };
        let mut specs = self.specs();
        specs.retain(|spec| spec.name > request.page_token.as_str());
        let has_more = specs.len() > size;
        specs.truncate(size);
        let last = specs.last().filter(|_| has_more).map(|spec| spec.name.to_owned());
        Ok(Response::new(ListComponentsResponse {
            components: specs.into_iter().map(component).collect(),
            next_page_token: last.unwrap_or_default(),
        }))
    }

    async fn get_component(
        &self,
        request: Request<GetComponentRequest>,
    ) -> Result<Response<Component>, Status> {
        let caller = Caller::of(request.extensions())?;
        let _granted = self.host.authorizer().check(caller, request.get_ref(), None).await?;
        let name = request.get_ref().name.as_str();
        let type_name = name.strip_prefix("components/").filter(|name| !name.is_empty());
        let type_name = type_name.ok_or_else(|| invalid_argument("name", "expected components/{type}"))?;
        let found = self.types.lookup(type_name).ok_or_else(|| {
            let near = nearest(type_name, self.types.names());
            let near = if near.is_empty() { String::new() } else { format!(", near: {}", near.join(", ")) };
            status(Code::NotFound, Reason::NotFound, format!("component type {type_name} is not known{near}"))
        })?;
        Ok(Response::new(component(found.spec)))
    }
}

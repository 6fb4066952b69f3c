//! The gRPC face of component types.

use std::collections::BTreeMap;
use std::sync::Arc;

use sre_components::external::split_version;
use sre_engine::issue::nearest;
use sre_identity::{Acl, Caller, Level};
use sre_proto::agent::v1::components_server::Components;
use sre_proto::agent::v1::{
    Component, DeleteComponentRequest, GetComponentAclRequest, GetComponentRequest, ListComponentsRequest,
    ListComponentsResponse, PutComponentVersionRequest, RegisterComponentRequest, ResolveComponentsRequest,
    ResolveComponentsResponse, ResolvedComponent, SetComponentAclRequest,
};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::{Guarded, types};
use sre_service::{Granted, Host};
use tonic::{Code, Request, Response, Status};

use super::known::KnownTypes;
use super::message::{of_suite, registered, version};
use super::register;
use super::registered::Registered;
use crate::agent_data::{Record, parse_team, replacement};
use crate::error::AgentError;

/// How often a decision is made again whose access list changed before it was acted on.
const DECISIONS: usize = 3;
/// Types that are resolved at once.
const MAX_RESOLVED: usize = 256;

/// Serves `sre.agent.v1.Components`.
#[derive(Clone)]
pub struct ComponentsService {
    host: Host,
    types: KnownTypes,
}

impl ComponentsService {
    /// Describes these types.
    pub fn new(host: Host, types: KnownTypes) -> Self {
        Self { host, types }
    }

    /// Every type that the caller may use, by name; aliases are not types of their own.
    async fn usable(&self, granted: &Granted) -> Result<BTreeMap<String, Component>, Status> {
        let (candidate, teams) = (granted.candidate()?, granted.memberships().team_ids());
        let external = self.types.usable(candidate, &teams).await?;
        let mut all: BTreeMap<String, Component> = external
            .into_iter()
            .filter_map(|(name, known)| {
                let may_change = known.allows(candidate, &teams, Level::Write);
                Some((name, registered(&known, may_change)?))
            })
            .collect();
        let built = self.types.built();
        let specs = built.names().into_iter().filter_map(|name| built.lookup(name)).map(|entry| entry.spec);
        all.extend(specs.map(|spec| (spec.name.to_owned(), of_suite(spec))));
        Ok(all)
    }

    /// Decides on a registered type's list, or on the rights of its place where there is none.
    async fn decide<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        name: &str,
    ) -> Result<(Granted, Registered), Status> {
        let (team, kind) = register::name(name)?;
        let found = self.types.registrations.find(&kind).await?.filter(|found| found.row.team == team);
        let acl: Option<&Acl> = found.as_ref().map(|found| &found.acl);
        let granted = self.host.authorizer().check(caller, request, acl).await?;
        Ok((granted, found.ok_or_else(|| AgentError::NotFound(name.to_owned()))?))
    }

    async fn name(&self, caller: &Caller, name: &mut String) -> Result<(), Status> {
        *name = self.host.authorizer().resolve_name(caller, name).await?;
        Ok(())
    }

    /// The answer to a change: the type as it is now.
    async fn changed(&self, kind: &str) -> Result<Response<Component>, Status> {
        let found = self.types.registrations.find(kind).await?;
        let shown = found.as_ref().and_then(|found| registered(found, true));
        shown.map(Response::new).ok_or_else(|| AgentError::NotFound(format!("component type {kind}")).into())
    }
}

#[tonic::async_trait]
impl Components for ComponentsService {
    async fn list_components(
        &self,
        request: Request<ListComponentsRequest>,
    ) -> Result<Response<ListComponentsResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let granted = self.host.authorizer().check(caller, request.get_ref(), None).await?;
        let request = request.get_ref();
        let size = match usize::try_from(request.page_size) {
            Ok(0) => usize::MAX,
            Ok(size) => size,
            Err(_) => {
                return Err(invalid_argument("page_size", "must not be negative: leave it out for all"));
            }
        };
        let mut all = self.usable(&granted).await?;
        let mut rest = all.split_off(&request.page_token);
        rest.remove(&request.page_token);
        let has_more = rest.len() > size;
        let page: Vec<(String, Component)> = rest.into_iter().take(size).collect();
        let last = page.last().filter(|_| has_more).map(|(name, _)| name.clone());
        Ok(Response::new(ListComponentsResponse {
            components: page.into_iter().map(|(_, component)| component).collect(),
            next_page_token: last.unwrap_or_default(),
        }))
    }

    async fn get_component(
        &self,
        request: Request<GetComponentRequest>,
    ) -> Result<Response<Component>, Status> {
        let caller = Caller::of(request.extensions())?;
        let granted = self.host.authorizer().check(caller, request.get_ref(), None).await?;
        let name = request.get_ref().name.as_str();
        let type_name = name.strip_prefix("components/").filter(|name| !name.is_empty());
        let type_name = type_name.ok_or_else(|| invalid_argument("name", "expected components/{type}"))?;
        if let Some(found) = self.types.built().lookup(type_name) {
            return Ok(Response::new(of_suite(found.spec)));
        }
        let mut all = self.usable(&granted).await?;
        let found = all.remove(type_name).ok_or_else(|| {
            let built = self.types.built();
            let near = nearest(type_name, built.names().into_iter().chain(all.keys().map(String::as_str)));
            let near = if near.is_empty() { String::new() } else { format!(", near: {}", near.join(", ")) };
            status(Code::NotFound, Reason::NotFound, format!("component type {type_name} is not known{near}"))
        })?;
        Ok(Response::new(found))
    }

    async fn register_component(
        &self,
        request: Request<RegisterComponentRequest>,
    ) -> Result<Response<Component>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.name(&caller, &mut request.parent).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let team = parse_team("parent", &request.parent)?;
        let new = register::version(self.host.config(), request.version, granted.candidate()?)?;
        let acl = register::new_list(granted.candidate()?, &team)?;
        let kind = new.description.r#type.clone();
        self.types.registrations.register(&team, &acl, new, record(granted)).await?;
        self.changed(&kind).await
    }

    async fn put_component_version(
        &self,
        request: Request<PutComponentVersionRequest>,
    ) -> Result<Response<Component>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.name(&caller, &mut request.name).await?;
        for _ in 0..DECISIONS {
            let (granted, known) = self.decide(&caller, &request, &request.name).await?;
            let new = register::version(self.host.config(), request.version.clone(), granted.candidate()?)?;
            if new.description.r#type != known.row.name {
                let message =
                    format!("is of type {}, and this is {}", new.description.r#type, known.row.name);
                return Err(invalid_argument("version.description.type", message));
            }
            let put =
                self.types.registrations.put_version(&known, new, request.make_default, record(granted));
            match put.await {
                Err(AgentError::AclChanged) => {}
                done => {
                    done?;
                    return self.changed(&known.row.name).await;
                }
            }
        }
        Err(AgentError::AclChanged.into())
    }

    async fn delete_component(
        &self,
        request: Request<DeleteComponentRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.name(&caller, &mut request.name).await?;
        for _ in 0..DECISIONS {
            let (granted, known) = self.decide(&caller, &request, &request.name).await?;
            match self.types.registrations.delete(&known, &request.version, record(granted)).await {
                Err(AgentError::AclChanged) => {}
                done => return Ok(done.map(Response::new)?),
            }
        }
        Err(AgentError::AclChanged.into())
    }

    async fn get_component_acl(
        &self,
        request: Request<GetComponentAclRequest>,
    ) -> Result<Response<types::v1::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.name(&caller, &mut request.name).await?;
        let (_granted, known) = self.decide(&caller, &request, &request.name).await?;
        Ok(Response::new(types::v1::Acl::from(&known.acl)))
    }

    /// Changing the list needs `owner` on it; a writer cannot make itself one.
    async fn set_component_acl(
        &self,
        request: Request<SetComponentAclRequest>,
    ) -> Result<Response<types::v1::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.name(&caller, &mut request.name).await?;
        for _ in 0..DECISIONS {
            let (granted, known) = self.decide(&caller, &request, &request.name).await?;
            let new = replacement(request.acl.as_ref(), &known.acl)?;
            match self.types.registrations.set_acl(&known, &new, record(granted)).await {
                Err(AgentError::AclChanged) => {}
                done => return Ok(done.map(|()| Response::new(types::v1::Acl::from(&new)))?),
            }
        }
        Err(AgentError::AclChanged.into())
    }

    async fn resolve_components(
        &self,
        request: Request<ResolveComponentsRequest>,
    ) -> Result<Response<ResolveComponentsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        if request.types.len() > MAX_RESOLVED {
            return Err(invalid_argument(
                "types",
                format!("are {}: {MAX_RESOLVED} at most", request.types.len()),
            ));
        }
        let (candidate, teams) = (granted.candidate()?, granted.memberships().team_ids());
        let usable: BTreeMap<String, Arc<Registered>> = self.types.usable(candidate, &teams).await?;
        let found = request.types.iter().filter_map(|asked| {
            let (name, wanted) = split_version(asked);
            let found = usable.get(name)?.version(wanted)?;
            Some(ResolvedComponent { r#type: asked.clone(), version: Some(version(found, true)) })
        });
        Ok(Response::new(ResolveComponentsResponse { components: found.collect() }))
    }
}

fn record(granted: Granted) -> Record {
    Box::new(move |tx| granted.record(tx))
}

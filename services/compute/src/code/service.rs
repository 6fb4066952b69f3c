//! The gRPC face of code.

use std::sync::Arc;

use sre_identity::{Acl, Caller, Candidate, Level};
use sre_proto::Guarded;
use sre_proto::compute::v1 as pb;
use sre_proto::compute::v1::code_server::Code;
use sre_proto::error::invalid_argument;
use sre_proto::types::v1 as types;
use sre_sandbox::Limits;
use sre_sandbox::protocol::{CallFrame, Program};
use sre_service::{Granted, Host};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::account::Account;
use super::codes::{self, Basis, Codes, Settings};
use super::execution::{Execution, Place, Places};
use super::message;
use super::name::{self, CodeName, DeploymentName};
use super::table::DeploymentRow;
use crate::error::CodeError;
use crate::http::Hosts;
use crate::workers::Owner;

/// How often a decision is made again whose access list changed before it was acted on.
const DECISIONS: usize = 3;
/// Events that wait for a slow reader; then the code waits too.
const EVENTS: usize = 16;
const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 1_000;

/// Serves `sre.compute.v1.Code`.
#[derive(Clone)]
pub struct CodeService {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    codes: Codes,
    places: Places,
}

impl CodeService {
    /// Serves code for this role.
    pub(super) fn new(host: Host, codes: Codes, places: Places) -> Self {
        Self { inner: Arc::new(Inner { host, codes, places }) }
    }

    async fn resolve(&self, caller: &Caller, name: &mut String) -> Result<(), Status> {
        *name = self.inner.host.authorizer().resolve_name(caller, name).await?;
        Ok(())
    }

    async fn code(&self, caller: &Caller, name: &mut String) -> Result<CodeName, Status> {
        self.resolve(caller, name).await?;
        CodeName::parse("name", name)
    }

    async fn deployment(&self, caller: &Caller, name: &mut String) -> Result<DeploymentName, Status> {
        self.resolve(caller, name).await?;
        DeploymentName::parse(name)
    }

    /// Decides by the list of the code, or by the name where there is none.
    async fn decide<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        name: &CodeName,
    ) -> Result<(Granted, Basis, Option<Acl>), Status> {
        let found = self.inner.codes.find(name).await?;
        let granted = self.inner.host.authorizer().check(caller, request, found.acl()).await?;
        Ok((granted, found.basis(), found.acl().cloned()))
    }

    fn frame(
        &self,
        program: Program,
        arguments: &bytes::Bytes,
        limits: Limits,
        hosts: &Hosts,
    ) -> Result<CallFrame, Status> {
        let http_requests = if hosts.is_empty() { 0 } else { self.inner.host.config().compute.http_requests };
        Ok(CallFrame { program, arguments: message::arguments(arguments)?, limits, http_requests })
    }

    /// Runs a call for a stream as long as somebody listens who may.
    async fn stream(
        self,
        caller: Caller,
        execution: Execution,
        to: mpsc::Sender<Result<pb::ExecutionEvent, Status>>,
    ) {
        let authorizer = self.inner.host.authorizer();
        let every = self.inner.host.config().deadlines.revalidate();
        let revoked = async {
            let mut looks = interval_at(Instant::now() + every, every);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                if let Err(status) = authorizer.revalidate(&caller).await {
                    return status;
                }
            }
        };
        let last = tokio::select! {
            ended = execution.stream(&self.inner.places, to.clone()) => {
                ended.map_err(Status::from)
            }
            status = revoked => Err(status),
            () = to.closed() => return,
        };
        let event = |result| pb::ExecutionEvent { event: Some(pb::execution_event::Event::Result(result)) };
        // Nobody there to tell: nothing is lost.
        drop(to.send(last.map(event)).await);
    }
}

#[tonic::async_trait]
impl Code for CodeService {
    type ExecuteDeploymentStream = ReceiverStream<Result<pb::ExecutionEvent, Status>>;

    async fn execute_code(
        &self,
        request: Request<pb::ExecuteCodeRequest>,
    ) -> Result<Response<pb::ExecuteCodeResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.parent).await?;
        let owner: Owner = name::agent("parent", &request.parent)?;
        let granted = self.inner.host.authorizer().check(&caller, &request, None).await?;
        granted.record_now();
        let base = Limits {
            wall_ms: message::milliseconds(
                "timeout",
                request.timeout,
                Limits::DEFAULT.wall_ms,
                Limits::MAX.wall_ms,
            )?,
            ..Limits::DEFAULT
        };
        let limits = message::limits(base, request.limits.as_ref())?;
        let hosts = Hosts::parse("http_hosts", &request.http_hosts)?;
        let frame = self.frame(
            message::program(request.source, request.component)?,
            &request.arguments_json,
            limits,
            &hosts,
        )?;
        let execution = Execution { owner, frame, hosts, deployed: None, account: None };
        Ok(Response::new(execution.collect(&self.inner.places).await?))
    }

    async fn prepare_code(
        &self,
        request: Request<pb::PrepareCodeRequest>,
    ) -> Result<Response<pb::CodeRevision>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.code(&caller, &mut request.name).await?;
        // Nobody has a source parsed who may not keep it.
        drop(self.decide(&caller, &request, &name).await?);
        let program = message::program(request.source.clone(), request.component.clone())?;
        let outline = self.inner.places.workers.check(&name.owner, &program).await?;
        for _ in 0..DECISIONS {
            let (granted, basis, _) = self.decide(&caller, &request, &name).await?;
            let list = list_when_new(&name, granted.candidate()?)?.to_text();
            let looked_at = (program.clone(), outline.clone());
            match self.inner.codes.prepare(name.clone(), basis, list, looked_at, granted).await {
                Err(CodeError::AclChanged) => {}
                done => {
                    let (code, row) = done?;
                    return Ok(Response::new(message::revision(&code, &row)?));
                }
            }
        }
        Err(CodeError::AclChanged.into())
    }

    async fn deploy_code(
        &self,
        request: Request<pb::DeployCodeRequest>,
    ) -> Result<Response<pb::CodeDeployment>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.code(&caller, &mut request.name).await?;
        let account = Account::of(request.account.take())?;
        if account.is_some() && !request.instance.is_empty() {
            return Err(invalid_argument("instance", "comes with an account: give one of them"));
        }
        for _ in 0..DECISIONS {
            let (granted, basis, _) = self.decide(&caller, &request, &name).await?;
            let limits = message::limits(Limits::DEFAULT, request.limits.as_ref())?;
            Hosts::parse("http_hosts", &request.http_hosts)?;
            let revision = request.revision.clone();
            let code = self.inner.codes.revision(&name, &revision).await?;
            let http_hosts = request.http_hosts.clone();
            let mut settings = Settings { limits, http_hosts, instance: request.instance.clone() };
            let elsewhere = account.is_some() || !self.inner.places.is_sandbox(&settings)?;
            if !settings.http_hosts.is_empty() && elsewhere {
                let message = "only the sandbox asks which hosts code reaches: leave it out here";
                return Err(invalid_argument("http_hosts", message));
            }
            let deployment = codes::deployment_of(&name, &revision).to_string();
            let place = account.as_ref().map_or(Place::Connector(&request.instance), Place::Account);
            settings.instance = self.inner.places.deploy(place, &deployment, code, &settings).await?;
            match self.inner.codes.deploy(name.clone(), basis, revision, settings, granted).await {
                Err(CodeError::AclChanged) => {}
                done => {
                    let (name, row) = done?;
                    return Ok(Response::new(message::deployment(&name, &row)?));
                }
            }
        }
        Err(CodeError::AclChanged.into())
    }

    async fn execute_deployment(
        &self,
        request: Request<pb::ExecuteDeploymentRequest>,
    ) -> Result<Response<Self::ExecuteDeploymentStream>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.deployment(&caller, &mut request.name).await?;
        let account = Account::of(request.account.take())?;
        let (granted, _, _) = self.decide(&caller, &request, &name.code).await?;
        granted.record_now();
        let (row, program) = self.inner.codes.to_run(&name).await?;
        let settings = message::settings(&row)?;
        let limits = message::limits(settings.limits, request.limits.as_ref())?;
        let hosts = Hosts::parse("http_hosts", &settings.http_hosts)?;
        let frame = self.frame(program, &request.arguments_json, limits, &hosts)?;
        let deployed = Some((name.to_string(), settings));
        let execution = Execution { owner: name.code.owner, frame, hosts, deployed, account };
        let (to, events) = mpsc::channel(EVENTS);
        self.inner.host.spawn("code execution", self.clone().stream(caller, execution, to));
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn get_deployment(
        &self,
        request: Request<pb::GetDeploymentRequest>,
    ) -> Result<Response<pb::CodeDeployment>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.deployment(&caller, &mut request.name).await?;
        drop(self.decide(&caller, &request, &name.code).await?);
        let row = self.inner.codes.deployment(&name).await?;
        Ok(Response::new(message::deployment(&name, &row)?))
    }

    async fn list_deployments(
        &self,
        request: Request<pb::ListDeploymentsRequest>,
    ) -> Result<Response<pb::ListDeploymentsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.parent).await?;
        let name = CodeName::parse("parent", &request.parent)?;
        drop(self.decide(&caller, &request, &name).await?);
        let most = match u32::try_from(request.page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) => size.min(MAX_PAGE),
            Err(_) => return Err(invalid_argument("page_size", "must not be negative: leave it out for 50")),
        };
        let rows = self.inner.codes.deployments(name.clone(), request.page_token, most).await?;
        let next_page_token = match rows.last() {
            Some(last) if rows.len() == most as usize => last.deployment.clone(),
            _ => String::new(),
        };
        let of = |row: &DeploymentRow| {
            let name = DeploymentName { code: name.clone(), deployment: row.deployment.clone() };
            message::deployment(&name, row)
        };
        let deployments = rows.iter().map(of).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListDeploymentsResponse { deployments, next_page_token }))
    }

    async fn delete_deployment(
        &self,
        request: Request<pb::DeleteDeploymentRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.deployment(&caller, &mut request.name).await?;
        let account = Account::of(request.account.take())?;
        for _ in 0..DECISIONS {
            let (granted, basis, _) = self.decide(&caller, &request, &name.code).await?;
            let row = self.inner.codes.deployment(&name).await?;
            // First where it runs: what is deleted there already is deleted again without harm.
            self.inner.places.delete(&name.to_string(), &message::settings(&row)?, account.as_ref()).await?;
            match self.inner.codes.delete(name.clone(), basis, granted).await {
                Err(CodeError::AclChanged) => {}
                done => return Ok(Response::new(done?)),
            }
        }
        Err(CodeError::AclChanged.into())
    }

    async fn get_code_acl(
        &self,
        request: Request<pb::GetCodeAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.code(&caller, &mut request.name).await?;
        let (_granted, _, list) = self.decide(&caller, &request, &name).await?;
        let list = list.ok_or_else(|| CodeError::NotFound(name.to_string()))?;
        Ok(Response::new(types::Acl::from(&list)))
    }

    async fn set_code_acl(
        &self,
        request: Request<pb::SetCodeAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.code(&caller, &mut request.name).await?;
        for _ in 0..DECISIONS {
            let (granted, basis, list) = self.decide(&caller, &request, &name).await?;
            let list = list.ok_or_else(|| CodeError::NotFound(name.to_string()))?;
            let new = replacement(request.acl.as_ref(), &list)?;
            match self.inner.codes.set_acl(name.clone(), basis, new.to_text(), granted).await {
                Err(CodeError::AclChanged) => {}
                done => return Ok(Response::new(done.map(|()| types::Acl::from(&new))?)),
            }
        }
        Err(CodeError::AclChanged.into())
    }
}

/// The list of code that is new: its creator and its agent own it.
fn list_when_new(name: &CodeName, creator: &Candidate) -> Result<Acl, Status> {
    let wrong = |error: &dyn std::fmt::Display| invalid_argument("name", error.to_string());
    let agent = Candidate::agent(&name.owner.agent).map_err(|error| wrong(&error))?;
    let mut acl = Acl::owned_by(creator);
    acl.grant(&agent, &[Level::Owner]).map_err(|error| wrong(&error))?;
    Ok(acl)
}

/// The list that replaces another: made over the current one where it says so, and with an owner.
fn replacement(message: Option<&types::Acl>, current: &Acl) -> Result<Acl, Status> {
    let message = message.ok_or_else(|| invalid_argument("acl", "is missing: give the whole new list"))?;
    let new = Acl::try_from(message).map_err(|error| invalid_argument("acl", error.to_string()))?;
    new.require_owner().map_err(|error| invalid_argument("acl.entries", error.to_string()))?;
    if !message.etag.is_empty() && message.etag != current.etag() {
        return Err(CodeError::OtherVersion.into());
    }
    Ok(new)
}

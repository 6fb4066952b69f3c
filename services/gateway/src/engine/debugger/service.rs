//! `sre.gateway.v1.Debugger`.

use sre_identity::{Caller, Level};
use sre_proto::error::invalid_argument;
use sre_proto::gateway::v1::debugger_server::Debugger;
use sre_proto::gateway::v1::{
    ContinueDebugSessionRequest, DebugSession, DebugStep, GetDebugSessionRequest, InjectDebugSessionRequest,
    ListDebugSessionsRequest, ListDebugSessionsResponse, StartDebugSessionRequest, StepDebugSessionRequest,
    StopDebugSessionRequest, UpdateDebugSessionRequest, start_debug_session_request,
};
use sre_proto::memory::v1::{ListRunsRequest, RunKind, RunRecord};
use sre_proto::{AccessLevel, Guarded};
use tonic::{Request, Response, Status};

use super::access;
use super::commands::{self, Command};
use super::messages::{self, About};
use super::names::SessionName;
use super::session::{self, Stored, no_such_session};
use super::start::{self, Asked};
use crate::engine::acl;
use crate::engine::core::Engine;
use crate::engine::ended::is_ended;
use crate::engine::names::AgentName;
use crate::engine::requests::Wanted;
use crate::engine::runs;

/// Pages of runs that one list looks through.
const PAGES: usize = 20;
const USUAL_PAGE: usize = 50;
const LARGEST_PAGE: usize = 1_000;

/// The service.
pub struct DebuggerService {
    engine: Engine,
}

impl DebuggerService {
    /// Serves debug sessions.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// An open session that the caller may do this with.
    async fn authorised<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        name: &str,
    ) -> Result<(SessionName, RunRecord), Status> {
        let authorizer = self.engine.host.authorizer();
        let name = SessionName::parse("name", &authorizer.resolve_name(caller, name).await?)?;
        let found = session::find(&self.engine, &name).await?;
        let list = found.as_ref().map(|run| acl::of_record(run.acl.as_ref())).transpose()?;
        let _granted = authorizer.check(caller, request, list.as_ref()).await?;
        found.map(|run| (name.clone(), run)).ok_or_else(|| no_such_session(&name))
    }

    async fn command<R: Guarded>(
        &self,
        extensions: &tonic::Extensions,
        request: &R,
        name: &str,
        command: Command,
    ) -> Result<DebugStep, Status> {
        let (name, row) = self.authorised(Caller::of(extensions)?, request, name).await?;
        commands::perform_or_not_found(&self.engine, name, row, command).await
    }
}

#[tonic::async_trait]
impl Debugger for DebuggerService {
    async fn start_debug_session(
        &self,
        request: Request<StartDebugSessionRequest>,
    ) -> Result<Response<DebugStep>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        // Recorded when it is dropped, after the work.
        let agent = caller.agent().unwrap_or(&request.agent).to_owned();
        let _granted = access::starting(&self.engine, caller, &agent).await?;
        let asked = Asked {
            wanted: request.call.map(|call| match call {
                start_debug_session_request::Call::Skill(skill) => Wanted::Skill(skill),
                start_debug_session_request::Call::Raw(raw) => Wanted::Raw(raw),
            }),
            agent: request.agent,
            session_id: request.session_id,
            version: request.version,
            id: request.debug_session_id,
            breakpoints: request.breakpoints,
            mocks: commands::mocks(request.mocks)?,
        };
        Ok(Response::new(start::start(&self.engine, caller, asked).await?))
    }

    async fn step_debug_session(
        &self,
        request: Request<StepDebugSessionRequest>,
    ) -> Result<Response<DebugStep>, Status> {
        let (_, extensions, mut request) = request.into_parts();
        let call = request.call.take().map(|call| (Box::new(call), String::new()));
        let command = Command::Step { call, mocks: Vec::new() };
        let name = request.name.clone();
        Ok(Response::new(self.command(&extensions, &request, &name, command).await?))
    }

    async fn continue_debug_session(
        &self,
        request: Request<ContinueDebugSessionRequest>,
    ) -> Result<Response<DebugStep>, Status> {
        let (_, extensions, request) = request.into_parts();
        let command = Command::until(request.until_component.clone(), request.max_steps)?;
        Ok(Response::new(self.command(&extensions, &request, &request.name, command).await?))
    }

    async fn inject_debug_session(
        &self,
        request: Request<InjectDebugSessionRequest>,
    ) -> Result<Response<DebugStep>, Status> {
        let (_, extensions, mut request) = request.into_parts();
        let command = Command::Inject(commands::injections(std::mem::take(&mut request.injections))?);
        Ok(Response::new(self.command(&extensions, &request, &request.name, command).await?))
    }

    async fn update_debug_session(
        &self,
        request: Request<UpdateDebugSessionRequest>,
    ) -> Result<Response<DebugSession>, Status> {
        let (_, extensions, mut request) = request.into_parts();
        let mocks = commands::mocks(std::mem::take(&mut request.mocks))?;
        let breakpoints = std::mem::take(&mut request.breakpoints);
        let command = Command::Update { breakpoints, mocks };
        let step = self.command(&extensions, &request, &request.name, command).await?;
        Ok(Response::new(step.session.unwrap_or_default()))
    }

    async fn get_debug_session(
        &self,
        request: Request<GetDebugSessionRequest>,
    ) -> Result<Response<DebugSession>, Status> {
        let (_, extensions, request) = request.into_parts();
        let (name, row) = self.authorised(Caller::of(&extensions)?, &request, &request.name).await?;
        let stored = Stored::read(&self.engine, &row.run_id).await?;
        let (compiled, _) = stored.compiled(&self.engine).await?;
        let redactor = session::redactor(&row)?;
        let run = stored.shown(compiled.plan.clone(), &redactor)?;
        let breakpoints = stored.last.as_ref().map(|last| last.breakpoints.clone()).unwrap_or_default();
        let about = About {
            name: &name,
            version: &row.version,
            created: row.create_time,
            expires: stored.expires(),
            breakpoints: &breakpoints,
            redactor: &redactor,
        };
        Ok(Response::new(messages::session(&run, &about)))
    }

    async fn list_debug_sessions(
        &self,
        request: Request<ListDebugSessionsRequest>,
    ) -> Result<Response<ListDebugSessionsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        Ok(Response::new(list(&self.engine, Caller::of(&extensions)?, request).await?))
    }

    async fn stop_debug_session(
        &self,
        request: Request<StopDebugSessionRequest>,
    ) -> Result<Response<DebugSession>, Status> {
        let (_, extensions, request) = request.into_parts();
        let step = self.command(&extensions, &request, &request.name, Command::Stop).await?;
        Ok(Response::new(step.session.unwrap_or_default()))
    }
}

/// The open sessions of an agent that the caller may see: all of them, or those it started.
async fn list(
    engine: &Engine,
    caller: &Caller,
    request: ListDebugSessionsRequest,
) -> Result<ListDebugSessionsResponse, Status> {
    let authorizer = engine.host.authorizer();
    let wanted = match usize::try_from(request.page_size) {
        Ok(0) => USUAL_PAGE,
        Ok(size) => size.min(LARGEST_PAGE),
        Err(_) => return Err(invalid_argument("page_size", "it cannot be negative")),
    };
    let all = authorizer.may(caller, &request.resource(), AccessLevel::Read, None).await?;
    let agent = AgentName::parse("parent", &authorizer.resolve_name(caller, &request.parent).await?)?;
    if !all && authorizer.memberships(caller).await?.role_in(&agent.team).is_none() {
        // Not a member: the check refuses and says so in the audit.
        let _ = authorizer.check(caller, &request, None).await?;
    }
    let mut answer = ListDebugSessionsResponse { next_page_token: request.page_token, ..Default::default() };
    for _ in 0..PAGES {
        let page = engine
            .journal
            .list(ListRunsRequest {
                team: agent.team.clone(),
                agent: agent.agent.clone(),
                kind: RunKind::Debug.into(),
                page_size: i32::try_from(wanted - answer.sessions.len()).unwrap_or(i32::MAX),
                page_token: answer.next_page_token,
                ..ListRunsRequest::default()
            })
            .await?;
        for run in page.runs.iter().filter(|run| !is_ended(run.state())) {
            if all || may_see(engine, caller, run).await? {
                answer.sessions.push(brief(run));
            }
        }
        answer.next_page_token = page.next_page_token;
        if answer.next_page_token.is_empty() || answer.sessions.len() == wanted {
            break;
        }
    }
    Ok(answer)
}

/// Lists leave out who may see a run.
async fn may_see(engine: &Engine, caller: &Caller, run: &RunRecord) -> Result<bool, Status> {
    let Some(run) = engine.journal.find(&run.run_id).await? else { return Ok(false) };
    let list = acl::of_record(run.acl.as_ref())?;
    access::may(engine, caller.require_candidate()?, Level::Read, &list).await
}

fn brief(run: &RunRecord) -> DebugSession {
    let name = SessionName { agent: runs::of_record(run), id: run.label.clone() };
    DebugSession {
        name: name.to_string(),
        create_time: run.create_time,
        expire_time: run.due_time,
        version: run.version.clone(),
        ..DebugSession::default()
    }
}

//! The gRPC face of agents: parse, check, call, map.

use std::sync::Arc;

use sre_identity::scope::Memberships;
use sre_identity::{Caller, Candidate, Level, decide};
use sre_proto::agent::v1 as proto;
use sre_proto::agent::v1::agent_data_server::AgentData;
use sre_proto::error::invalid_argument;
use sre_proto::types::v1 as types;
use sre_proto::{AccessLevel, Guarded};
use sre_service::{Granted, Host, Role};
use tonic::{Request, Response, Status};

use super::document::{self, Checked, id_warning};
use super::openapi::{self, Audience};
use super::proto_file;
use super::registration::{Created, RegistrationError};
use super::{
    AgentName, AgentRow, Agents, Aspect, Content, Creation, Known, Record, Which, access, message, parse_team,
};
use crate::components::KnownTypes;
use crate::error::AgentError;

/// How often a decision is made again whose access list changed before it was acted on.
const DECISIONS: usize = 3;
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;
/// Rows that a list looks at in one step.
const LIST_BATCH: u32 = 256;
/// Steps that a list takes for one page: beyond it, the page ends early.
const LIST_STEPS: usize = 16;

/// Serves `sre.agent.v1.AgentData`.
#[derive(Clone)]
pub struct AgentDataService {
    host: Host,
    agents: Agents,
    types: KnownTypes,
    limit_bytes: usize,
}

impl AgentDataService {
    /// Serves these agents; documents are checked against these component types.
    pub fn new(host: Host, agents: Agents, types: KnownTypes) -> Self {
        let limit_bytes = host.config().agents.max_document_bytes.min(document::MAX_DOCUMENT_BYTES);
        Self { host, agents, types, limit_bytes }
    }

    async fn name(
        &self,
        caller: &Caller,
        field: &'static str,
        name: &mut String,
    ) -> Result<AgentName, Status> {
        *name = self.host.authorizer().resolve_name(caller, name).await?;
        Ok(AgentName::parse(field, name)?)
    }

    async fn team(&self, caller: &Caller, parent: &mut String) -> Result<String, Status> {
        *parent = self.host.authorizer().resolve_name(caller, parent).await?;
        Ok(parse_team("parent", parent)?)
    }

    /// Decides on one of the agent's lists, or on the rights of its place where there is no agent.
    async fn decide<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        name: &AgentName,
        aspect: Aspect,
    ) -> Result<(Granted, Arc<Known>), Status> {
        let found = self.agents.find(name).await?;
        let acl = found.as_ref().map(|agent| agent.acl(aspect));
        let granted = self.host.authorizer().check(caller, request, acl).await?;
        Ok((granted, found.ok_or_else(|| AgentError::NotFound(name.to_string()))?))
    }

    fn shown(&self, row: &AgentRow, stored: &super::Stored) -> proto::Agent {
        let skills =
            document::findings(&stored.document, self.types.built(), usize::MAX).map(|(_, skills)| skills);
        message::agent_at(row, stored, &skills.unwrap_or_default())
    }

    /// The answer to a write: the agent as it is now, and what is doubtful.
    async fn written(&self, row: &AgentRow, checked: &Checked) -> Result<proto::Agent, Status> {
        let stored = self.agents.version(row, Which::Latest).await?;
        let own_id = id_warning(&checked.identity, &row.id);
        let warnings = checked.warnings.iter().chain(&own_id).map(message::issue).collect();
        Ok(proto::Agent { warnings, ..message::agent_at(row, &stored, &checked.skills) })
    }

    async fn create(
        &self,
        granted: Granted,
        name: AgentName,
        document: bytes::Bytes,
        request_id: String,
    ) -> Result<proto::Agent, Status> {
        let creator = granted.candidate()?.clone();
        let types = self.types.of_team(&name.team).await?;
        let checked = document::check(&document, &types, self.limit_bytes)?;
        let lists = access::of_new_agent(&creator, &name.id, &name.team)?;
        let agent =
            Candidate::agent(&name.id).map_err(|error| invalid_argument("agent_id", error.to_string()))?;
        let creation = Creation {
            id: name.id,
            team: name.team,
            content: content(document, &checked, &creator),
            acl_definition: lists.definition.to_text(),
            acl_skills: lists.skills.to_text(),
            request_id,
        };
        let (Created::New(row) | Created::Before(row)) =
            self.agents.create(creation, record(granted)).await?;
        self.host.accounts().forget(&agent).await;
        self.written(&row, &checked).await
    }

    /// Updates an agent that is there; none where there is none.
    async fn update(
        &self,
        caller: &Caller,
        request: &proto::UpdateAgentRequest,
        name: &AgentName,
    ) -> Result<Option<proto::Agent>, Status> {
        let sent = request.agent.clone().unwrap_or_default();
        for _ in 0..DECISIONS {
            if request.allow_missing && self.agents.find(name).await?.is_none() {
                return Ok(None);
            }
            let (granted, agent) = self.decide(caller, request, name, Aspect::Definition).await?;
            let types = self.types.of_team(&name.team).await?;
            let checked = document::check(&sent.document_json, &types, self.limit_bytes)?;
            let content = content(sent.document_json.clone(), &checked, granted.candidate()?);
            match self.agents.update(&agent.row, &sent.etag, content, record(granted)).await {
                Err(AgentError::AclChanged) => {}
                done => return Ok(Some(self.written(&done?, &checked).await?)),
            }
        }
        Err(AgentError::AclChanged.into())
    }
}

#[tonic::async_trait]
impl AgentData for AgentDataService {
    async fn create_agent(
        &self,
        request: Request<proto::CreateAgentRequest>,
    ) -> Result<Response<proto::Agent>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let team = self.team(&caller, &mut request.parent).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let document = request.agent.unwrap_or_default().document_json;
        let id = match request.agent_id.as_str() {
            "" => own_id(&document)?,
            id => id.to_owned(),
        };
        let name = AgentName::parse("agent_id", &format!("teams/{team}/agents/{id}"))?;
        Ok(Response::new(self.create(granted, name, document, request.request_id).await?))
    }

    async fn update_agent(
        &self,
        request: Request<proto::UpdateAgentRequest>,
    ) -> Result<Response<proto::Agent>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let Some(agent) = &mut request.agent else {
            return Err(invalid_argument("agent", "is missing: give its name and document_json"));
        };
        let name = self.name(&caller, "agent.name", &mut agent.name).await?;
        let paths = request.update_mask.iter().flat_map(|mask| &mask.paths);
        if let Some(other) = paths.into_iter().find(|path| !matches!(path.as_str(), "document_json" | "*")) {
            return Err(invalid_argument(
                "update_mask",
                format!("{other} cannot change: only document_json can"),
            ));
        }
        if let Some(updated) = self.update(&caller, &request, &name).await? {
            return Ok(Response::new(updated));
        }
        // There is none: creating one is the team's right, not that of a list that does not exist.
        let collection = format!("teams/{}/agents", name.team);
        let granted =
            self.host.authorizer().check_level(&caller, &collection, AccessLevel::Write, None).await?;
        let document = request.agent.unwrap_or_default().document_json;
        Ok(Response::new(self.create(granted, name, document, String::new()).await?))
    }

    async fn get_agent(
        &self,
        request: Request<proto::GetAgentRequest>,
    ) -> Result<Response<proto::Agent>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "name", &mut request.name).await?;
        let (_granted, agent) = self.decide(&caller, &request, &name, Aspect::Definition).await?;
        let which = match request.version.as_str() {
            "" => Which::Latest,
            "deployed" => Which::Deployed,
            version => Which::Exactly(version.to_owned()),
        };
        let stored = self.agents.version(&agent.row, which).await?;
        Ok(Response::new(self.shown(&agent.row, &stored)))
    }

    async fn list_agents(
        &self,
        request: Request<proto::ListAgentsRequest>,
    ) -> Result<Response<proto::ListAgentsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let team = self.team(&caller, &mut request.parent).await?;
        let size = page_size(request.page_size)?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let (candidate, teams) = (granted.candidate()?, granted.memberships().team_ids());
        let (mut answer, mut after) = (proto::ListAgentsResponse::default(), request.page_token);
        for _ in 0..LIST_STEPS {
            let rows = self.agents.list(&team, &after, LIST_BATCH).await?;
            let is_last = rows.len() < LIST_BATCH as usize;
            for agent in rows {
                if answer.agents.len() == size {
                    answer.next_page_token = after;
                    return Ok(Response::new(answer));
                }
                if decide(candidate, &teams, &[Level::Read], agent.acl(Aspect::Definition)).is_allowed() {
                    answer.agents.push(message::agent(&agent.row));
                }
                after.clone_from(&agent.row.id);
            }
            if is_last {
                return Ok(Response::new(answer));
            }
        }
        answer.next_page_token = after;
        Ok(Response::new(answer))
    }

    async fn delete_agent(
        &self,
        request: Request<proto::DeleteAgentRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "name", &mut request.name).await?;
        for _ in 0..DECISIONS {
            let (granted, agent) = self.decide(&caller, &request, &name, Aspect::Definition).await?;
            match self.agents.delete(&agent.row, record(granted)).await {
                Err(RegistrationError::Agent(AgentError::AclChanged)) => {}
                done => {
                    done?;
                    if let Ok(agent) = Candidate::agent(&name.id) {
                        self.host.accounts().forget(&agent).await;
                    }
                    return Ok(Response::new(()));
                }
            }
        }
        Err(AgentError::AclChanged.into())
    }

    async fn validate_agent(
        &self,
        request: Request<proto::ValidateAgentRequest>,
    ) -> Result<Response<proto::ValidateAgentResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let team = self.team(&caller, &mut request.parent).await?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let types = self.types.of_team(&team).await?;
        let (issues, skills) = document::findings(&request.document_json, &types, self.limit_bytes)?;
        Ok(Response::new(proto::ValidateAgentResponse {
            issues: issues.iter().map(message::issue).collect(),
            skills: skills.iter().map(message::skill).collect(),
        }))
    }

    async fn list_versions(
        &self,
        request: Request<proto::ListVersionsRequest>,
    ) -> Result<Response<proto::ListVersionsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "parent", &mut request.parent).await?;
        let (_granted, agent) = self.decide(&caller, &request, &name, Aspect::Definition).await?;
        let size = page_size(request.page_size)?;
        let before = match request.page_token.as_str() {
            "" => i64::MAX,
            token => token
                .parse()
                .map_err(|_| invalid_argument("page_token", "is not of this list: start without one"))?,
        };
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let mut rows = self.agents.versions(&agent.row, before, limit).await?;
        let has_more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| has_more).map(|row| row.sequence.to_string());
        Ok(Response::new(proto::ListVersionsResponse {
            versions: rows.iter().map(|row| message::version(&agent.row, row)).collect(),
            next_page_token: last.unwrap_or_default(),
        }))
    }

    async fn deploy_version(
        &self,
        request: Request<proto::DeployVersionRequest>,
    ) -> Result<Response<proto::Agent>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "name", &mut request.name).await?;
        for _ in 0..DECISIONS {
            let (granted, agent) = self.decide(&caller, &request, &name, Aspect::Definition).await?;
            match self.agents.deploy(&agent.row, &request.version, record(granted)).await {
                Err(AgentError::AclChanged) => {}
                done => return Ok(Response::new(message::agent(&done?))),
            }
        }
        Err(AgentError::AclChanged.into())
    }

    async fn get_open_api(
        &self,
        request: Request<proto::GetOpenApiRequest>,
    ) -> Result<Response<proto::GetOpenApiResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "name", &mut request.name).await?;
        let (_granted, agent) = self.decide(&caller, &request, &name, Aspect::Skills).await?;
        let stored = self.agents.version(&agent.row, Which::Current).await?;
        let bare = document::bare(&stored.document)?;
        let audience = if request.ai_only { Audience::Models } else { Audience::Programs };
        let described = openapi::describe(&bare, &request.server_url, audience);
        Ok(Response::new(proto::GetOpenApiResponse { document_json: described.to_string().into() }))
    }

    async fn get_agent_acl(
        &self,
        request: Request<proto::GetAgentAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "name", &mut request.name).await?;
        let aspect = aspect(request.aspect)?;
        let (_granted, agent) = self.decide(&caller, &request, &name, aspect).await?;
        Ok(Response::new(types::Acl::from(agent.acl(aspect))))
    }

    /// Changing a list needs `owner` on that list; a writer cannot make itself one (H7).
    async fn set_agent_acl(
        &self,
        request: Request<proto::SetAgentAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "name", &mut request.name).await?;
        let aspect = aspect(request.aspect)?;
        for _ in 0..DECISIONS {
            let (granted, agent) = self.decide(&caller, &request, &name, aspect).await?;
            let new = access::replacement(request.acl.as_ref(), agent.acl(aspect))?;
            match self.agents.set_acl(&agent.row, aspect, new.to_text(), record(granted)).await {
                Err(AgentError::AclChanged) => {}
                done => return done.map(|_| Response::new(types::Acl::from(&new))).map_err(Status::from),
            }
        }
        Err(AgentError::AclChanged.into())
    }

    async fn resolve_version(
        &self,
        request: Request<proto::ResolveVersionRequest>,
    ) -> Result<Response<proto::ResolveVersionResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "name", &mut request.name).await?;
        let (_granted, agent) = self.decide(&caller, &request, &name, Aspect::Definition).await?;
        let which = match request.version.as_str() {
            "" => Which::Current,
            "dev" => Which::Latest,
            version => Which::Exactly(version.to_owned()),
        };
        let stored = self.agents.version(&agent.row, which).await?;
        Ok(Response::new(proto::ResolveVersionResponse {
            name: agent.row.name(),
            version: stored.row.version.clone(),
            digest: stored.row.digest.clone(),
            deployed: agent.row.deployed.as_ref() == Some(&stored.row.version),
        }))
    }

    async fn get_version(
        &self,
        request: Request<proto::GetVersionRequest>,
    ) -> Result<Response<proto::AgentVersion>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "name", &mut request.name).await?;
        let (_granted, agent) = self.decide(&caller, &request, &name, Aspect::Definition).await?;
        let stored = self.agents.version(&agent.row, Which::Exactly(request.version.clone())).await?;
        Ok(Response::new(proto::AgentVersion {
            document_json: stored.document.clone(),
            ..message::version(&agent.row, &stored.row)
        }))
    }

    async fn get_proto(
        &self,
        request: Request<proto::GetProtoRequest>,
    ) -> Result<Response<proto::GetProtoResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let name = self.name(&caller, "name", &mut request.name).await?;
        let (_granted, agent) = self.decide(&caller, &request, &name, Aspect::Skills).await?;
        let stored = self.agents.version(&agent.row, Which::Current).await?;
        let (_, skills) = document::findings(&stored.document, self.types.built(), usize::MAX)?;
        let file = proto_file::describe(&name.id, &skills, &request.package)?;
        Ok(Response::new(proto::GetProtoResponse { proto: file.text, path: file.path }))
    }

    /// The layer has let in listed services alone.
    async fn check_access(
        &self,
        request: Request<proto::CheckAccessRequest>,
    ) -> Result<Response<proto::CheckAccessResponse>, Status> {
        let from_account = Caller::of(request.extensions())?.peer().is_service(Role::Security.name());
        let request = request.into_inner();
        let name = AgentName::parse("name", &request.name)?;
        let aspect = aspect(request.aspect)?;
        let level = level(request.level())?;
        let candidate = request.candidate.as_ref().map(Candidate::try_from).transpose();
        let candidate = candidate
            .map_err(|error| invalid_argument("candidate", error.to_string()))?
            .ok_or_else(|| invalid_argument("candidate", "is missing: say whose access"))?;
        // Ids are unique in the deployment, so that the agent's own team need not be said.
        let agent = match name.team.as_str() {
            super::OWN_TEAM => self.agents.find_anywhere(&name.id).await?,
            _ => self.agents.find(&name).await?,
        };
        let teams = match &request.principal {
            Some(known) if from_account => Memberships::try_from(known)
                .map_err(|error| invalid_argument("principal", error.to_string()))?
                .team_ids(),
            _ => self.host.accounts().resolve(&candidate).await?.team_ids(),
        };
        let allowed = access::is_allowed(agent.as_deref(), aspect, &candidate, &teams, level);
        let name = agent.filter(|_| allowed).map(|agent| agent.row.name()).unwrap_or_default();
        Ok(Response::new(proto::CheckAccessResponse { allowed, name }))
    }
}

fn record(granted: Granted) -> Record {
    Box::new(move |tx| granted.record(tx))
}

fn content(document: bytes::Bytes, checked: &Checked, creator: &Candidate) -> Content {
    Content { document, display_name: checked.identity.name.clone(), creator: creator.to_string() }
}

/// The id that a document gives itself.
fn own_id(document: &[u8]) -> Result<String, Status> {
    let bare = document::bare(document)?;
    let id = bare.get("id").and_then(|id| id.as_str()).unwrap_or_default();
    if id.is_empty() {
        return Err(invalid_argument("agent_id", "is missing: give it here, or as id in the document"));
    }
    Ok(id.to_owned())
}

fn aspect(asked: i32) -> Result<Aspect, Status> {
    match proto::AclAspect::try_from(asked) {
        Ok(proto::AclAspect::Unspecified | proto::AclAspect::Definition) => Ok(Aspect::Definition),
        Ok(proto::AclAspect::Skills) => Ok(Aspect::Skills),
        Err(_) => Err(invalid_argument("aspect", "is unknown: use the definition or the skills")),
    }
}

fn level(asked: types::Level) -> Result<Level, Status> {
    match asked {
        types::Level::Read => Ok(Level::Read),
        types::Level::Write => Ok(Level::Write),
        types::Level::Owner => Ok(Level::Owner),
        types::Level::None | types::Level::Unspecified => {
            Err(invalid_argument("level", "is not one to ask for: use read, write or owner"))
        }
    }
}

fn page_size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(invalid_argument("page_size", "must not be negative: leave it out for 50")),
    }
}

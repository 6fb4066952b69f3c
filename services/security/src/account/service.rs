//! `sre.security.v1.Account` over gRPC.

use sre_identity::{Acl, Caller, Candidate, Level, Role};
use sre_proto::AccessLevel;
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::account_server;
use sre_service::Host;
use sre_store::sql::Connection;
use tonic::{Request, Response, Status};

use super::settings::{self, Setting};
use super::teams::{self, Team};
use super::{Membership, Principal, TeamRole, members, names};
use crate::audit::entry::Entry;
use crate::error::Error;
use crate::moment::Moment;
use crate::page::Page;
use crate::state::State;

/// The adapter.
pub struct AccountService {
    host: Host,
    state: State,
}

impl AccountService {
    /// Over the role's store.
    pub fn new(host: Host, state: State) -> Self {
        Self { host, state }
    }

    /// Nothing in this role answers with what was before a change. Other roles know within ten seconds.
    async fn forget(&self, candidate: &Candidate) {
        self.state.forget(candidate).await;
        self.host.accounts().forget(candidate).await;
    }

    /// The list that lets an agent read a user's settings: one that runs for this user, and is of one of the
    /// user's teams. Otherwise none, and the rights that follow from the name count.
    async fn inherited(&self, caller: &Caller, owner: &Candidate) -> Result<Option<Acl>, Status> {
        let Some(agent) = caller.candidate().filter(|candidate| candidate.role() == Role::Agent) else {
            return Ok(None);
        };
        let user = owner.principal().filter(|_| owner.role() == Role::User);
        let user = user.map(|principal| principal.in_domain(self.state.trust_domain()));
        if user.is_none_or(|user| user.as_str() != caller.root()) {
            return Ok(None);
        }
        let (Some(agent_is), Some(user_is)) =
            (self.state.resolve(agent).await?, self.state.resolve(owner).await?)
        else {
            return Ok(None);
        };
        if !user_is.memberships.iter().any(|membership| membership.team == agent_is.home_team) {
            return Ok(None);
        }
        let mut acl = Acl::new();
        acl.grant(agent, &[Level::Read]).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Some(acl))
    }
}

#[tonic::async_trait]
impl account_server::Account for AccountService {
    async fn resolve_principal(
        &self,
        request: Request<pb::ResolvePrincipalRequest>,
    ) -> Result<Response<pb::Principal>, Status> {
        let candidate = candidate("candidate", request.into_inner().candidate.as_ref())?;
        let known = self.state.resolve(&candidate).await?;
        Ok(Response::new(principal(&candidate, known.as_deref())))
    }

    async fn resolve_organization(
        &self,
        request: Request<pb::ResolveOrganizationRequest>,
    ) -> Result<Response<pb::ResolveOrganizationResponse>, Status> {
        let organization = request.into_inner().organization;
        let teams = self.state.read(move |conn| super::teams::of_organization(conn, &organization)).await?;
        Ok(Response::new(pb::ResolveOrganizationResponse { teams }))
    }

    async fn register_agent(
        &self,
        request: Request<pb::RegisterAgentRequest>,
    ) -> Result<Response<pb::Principal>, Status> {
        let entry = Entry::of_call(&request)?;
        let request = request.into_inner();
        let agent = agent(&request.agent)?;
        let entry =
            entry.of_team(&request.team).on(format!("teams/{}/agents/{}", request.team, request.agent));
        let (who, now) = (agent.clone(), Moment::now());
        let known = self
            .state
            .write(move |tx| {
                let known = super::register_agent(tx, &who, &request.team, now)?;
                entry.write(tx)?;
                Ok(known)
            })
            .await?;
        self.forget(&agent).await;
        Ok(Response::new(principal(&agent, Some(&known))))
    }

    async fn unregister_agent(
        &self,
        request: Request<pb::UnregisterAgentRequest>,
    ) -> Result<Response<()>, Status> {
        let agent = agent(&request.get_ref().agent)?;
        let home = self.state.resolve(&agent).await?.map(|known| known.home_team.clone()).unwrap_or_default();
        let entry = Entry::of_call(&request)?.of_team(&home).on(format!("agents/{}", agent.id()));
        self.state.end_agent(agent.clone(), move |tx| entry.write(tx)).await?;
        self.forget(&agent).await;
        Ok(Response::new(()))
    }

    async fn get_self(
        &self,
        request: Request<pb::GetSelfRequest>,
    ) -> Result<Response<pb::Principal>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        self.host.authorizer().check(&caller, request.get_ref(), None).await?.record_now();
        let candidate = caller.require_candidate()?;
        let known = self.state.resolve(candidate).await?;
        Ok(Response::new(principal(candidate, known.as_deref())))
    }

    async fn list_teams(
        &self,
        request: Request<pb::ListTeamsRequest>,
    ) -> Result<Response<pb::ListTeamsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let who = caller.require_candidate()?.clone();
        let page = Page::read(request.page_size, &request.page_token)?;
        let (rows, next_page_token) = self.state.read(move |conn| teams::list_of(conn, &who, &page)).await?;
        Ok(Response::new(pb::ListTeamsResponse {
            teams: rows.into_iter().map(team).collect(),
            next_page_token,
        }))
    }

    async fn get_team(&self, request: Request<pb::GetTeamRequest>) -> Result<Response<pb::Team>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.host.authorizer().resolve_name(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let id = names::team("name", &request.name)?;
        let found = self.state.read(move |conn| teams::get(conn, &id)).await?;
        Ok(Response::new(team(found.ok_or(Error::NotFound(request.name))?)))
    }

    async fn create_team(
        &self,
        request: Request<pb::CreateTeamRequest>,
    ) -> Result<Response<pb::Team>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let admin = caller.require_candidate()?.clone();
        let asked = request.team.unwrap_or_default();
        let new = Team {
            display_name: if asked.display_name.is_empty() {
                request.team_id.clone()
            } else {
                asked.display_name
            },
            id: request.team_id,
            organization: asked.organization,
            created: Moment::now(),
        };
        let (row, who) = (new.clone(), admin.clone());
        self.state
            .write(move |tx| {
                teams::create(tx, &row, &who)?;
                Ok(granted.record(tx)?)
            })
            .await?;
        self.forget(&admin).await;
        Ok(Response::new(team(new)))
    }

    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let id = names::team("parent", &request.parent)?;
        let page = Page::read(request.page_size, &request.page_token)?;
        let (rows, next_page_token) = self.state.read(move |conn| members::list(conn, &id, &page)).await?;
        Ok(Response::new(pb::ListMembersResponse {
            members: rows.iter().map(member).collect(),
            next_page_token,
        }))
    }

    async fn set_member(
        &self,
        request: Request<pb::SetMemberRequest>,
    ) -> Result<Response<pb::Member>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let id = names::team("parent", &request.parent)?;
        let asked = request.member.unwrap_or_default();
        let role = match asked.role() {
            pb::TeamRole::Member => TeamRole::Member,
            pb::TeamRole::Admin => TeamRole::Admin,
            pb::TeamRole::Unspecified => {
                return Err(Error::invalid("member.role", "is not set: give MEMBER or ADMIN").into());
            }
        };
        let who = candidate("member.candidate", asked.candidate.as_ref())?;
        let (changed, now) = (who.clone(), Moment::now());
        let set = self
            .state
            .write(move |tx| {
                let set = members::set(tx, &id, &who, role, now)?;
                granted.record(tx)?;
                Ok(set)
            })
            .await?;
        self.forget(&changed).await;
        Ok(Response::new(member(&set)))
    }

    async fn remove_member(&self, request: Request<pb::RemoveMemberRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let id = names::team("parent", &request.parent)?;
        let who = candidate("candidate", request.candidate.as_ref())?;
        self.state.remove_member(id, who.clone(), move |tx| Ok(granted.record(tx)?)).await?;
        self.forget(&who).await;
        Ok(Response::new(()))
    }

    async fn get_setting(
        &self,
        request: Request<pb::GetSettingRequest>,
    ) -> Result<Response<pb::Setting>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.host.authorizer().resolve_name(&caller, &request.name).await?;
        let named = names::child("name", &request.name, "settings");
        let inherited = match &named {
            Ok((owner, key)) => {
                let (who, key) = (owner.clone(), (*key).to_owned());
                let marked = move |conn: &Connection<'_>| {
                    Ok(settings::get(conn, &who, &key)?.is_some_and(|one| one.inherit))
                };
                match self.inherited(&caller, owner).await? {
                    Some(acl) if self.state.read(marked).await? => Some(acl),
                    _ => None,
                }
            }
            Err(_) => None,
        };
        self.host.authorizer().check(&caller, &request, inherited.as_ref()).await?.record_now();
        let (owner, key) = named?;
        let key = key.to_owned();
        let found = self.state.read(move |conn| settings::get(conn, &owner, &key)).await?;
        Ok(Response::new(setting(&found.ok_or(Error::NotFound(request.name))?)?))
    }

    async fn list_settings(
        &self,
        request: Request<pb::ListSettingsRequest>,
    ) -> Result<Response<pb::ListSettingsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let named = names::principal("parent", &request.parent);
        let inherited = match &named {
            Ok(owner) => self.inherited(&caller, owner).await?,
            Err(_) => None,
        };
        self.host.authorizer().check(&caller, &request, inherited.as_ref()).await?.record_now();
        let owner = named?;
        let mut rows = self.state.read(move |conn| settings::list(conn, &owner)).await?;
        if inherited.is_some() {
            rows.retain(|setting| setting.inherit);
        }
        let settings = rows.iter().map(setting).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListSettingsResponse { settings }))
    }

    async fn set_setting(
        &self,
        request: Request<pb::SetSettingRequest>,
    ) -> Result<Response<pb::Setting>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let mut asked = request.setting.take().unwrap_or_default();
        asked.name = self.host.authorizer().resolve_name(&caller, &asked.name).await?;
        request.setting = Some(asked.clone());
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let (owner, key) = names::child("setting.name", &asked.name, "settings")?;
        let limits = settings::is_limits(&owner, key);
        if limits {
            // The team's admin is not asked: nobody lifts their own limits.
            let authorizer = self.host.authorizer();
            authorizer.check_level(&caller, "deployment", AccessLevel::Owner, None).await?.record_now();
        }
        let new = Setting {
            owner,
            key: key.to_owned(),
            value: asked.value,
            updated: Moment::now(),
            inherit: asked.inherit,
        };
        let row = new.clone();
        self.state
            .write(move |tx| {
                settings::set(tx, &row)?;
                Ok(granted.record(tx)?)
            })
            .await?;
        if limits {
            self.state.forget_all();
        }
        Ok(Response::new(setting(&new)?))
    }
}

fn candidate(
    field: &'static str,
    message: Option<&sre_proto::types::v1::Candidate>,
) -> Result<Candidate, Error> {
    let message = message.ok_or_else(|| Error::invalid(field, "is not set"))?;
    Candidate::try_from(message).map_err(|error| Error::invalid(field, error.to_string()))
}

fn agent(id: &str) -> Result<Candidate, Error> {
    Candidate::agent(id).map_err(|error| Error::invalid("agent", error.to_string()))
}

/// A principal as Account answers it; none is one that is not known.
pub(crate) fn principal(candidate: &Candidate, known: Option<&Principal>) -> pb::Principal {
    let answer = pb::Principal { candidate: Some(candidate.into()), ..pb::Principal::default() };
    let Some(known) = known else { return answer };
    let membership =
        |one: &Membership| pb::Membership { team: one.team.clone(), role: team_role(one.role).into() };
    pb::Principal {
        known: true,
        home_team: known.home_team.clone(),
        memberships: known.memberships.iter().map(membership).collect(),
        membership_version: known.version,
        limits: known.limits.iter().map(|(name, limit)| (name.clone(), *limit)).collect(),
        organization: known.organization.clone(),
        ..answer
    }
}

fn team_role(role: TeamRole) -> pb::TeamRole {
    match role {
        TeamRole::Member => pb::TeamRole::Member,
        TeamRole::Admin => pb::TeamRole::Admin,
    }
}

fn team(team: Team) -> pb::Team {
    pb::Team {
        name: format!("teams/{}", team.id),
        display_name: team.display_name,
        organization: team.organization,
        create_time: Some(team.created.into()),
    }
}

fn member(member: &members::Member) -> pb::Member {
    let role = team_role(member.role).into();
    pb::Member { candidate: Some((&member.candidate).into()), role, home: member.home }
}

fn setting(setting: &Setting) -> Result<pb::Setting, Error> {
    let (collection, id, key) = (settings::collection(&setting.owner)?, setting.owner.id(), &setting.key);
    Ok(pb::Setting {
        name: format!("{collection}/{id}/settings/{key}"),
        value: setting.value.clone(),
        update_time: Some(setting.updated.into()),
        inherit: setting.inherit,
    })
}

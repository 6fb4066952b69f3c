//! A suite in this process, with people and things in it, and the ways to call it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::agent::v1::{AclAspect, Agent, CreateAgentRequest, SetAgentAclRequest};
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{SkillCall, StartRunRequest, start_run_request};
use sre_proto::security::v1::account_client::AccountClient;
use sre_proto::security::v1::exchange_request::Proof;
use sre_proto::security::v1::identity_client::IdentityClient;
use sre_proto::security::v1::{
    AttestedPeer, CreateTeamRequest, ExchangeRequest, Member, Purpose, SetMemberRequest, TeamRole,
};
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};

use super::calls::{Call, Fixed, Op};
use super::make;
use super::people::{DEV, People, agents_of};
use super::questions::{self, Question};
use super::rights::{self, List, OWNER, Person, READ};
use super::secrets::{self, Grants};
use super::things::{self, Kind, Place, Things};

/// How long a run may take to ask, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// A suite with people and things, and what the model knows of them.
pub(super) struct World {
    suite: TestSuite,
    links: HashMap<(String, Role), Link>,
    pub(super) people: People,
    pub(super) things: Things,
    pub(super) homes: BTreeMap<String, String>,
    /// What runs ask, by name.
    questions: BTreeMap<String, Question>,
    grants: Grants,
}

impl World {
    /// Starts the suite and makes a random world in it; with code where there is a program that runs it.
    pub(super) async fn start(seed: u64, worker: Option<&Path>) -> Result<(Self, StdRng)> {
        let mut rng = StdRng::seed_from_u64(seed);
        let people = People::random(&mut rng);
        let builder = Role::ALL.into_iter().fold(TestSuite::builder(), |builder, role| match role {
            Role::Edge => builder.role(role, sre_gateway::edge::start),
            Role::Engine => builder.role(role, sre_gateway::engine::start),
            Role::Agent => builder.role(role, sre_agent::start),
            Role::Memory => builder.role(role, sre_memory::start),
            Role::Llm => builder.role(role, sre_llm::start),
            Role::Io => builder.role(role, sre_io::start),
            Role::Security => builder.role(role, sre_security::start),
            Role::Compute => builder.role(role, sre_compute::start),
            Role::Observability => builder.role(role, sre_observability::start),
        });
        let builder = builder.config(|config| {
            config.compute.enabled = worker.is_some();
            config.compute.worker = worker.map(Path::to_owned);
        });
        let suite = builder.build().await.context("the suite")?;
        let homes = people.homes();
        let mut world = Self {
            suite,
            links: HashMap::new(),
            people,
            things: Things::default(),
            homes,
            questions: BTreeMap::new(),
            grants: Grants::new(),
        };
        world.people().await.context("its people")?;
        let approvers = world.agents(&mut rng).await.context("its agents")?;
        let mut places = Things::places(&world.people);
        places.retain(|place| worker.is_some() || place.kind != Kind::Code);
        for place in &places {
            world.make(place, &mut rng).await.with_context(|| format!("{place:?}"))?;
        }
        world.things.places.extend(places);
        world.runs().await.context("its runs")?;
        world.questions(approvers).await.context("what its runs ask")?;
        world.secrets(&mut rng).await.context("its secrets")?;
        Ok((world, rng))
    }

    pub(super) async fn stop(self) {
        drop(self.links);
        self.suite.stop().await;
    }

    /// A principal's way to a role.
    pub(super) fn link(&mut self, principal: &str, to: Role) -> Link {
        let suite = &self.suite;
        let open = || suite.link_as(principal, to);
        self.links.entry((principal.to_owned(), to)).or_insert_with(open).clone()
    }

    fn dev(&mut self) -> Link {
        self.link(DEV, Role::Edge)
    }

    async fn people(&mut self) -> Result<()> {
        let mut account = AccountClient::new(self.dev());
        for team in &self.people.teams {
            account.create_team(CreateTeamRequest { team_id: team.clone(), team: None }).await?;
        }
        // Their first team becomes their home.
        for person in self.people.known.iter().filter(|person| person.name.starts_with("user/")) {
            for (team, admin) in &person.teams {
                let role = if *admin { TeamRole::Admin } else { TeamRole::Member };
                let member =
                    Member { candidate: things::candidate(&person.name), role: role.into(), home: false };
                account
                    .set_member(SetMemberRequest { parent: format!("teams/{team}"), member: Some(member) })
                    .await?;
            }
        }
        Ok(())
    }

    /// Agents of every team, each with whom its runs ask. Who may use their skills is set once: the engine's tokens for
    /// it are kept for a while.
    async fn agents(&mut self, rng: &mut StdRng) -> Result<BTreeMap<String, Question>> {
        let mut approvers = BTreeMap::new();
        let mut agents = AgentDataClient::new(self.dev());
        for (n, team) in self.people.teams.iter().enumerate() {
            for id in agents_of(n) {
                let name = format!("teams/{team}/agents/{id}");
                let approver = questions::approver(rng, &self.people);
                let document = document(&id, &approver);
                approvers.insert(name.clone(), Question { team: team.clone(), approver });
                let agent = Agent { document_json: document.into(), ..Agent::default() };
                let request = CreateAgentRequest {
                    parent: format!("teams/{team}"),
                    agent_id: id,
                    agent: Some(agent),
                    request_id: String::new(),
                };
                agents.create_agent(request).await?;
                let place = Place { kind: Kind::Skills, name: format!("{name}/skills"), team: team.clone() };
                let list = things::list(rng, &self.people, &place);
                let aspect = AclAspect::Skills.into();
                agents
                    .set_agent_acl(SetAgentAclRequest { name, aspect, acl: Some(things::message(&list)) })
                    .await?;
                self.things.lists.insert(place, list);
            }
        }
        Ok(approvers)
    }

    /// A run of each agent that asks, and waits for an answer.
    async fn questions(&mut self, approvers: BTreeMap<String, Question>) -> Result<()> {
        let mut runs = RunsClient::new(self.dev());
        for (agent, question) in approvers {
            let call = SkillCall { skill: "ask".to_owned(), input_json: r#"{"text":"x"}"#.into() };
            let request = StartRunRequest {
                agent: agent.clone(),
                call: Some(start_run_request::Call::Skill(call)),
                ..StartRunRequest::default()
            };
            runs.start_run(request).await?;
            let asked = async {
                loop {
                    if let Some(asked) = questions::all(self.dev(), agent.clone()).await?.pop() {
                        return Ok::<_, tonic::Status>(asked.name);
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            };
            let name = tokio::time::timeout(PATIENCE, asked).await.context("nothing is asked")??;
            let place = Place { kind: Kind::Approval, name: name.clone(), team: question.team.clone() };
            self.things.places.push(place);
            self.questions.insert(name, question);
        }
        Ok(())
    }

    /// Secrets of most teams, and to whom they are granted: teams that have none use those.
    async fn secrets(&mut self, rng: &mut StdRng) -> Result<()> {
        for owner in self.people.teams.clone() {
            if rng.random_bool(0.4) {
                continue;
            }
            let name = format!("teams/{owner}");
            secrets::make(Fixed::PutSecret, self.dev(), name.clone(), &owner, "").await?;
            for other in self.people.teams.clone() {
                if other != owner && rng.random_bool(0.3) {
                    secrets::make(Fixed::GrantSecret, self.dev(), name.clone(), &owner, &other).await?;
                    self.grants.insert((owner.clone(), other));
                }
            }
        }
        Ok(())
    }

    /// A run of each agent, which belongs to its caller and its agent.
    async fn runs(&mut self) -> Result<()> {
        let mut runs = RunsClient::new(self.dev());
        for (n, team) in self.people.teams.clone().iter().enumerate() {
            for id in agents_of(n) {
                let call = SkillCall { skill: "echo".to_owned(), input_json: r#"{"text":"x"}"#.into() };
                let request = StartRunRequest {
                    agent: format!("teams/{team}/agents/{id}"),
                    call: Some(start_run_request::Call::Skill(call)),
                    ..StartRunRequest::default()
                };
                let name = runs.start_run(request).await?.into_inner().name;
                let place = Place { kind: Kind::Run, name, team: team.clone() };
                let list = List::from([(DEV.to_owned(), OWNER), (format!("agent/{id}"), OWNER)]);
                self.things.places.push(place.clone());
                self.things.lists.insert(place, list);
            }
        }
        Ok(())
    }

    /// Makes a thing at its place with a random list, or leaves the place empty.
    pub(super) async fn make(&mut self, place: &Place, rng: &mut StdRng) -> Result<()> {
        let list = things::list(rng, &self.people, place);
        let absent = rng.random_bool(0.15);
        match place.kind {
            Kind::Skills | Kind::Run | Kind::Approval => return Ok(()),
            Kind::Agent => {}
            _ if absent => return Ok(()),
            _ => {
                let creator = creator(place);
                make::create(&self.link(&creator, Role::Edge), place).await?;
                make::set_list(&self.link(&creator, Role::Edge), place, &list).await?;
                self.things.lists.insert(place.clone(), list);
                return Ok(());
            }
        }
        self.relist(place, list).await
    }

    /// Replaces a list, as its owner.
    pub(super) async fn relist(&mut self, place: &Place, list: List) -> Result<()> {
        make::set_list(&self.dev(), place, &list).await?;
        self.things.lists.insert(place.clone(), list);
        Ok(())
    }

    /// A token for the edge to act for somebody at a role, within a scope.
    pub(super) async fn token(
        &mut self,
        person: &Person,
        to: Role,
        scope: String,
    ) -> Result<String, tonic::Status> {
        let spiffe_id = format!("spiffe://sre.local/{}", person.name);
        let request = ExchangeRequest {
            proof: Some(Proof::Peer(AttestedPeer { spiffe_id })),
            purpose: Purpose::Forward.into(),
            audience: vec![to.name().to_owned()],
            scopes: vec![scope],
            ..ExchangeRequest::default()
        };
        let link = self.link("service/edge", Role::Security);
        Ok(IdentityClient::new(link).exchange(request).await?.into_inner().token)
    }

    /// What the model says of a call by somebody for themselves.
    pub(super) fn allows(&self, person: &Person, call: &Call) -> bool {
        if person.is_service() {
            return false;
        }
        if let Op::Fixed(Fixed::ListApprovals) = call.op {
            return questions::may_list(person, &call.team, &call.resource(), &self.homes);
        }
        if let Some(question) = call.place.as_ref().and_then(|place| self.questions.get(&place.name)) {
            return match call.op {
                Op::List => questions::may_list(person, &call.team, &call.resource(), &self.homes),
                _ => question.allows(person, call.level(), &call.resource(), &self.homes),
            };
        }
        // Whose secret it is, and under whose agents it goes.
        let may_give = call.op != Op::Fixed(Fixed::GrantSecret)
            || secrets::may_give_to(person, &call.other, &self.homes);
        may_give && self.has(person, call.level(), call)
    }

    fn has(&self, person: &Person, level: u8, call: &Call) -> bool {
        match call.place.as_ref().and_then(|place| self.things.lists.get(place)) {
            Some(list) if !call.is_by_name() => rights::by_list(person, level, list),
            _ => rights::by_name(person, level, &call.resource(), &self.homes),
        }
    }

    /// Things whose content a text holds and that a person may not read.
    pub(super) fn leaks(&self, person: &Person, text: &str) -> Vec<String> {
        let listed = self.things.lists.iter().filter(|(place, list)| {
            text.contains(&things::mark(place)) && !rights::by_list(person, READ, list)
        });
        let asked = self.questions.iter().filter(|(name, question)| {
            let mark = format!("<<{:?} {name}>>", Kind::Approval);
            text.contains(&mark) && !question.allows(person, READ, name, &self.homes)
        });
        let secret = self.people.teams.iter().filter(|team| {
            text.contains(&secrets::mark(team)) && !secrets::may_use(person, team, &self.grants, &self.homes)
        });
        listed
            .map(|(place, _)| place.name.clone())
            .chain(asked.map(|(name, _)| name.clone()))
            .chain(secret.map(|team| secrets::name(team)))
            .collect()
    }

    /// What the model learns from a call that was made. What somebody made or took away is put right again.
    pub(super) async fn learn(&mut self, person: &Person, call: &Call, rng: &mut StdRng) -> Result<()> {
        let Some(place) = call.place.clone() else {
            let pair = (call.team.clone(), call.other.clone());
            match call.op {
                Op::Fixed(Fixed::GrantSecret) => drop(self.grants.insert(pair)),
                Op::Fixed(Fixed::RevokeGrant) => drop(self.grants.remove(&pair)),
                // Whoever sets it again shares it again.
                Op::Fixed(Fixed::DeleteSecret) => self.grants.retain(|(owner, _)| *owner != call.team),
                _ => {}
            }
            return Ok(());
        };
        match call.op {
            Op::SetList => {
                self.things.lists.insert(place, call.list.clone());
            }
            Op::Delete => {
                self.things.lists.remove(&place);
                if rng.random_bool(0.7) {
                    self.make(&place, rng).await?;
                }
            }
            // What was made ready can be run again.
            Op::Clear if place.kind == Kind::Code => make::create(&self.dev(), &place).await?,
            Op::Write if place.kind != Kind::Approval && !self.things.lists.contains_key(&place) => {
                // Whoever makes a thing owns it.
                let list = things::list(rng, &self.people, &place);
                make::set_list(&self.link(&person.name, Role::Edge), &place, &list)
                    .await
                    .context("who made a thing does not own it")?;
                self.things.lists.insert(place, list);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Who may make a thing at a place: the people's own places are theirs alone.
fn creator(place: &Place) -> String {
    match place.name.split('/').collect::<Vec<_>>().as_slice() {
        ["teams", _, "users", user, ..] => format!("user/{user}"),
        _ => DEV.to_owned(),
    }
}

/// An agent with a skill that answers its input, and one that asks somebody.
fn document(id: &str, approver: &str) -> String {
    json!({
        "version": "1.0.0", "id": id, "name": id, "description": format!("<<Agent {id}>>"),
        "components": [
            {
                "id": "echo", "name": "APIEndpoint", "displayName": "echo", "title": "echo",
                "data": { "endpoint": "echo", "method": "POST", "description": "echo", "ai_exposed": true },
                "inputs": [{ "name": "text", "type": "Any", "optional": false }],
                "outputs": [
                    { "name": "body", "default": true },
                    { "name": "text", "expression": "body.text" },
                ],
            },
            {
                "id": "out", "name": "APIOutput", "displayName": "out", "title": "out",
                "data": { "format": "minimal" },
                "inputs": [{ "name": "text", "type": "Any", "optional": false }],
                "outputs": [{ "name": "Output", "default": true }],
            },
            {
                "id": "ask", "name": "APIEndpoint", "displayName": "ask", "title": "ask",
                "data": { "endpoint": "ask", "method": "POST", "description": "ask", "ai_exposed": true },
                "inputs": [{ "name": "text", "type": "Any", "optional": false }],
                "outputs": [
                    { "name": "body", "default": true },
                    { "name": "text", "expression": "body.text" },
                ],
            },
            {
                "id": "question", "name": "Approval", "displayName": "question", "title": "question",
                "data": { "title": "May it?", "approvers": [approver] },
                "inputs": [{ "name": "text", "type": "Any", "optional": false }],
                "outputs": [
                    { "name": "Approved" }, { "name": "Rejected" }, { "name": "Comment" },
                    { "name": "DecidedBy" },
                ],
            },
            {
                "id": "said", "name": "APIOutput", "displayName": "said", "title": "said",
                "data": { "format": "minimal" },
                "inputs": [{ "name": "approved", "type": "Any", "optional": false }],
                "outputs": [{ "name": "Output", "default": true }],
            },
        ],
        "connections": [
            { "sourceId": "echo", "sourceIndex": "text", "targetId": "out", "targetIndex": "text" },
            { "sourceId": "ask", "sourceIndex": "text", "targetId": "question", "targetIndex": "text" },
            { "sourceId": "question", "sourceIndex": "Approved", "targetId": "said", "targetIndex": "approved" },
        ],
    })
    .to_string()
}

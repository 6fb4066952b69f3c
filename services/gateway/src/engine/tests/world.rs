//! The suite of a test, and clients that act in it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use sre_agent as agent;
use sre_identity::token::Purpose;
use sre_memory as memory;
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::agent::v1::{Agent, CreateAgentRequest};
use sre_proto::gateway::v1::approvals_client::ApprovalsClient;
use sre_proto::gateway::v1::conversations_client::ConversationsClient;
use sre_proto::gateway::v1::debugger_client::DebuggerClient;
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{
    GetRunRequest, Run, RunSkillRequest, RunSkillResponse, RunState, SkillCall, StartRunRequest,
    run_skill_request, start_run_request,
};
use sre_proto::memory::v1::{JournalRecord, RecordKind};
use sre_service::accounts::TeamRole;
use sre_service::testing::{Builder, TestSuite};
use sre_service::{Config, Link, Role, Routes};
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::llm::Llm;
use super::server::Server;
use crate::engine::admission::Slot;
use crate::engine::core::Engine;
use crate::engine::{build, routes, takeover};

/// Which of the two engines a call goes to.
const ENGINE: &str = "x-test-engine";
/// How long something may take that happens in seconds on a fast machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct World {
    pub suite: TestSuite,
    pub server: Server,
    pub llm: Llm,
    pub engines: Vec<Engine>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::of(change, |suite| suite).await
    }

    /// With a service for files.
    pub async fn with_files() -> Self {
        Self::of(|_| {}, |suite| suite.role(Role::Io, sre_io::start)).await
    }

    async fn of(change: impl FnOnce(&mut Config), more: impl FnOnce(Builder) -> Builder) -> Self {
        let server = Server::start().await;
        let llm = Llm::default();
        let scripted = llm.clone();
        let engines: Arc<OnceLock<Vec<Engine>>> = Arc::default();
        let (built, address) = (engines.clone(), server.address.clone());
        let suite = more(TestSuite::builder())
            .role(Role::Agent, agent::start)
            .role(Role::Memory, memory::start)
            .role(Role::Llm, move |_| {
                let scripted = scripted.clone();
                async move { Ok(scripted.routes()) }
            })
            .role(Role::Engine, move |host| {
                let built = built.clone();
                async move {
                    let two = vec![build(&host)?, build(&host)?];
                    for engine in &two {
                        host.spawn("claims", Box::pin(takeover::claim_forever(engine.clone())));
                    }
                    let both: Vec<_> = two.iter().map(|engine| routes(engine.clone())).collect();
                    let _ = built.set(two);
                    let pick = move |request: http::Request<tonic::body::Body>| {
                        let second = request.headers().get(ENGINE).is_some_and(|engine| engine == "1");
                        both[usize::from(second)].call(request)
                    };
                    Ok(Routes::for_others(tower::service_fn(pick)))
                }
            })
            .member("user/alice", "default", TeamRole::Member)
            .member("user/eve", "blue", TeamRole::Admin)
            .config(move |config| {
                config.egress.allow = vec![address];
                config.gateway.park_grace_ms = 50;
                config.gateway.park_after_ms = 100;
                change(config);
            })
            .build()
            .await
            .unwrap();
        let engines = engines.get().unwrap().clone();
        Self { suite, server, llm, engines }
    }

    /// All slots of an engine: it works on nothing while they are held. What looks for runs holds some for a moment.
    pub async fn take_all_slots(&self, engine: usize) -> Vec<Slot> {
        let engine = &self.engines[engine];
        let mut taken = Vec::new();
        while taken.len() < engine.host.config().gateway.max_running {
            taken.extend(std::iter::from_fn(|| engine.admission.slot()));
            tokio::task::yield_now().await;
        }
        taken
    }

    /// Stores an agent of the team `default` and gives its name.
    pub async fn put(&self, document: &Value) -> String {
        let mut client = AgentDataClient::new(self.suite.link_as("user/dev", Role::Agent));
        let agent = Agent { document_json: document.to_string().into(), ..Agent::default() };
        let request = CreateAgentRequest {
            parent: "teams/default".into(),
            agent: Some(agent),
            ..CreateAgentRequest::default()
        };
        client.create_agent(request).await.unwrap().into_inner().name
    }

    fn link(&self, token: &str) -> Link {
        self.suite.link_as("service/edge", Role::Engine).with_jwt(token)
    }

    /// The way of whoever runs an agent.
    fn running(&self, agent: &str) -> Link {
        self.running_as(agent, "user/dev")
    }

    /// The same for anybody.
    pub fn running_as(&self, agent: &str, root: &str) -> Link {
        let stand_in = self.suite.stand_in();
        let id = agent.rsplit('/').next().unwrap();
        let scopes = [
            "sre.gateway.v1.Runs:read",
            "sre.gateway.v1.Runs:write",
            "sre.gateway.v1.Debugger:write",
            "sre.gateway.v1.Conversations:read",
            "sre.gateway.v1.Conversations:write",
        ];
        let mut claims = stand_in.claims(&format!("agent/{id}"), Role::Edge, Role::Engine, &scopes);
        claims.root = claims.sub.replace(&format!("agent/{id}"), root);
        claims.purpose = Purpose::Run;
        claims.agent = Some(agent.to_owned());
        self.link(&stand_in.sign(&claims))
    }

    /// The way of somebody who steers runs.
    fn acting(&self, who: &str) -> Link {
        let services = ["Runs", "Approvals", "Debugger", "Conversations"];
        let scopes = services.iter().flat_map(|service| {
            ["read", "write", "owner"].map(|level| format!("sre.gateway.v1.{service}:{level}"))
        });
        let scopes: Vec<String> = scopes.collect();
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        self.link(&self.suite.stand_in().token(who, Role::Edge, Role::Engine, &scopes))
    }

    pub fn runs(&self, who: &str) -> RunsClient<Link> {
        RunsClient::new(self.acting(who))
    }

    pub fn approvals(&self, who: &str) -> ApprovalsClient<Link> {
        ApprovalsClient::new(self.acting(who))
    }

    pub fn debugger(&self, who: &str) -> DebuggerClient<Link> {
        DebuggerClient::new(self.acting(who))
    }

    pub fn conversations(&self, who: &str) -> ConversationsClient<Link> {
        ConversationsClient::new(self.acting(who))
    }

    pub async fn start(&self, engine: usize, agent: &str, x: Value) -> Run {
        let input_json = serde_json::json!({ "x": x }).to_string().into();
        let call = start_run_request::Call::Skill(SkillCall { skill: "go".into(), input_json });
        let request = StartRunRequest { agent: agent.into(), call: Some(call), ..StartRunRequest::default() };
        RunsClient::new(self.running(agent)).start_run(at(engine, request)).await.unwrap().into_inner()
    }

    /// Starts a run that may take so long.
    pub async fn start_for(&self, agent: &str, time: Duration) -> Run {
        let call =
            start_run_request::Call::Skill(SkillCall { skill: "go".into(), input_json: r#"{"x":1}"#.into() });
        let timeout = time.try_into().ok();
        let request =
            StartRunRequest { agent: agent.into(), call: Some(call), timeout, ..StartRunRequest::default() };
        RunsClient::new(self.running(agent)).start_run(request).await.unwrap().into_inner()
    }

    pub async fn run(&self, engine: usize, agent: &str, x: Value) -> Result<RunSkillResponse, Status> {
        let input_json = serde_json::json!({ "x": x }).to_string().into();
        let call = run_skill_request::Call::Skill(SkillCall { skill: "go".into(), input_json });
        let request = RunSkillRequest { agent: agent.into(), call: Some(call), ..RunSkillRequest::default() };
        Ok(RunsClient::new(self.running(agent)).run_skill(at(engine, request)).await?.into_inner())
    }

    pub async fn get(&self, name: &str) -> Run {
        self.runs("user/dev").get_run(GetRunRequest { name: name.into() }).await.unwrap().into_inner()
    }

    /// Waits until a run is in this state.
    pub async fn until(&self, name: &str, state: RunState) -> Run {
        let reached = async {
            loop {
                let run = self.get(name).await;
                if run.state() == state {
                    return run;
                }
                assert!(run.end_time.is_none(), "it ended otherwise: {run:?}");
                let id = name.rsplit('/').next().unwrap();
                let journal = &self.engines[0].journal;
                let mut pages = journal.tail(id, i64::MAX >> 1).await.unwrap();
                let _ = tokio::time::timeout(Duration::from_millis(20), futures::StreamExt::next(&mut pages))
                    .await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(run) => run,
            Err(_) => panic!("{name} did not become {state:?}: {:?}", self.get(name).await),
        }
    }

    pub async fn done(&self, name: &str) -> Value {
        let run = self.until(name, RunState::Done).await;
        serde_json::from_slice(&run.legacy_json).unwrap()
    }

    /// The records of a run.
    pub async fn records(&self, name: &str) -> Vec<JournalRecord> {
        self.engines[0].journal.load(name.rsplit('/').next().unwrap()).await.unwrap()
    }

    pub async fn count(&self, name: &str, kind: RecordKind) -> usize {
        self.records(name).await.iter().filter(|record| record.kind() == kind).count()
    }

    /// An engine's session ends as if its process had died: its runs are claimed by whoever comes first, and
    /// it drops its work.
    pub async fn kill(&self, engine: usize) {
        let lease = self.engines[engine].sessions.current().unwrap();
        crate::engine::session::Leases::close(&self.engines[engine].journal, lease.id()).await.unwrap();
        self.engines[engine].sessions.suspect();
        lease.lost().cancelled().await;
    }

    /// No engine has anything in memory; the one that parked it drops it a moment after the store knows.
    pub async fn nothing_lives(&self, name: &str) -> bool {
        let id = name.rsplit('/').next().unwrap();
        let gone = async {
            while self.engines.iter().any(|engine| engine.live.get(id).is_some()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.is_ok()
    }
}

/// A request to one of the engines.
pub fn at<T>(engine: usize, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert(ENGINE, MetadataValue::from(engine as u64));
    request
}

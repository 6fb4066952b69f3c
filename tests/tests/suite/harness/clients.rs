//! Typed clients of the edge for one principal, and the calls that many tests make.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::agent::v1::{Agent, DeployVersionRequest, UpdateAgentRequest};
use sre_proto::gateway::v1::approvals_client::ApprovalsClient;
use sre_proto::gateway::v1::conversations_client::ConversationsClient;
use sre_proto::gateway::v1::debugger_client::DebuggerClient;
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{
    GetRunRequest, Run, RunEvent, RunSkillRequest, RunSkillResponse, RunState, SkillCall, StartRunRequest,
    WatchRunRequest, run_skill_request, start_run_request,
};
use sre_proto::io::v1::nkv_client::NkvClient;
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::vector_db_client::VectorDbClient;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::memory::v1::cache_client::CacheClient;
use sre_proto::security::v1::account_client::AccountClient;
use sre_proto::security::v1::api_keys_client::ApiKeysClient;
use sre_proto::security::v1::managed_vault_client::ManagedVaultClient;
use sre_proto::security::v1::vault_client::VaultClient;
use sre_proto::security::v1::{PutSecretRequest, Secret};
use tonic::Status;
use tonic::transport::Channel;

use super::{CANARY, CANARY_KEY};

/// A principal's way into the suite.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Over a channel to the edge.
    pub fn new(channel: Channel) -> Self {
        Self { channel }
    }

    pub fn runs(&self) -> RunsClient<Channel> {
        RunsClient::new(self.channel.clone())
    }

    pub fn approvals(&self) -> ApprovalsClient<Channel> {
        ApprovalsClient::new(self.channel.clone())
    }

    pub fn conversations(&self) -> ConversationsClient<Channel> {
        ConversationsClient::new(self.channel.clone())
    }

    pub fn inference(&self) -> InferenceClient<Channel> {
        InferenceClient::new(self.channel.clone())
    }

    pub fn debugger(&self) -> DebuggerClient<Channel> {
        DebuggerClient::new(self.channel.clone())
    }

    pub fn agents(&self) -> AgentDataClient<Channel> {
        AgentDataClient::new(self.channel.clone())
    }

    pub fn keys(&self) -> ApiKeysClient<Channel> {
        ApiKeysClient::new(self.channel.clone())
    }

    pub fn account(&self) -> AccountClient<Channel> {
        AccountClient::new(self.channel.clone())
    }

    pub fn vault(&self) -> VaultClient<Channel> {
        VaultClient::new(self.channel.clone())
    }

    pub fn managed_vault(&self) -> ManagedVaultClient<Channel> {
        ManagedVaultClient::new(self.channel.clone())
    }

    pub fn storage(&self) -> StorageClient<Channel> {
        StorageClient::new(self.channel.clone())
    }

    pub fn nkv(&self) -> NkvClient<Channel> {
        NkvClient::new(self.channel.clone())
    }

    pub fn vectors(&self) -> VectorDbClient<Channel> {
        VectorDbClient::new(self.channel.clone())
    }

    pub fn cache(&self) -> CacheClient<Channel> {
        CacheClient::new(self.channel.clone())
    }

    /// Stores an agent under its name in full, making it or a new version of it.
    pub async fn put(&self, name: &str, document: &Value) -> Result<Agent, Status> {
        let agent =
            Agent { name: name.to_owned(), document_json: document.to_string().into(), ..Agent::default() };
        let request = UpdateAgentRequest { agent: Some(agent), update_mask: None, allow_missing: true };
        Ok(self.agents().update_agent(request).await?.into_inner())
    }

    /// Deploys a version; the latest where it is empty.
    pub async fn deploy(&self, name: &str, version: &str) -> Result<Agent, Status> {
        let request = DeployVersionRequest { name: name.to_owned(), version: version.to_owned() };
        Ok(self.agents().deploy_version(request).await?.into_inner())
    }

    /// Runs a skill.
    pub async fn run(&self, agent: &str, skill: &str, input: &Value) -> Result<RunSkillResponse, Status> {
        let request = run_request(agent, skill, input);
        Ok(self.runs().run_skill(request).await?.into_inner())
    }

    /// Runs a skill and gives its answer.
    pub async fn answer(&self, agent: &str, skill: &str, input: &Value) -> Result<Value, Status> {
        self.run(agent, skill, input).await.map(|response| json(&response.legacy_json))
    }

    /// Starts a run.
    pub async fn start(&self, agent: &str, skill: &str, input: &Value) -> Result<Run, Status> {
        Ok(self.runs().start_run(start_request(agent, skill, input)).await?.into_inner())
    }

    /// A run as it is now.
    pub async fn get_run(&self, name: &str) -> Result<Run, Status> {
        Ok(self.runs().get_run(GetRunRequest { name: name.to_owned() }).await?.into_inner())
    }

    /// All events of a run, to its end.
    pub async fn watch(&self, name: &str) -> Result<Vec<RunEvent>, Status> {
        let request = WatchRunRequest { name: name.to_owned(), after: None };
        let mut stream = self.runs().watch_run(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.message().await? {
            events.push(event);
        }
        Ok(events)
    }

    /// A run once it is in one of these states.
    pub async fn reached(&self, name: &str, states: &[RunState]) -> Run {
        super::eventually(&format!("{name} is one of {states:?}"), Duration::from_secs(30), async || {
            let run = self.get_run(name).await.ok()?;
            let ended = [RunState::Done, RunState::Failed, RunState::Cancelled].contains(&run.state());
            let there = states.contains(&run.state());
            assert!(there || !ended, "the run ended: {run:?}");
            there.then_some(run)
        })
        .await
    }

    /// Puts the secret that no file may hold in clear into the vault of the caller's team.
    pub async fn put_canary(&self) {
        let secret = Secret { name: format!("teams/-/secrets/{CANARY_KEY}"), ..Secret::default() };
        let value = Bytes::from_static(CANARY.as_bytes());
        let request = PutSecretRequest { secret: Some(secret), value, ..PutSecretRequest::default() };
        self.vault().put_secret(request).await.unwrap();
    }
}

/// A request to run a skill.
pub fn run_request(agent: &str, skill: &str, input: &Value) -> RunSkillRequest {
    RunSkillRequest {
        agent: agent.to_owned(),
        call: Some(run_skill_request::Call::Skill(skill_call(skill, input))),
        ..RunSkillRequest::default()
    }
}

/// A request to start a run.
pub fn start_request(agent: &str, skill: &str, input: &Value) -> StartRunRequest {
    StartRunRequest {
        agent: agent.to_owned(),
        call: Some(start_run_request::Call::Skill(skill_call(skill, input))),
        ..StartRunRequest::default()
    }
}

fn skill_call(skill: &str, input: &Value) -> SkillCall {
    SkillCall { skill: skill.to_owned(), input_json: input.to_string().into() }
}

/// Bytes that are JSON.
pub fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

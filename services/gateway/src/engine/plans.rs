//! Compiled agents, by the digest of their document.

use std::collections::HashMap;
use std::sync::Arc;

use moka::future::Cache;
use parking_lot::Mutex;
use sre_engine::{EntryId, Issue, Map, Plan, Types, Value};
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::agent::v1::{GetVersionRequest, ResolveVersionRequest};
use sre_proto::error::{Reason, status};
use sre_service::Link;
use tonic::{Code, Status};

use super::authority::{self, Scope};
use super::external::{Catalogue, Resolved, WithExternal};
use super::journal::formats;
use super::names::AgentName;

/// Types of one document that are looked for out of process.
const MOST_FOREIGN: usize = 256;

/// A compiled version of an agent.
#[derive(Debug)]
pub struct Compiled {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The agent's variables as its author wrote them.
    pub variables: Map,
    /// The model of conversations with it; empty where it names none.
    pub default_model: String,
    /// Its components out of process.
    external: Vec<Arc<Resolved>>,
    /// Types that are none of the suite.
    foreign: Vec<String>,
    record_format: i32,
    scopes: Mutex<HashMap<EntryId, Arc<[Scope]>>>,
}

impl Compiled {
    /// The format of records that runs of it need: whoever cannot read that much must not claim them.
    pub fn record_format(&self) -> i32 {
        self.record_format
    }

    /// A component out of process, as the document writes its type.
    pub fn external(&self, type_name: &str) -> Option<&Arc<Resolved>> {
        self.external.iter().find(|known| known.asked == type_name)
    }

    /// What a run from this entry may call. Worked out once.
    pub fn scopes(&self, entry: EntryId) -> Arc<[Scope]> {
        self.scopes
            .lock()
            .entry(entry)
            .or_insert_with(|| authority::scopes_of(&self.plan, entry).into())
            .clone()
    }
}

/// The version that a run uses.
#[derive(Debug, Clone)]
pub struct Version {
    /// The agent's full name.
    pub agent: AgentName,
    /// The version's id.
    pub id: String,
    /// The digest of its document.
    pub digest: String,
}

/// Compiles versions once.
#[derive(Clone)]
pub struct Plans {
    types: &'static dyn Types,
    external: Catalogue,
    compiled: Cache<String, Arc<Compiled>>,
}

impl Plans {
    /// A bounded cache over these component types.
    pub fn new(types: &'static dyn Types, external: Catalogue, entries: u64) -> Self {
        Self { types, external, compiled: Cache::new(entries.max(1)) }
    }

    /// Finds the version that a run of an agent uses. `link` acts as the agent.
    pub async fn resolve(&self, link: Link, agent: &AgentName, version: &str) -> Result<Version, Status> {
        let request = ResolveVersionRequest { name: agent.to_string(), version: version.to_owned() };
        let answer = AgentDataClient::new(link).resolve_version(request).await?.into_inner();
        Ok(Version {
            agent: AgentName::parse("agent", &answer.name)?,
            id: answer.version,
            digest: answer.digest,
        })
    }

    /// The plan of a version. Calls at the same time share one compilation.
    pub async fn plan(&self, link: Link, version: &Version) -> Result<Arc<Compiled>, Status> {
        let own = self.compiled(link.clone(), version, version.digest.clone(), Arc::new([])).await?;
        if own.foreign.is_empty() {
            return Ok(own);
        }
        let acting = link.clone();
        let external = self.external.resolve(&version.agent, &own.foreign, async || Ok(acting)).await?;
        if external.is_empty() {
            return Ok(own);
        }
        // Another plan for each set of declarations: one that is registered anew shows in runs that begin.
        let digests = external.iter().map(|known| format!("+{}={}", known.asked, known.declared.digest));
        let key = format!("{}{}", version.digest, digests.collect::<String>());
        self.compiled(link, version, key, external).await
    }

    async fn compiled(
        &self,
        link: Link,
        version: &Version,
        key: String,
        external: Arc<[Arc<Resolved>]>,
    ) -> Result<Arc<Compiled>, Status> {
        if let Some(known) = self.compiled.get(&key).await {
            return Ok(known);
        }
        let types = self.types;
        let request = GetVersionRequest { name: version.agent.to_string(), version: version.id.clone() };
        self.compiled
            .try_get_with(key, async move {
                let answer = AgentDataClient::new(link).get_version(request).await?.into_inner();
                let mut compiled = compile(&answer.document_json, &WithExternal::new(types, &external))?;
                compiled.external = external.to_vec();
                Ok(Arc::new(compiled))
            })
            .await
            .map_err(|status: Arc<Status>| Status::clone(&status))
    }
}

/// Compiles a document.
pub fn compile(document: &[u8], types: &dyn Types) -> Result<Compiled, Status> {
    let json: serde_json::Value = serde_json::from_slice(document)
        .map_err(|error| invalid(&format!("its document is not json: {error}")))?;
    let plan = sre_engine::compile(&json, types).map_err(|issues| {
        let errors = issues.iter().filter(|issue| issue.is_error());
        invalid(&errors.map(Issue::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let bare = match json.get("data") {
        Some(data) if json.get("components").is_none() => data,
        _ => &json,
    };
    let variables = bare.get("variables").map(Value::from);
    let variables = variables.and_then(|value| value.as_object().cloned()).unwrap_or_default();
    let default_model = match bare.get("defaultModel") {
        Some(serde_json::Value::String(name)) => name.as_str(),
        Some(model) => model.get("modelId").and_then(serde_json::Value::as_str).unwrap_or_default(),
        None => "",
    };
    let default_model = default_model.to_owned();
    let record_format = formats::of_plan(&plan);
    let foreign = foreign(&plan);
    Ok(Compiled {
        plan: Arc::new(plan),
        variables,
        default_model,
        external: Vec::new(),
        foreign,
        record_format,
        scopes: Mutex::default(),
    })
}

/// The types of a plan that nobody knows, each once.
fn foreign(plan: &Plan) -> Vec<String> {
    let mut names: Vec<String> = plan
        .nodes()
        .iter()
        .filter(|node| node.entry.is_none())
        .map(|node| node.type_name.to_string())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(MOST_FOREIGN);
    names
}

fn invalid(message: &str) -> Status {
    status(Code::FailedPrecondition, Reason::InvalidAgent, format!("the agent cannot be run: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_engine::TypeEntry;

    struct NoTypes;

    impl Types for NoTypes {
        fn lookup(&self, _: &str) -> Option<&TypeEntry> {
            None
        }

        fn names(&self) -> Vec<&str> {
            Vec::new()
        }
    }

    #[test]
    fn variables_are_found_in_both_envelopes() {
        let bare = r#"{"id":"a","name":"A","components":[],"connections":[],"variables":{"V":"{{KEY(k)}}"}}"#;
        let wrapped = format!(r#"{{"version":"1.0","data":{bare}}}"#);
        for document in [bare, &wrapped] {
            let compiled = compile(document.as_bytes(), &NoTypes).unwrap();
            assert_eq!(compiled.variables["V"], Value::from("{{KEY(k)}}"), "{document}");
        }
    }

    #[test]
    fn a_document_that_cannot_run_is_refused() {
        let refused = compile(b"{", &NoTypes).unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(sre_proto::error::reason(&refused), Some(Reason::InvalidAgent));
    }
}

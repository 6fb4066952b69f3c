//! Which components out of process an agent may use, and where they are: asked of the agent service, kept for a short
//! time, and for longer where the agent service cannot be asked.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use sre_components::external::{Declaration, declare};
use sre_proto::agent::v1::components_client::ComponentsClient;
use sre_proto::agent::v1::{ResolveComponentsRequest, ResolvedComponent};
use sre_proto::error::{Reason, status};
use sre_service::{Host, Link};
use tonic::{Code, Status};

use super::endpoint::{Endpoint, Endpoints};
use crate::engine::names::AgentName;

/// How long an answer counts while the agent service cannot be reached.
const STALE: Duration = Duration::from_secs(300);
const MOST_ANSWERS: u64 = 20_000;
const DEADLINE: Duration = Duration::from_secs(5);

/// A component that an agent may use.
#[derive(Debug)]
pub struct Resolved {
    /// As the document writes it.
    pub asked: String,
    /// What it says about itself.
    pub declared: &'static Declaration,
    /// Where it is served.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// Who serves it, `service/<name>`; empty where nobody is named.
    pub(super) identity: String,
}

impl Resolved {
    /// As a document writes it that wants this version and no other.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.declared.name(), self.declared.version)
    }
}

type Answer = Arc<[Arc<Resolved>]>;

/// What agents may use. Clones share it.
#[derive(Clone)]
pub struct Catalogue {
    fresh: Cache<Key, Answer>,
    stale: Cache<Key, Answer>,
    endpoints: Endpoints,
}

/// An agent and the types that it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    agent: String,
    types: Arc<[String]>,
}

impl Catalogue {
    /// Nothing is known yet.
    pub fn new(host: &Host) -> Self {
        let kept = |time| Cache::builder().max_capacity(MOST_ANSWERS).time_to_live(time).build();
        Self {
            fresh: kept(host.config().components.refresh()),
            stale: kept(STALE),
            endpoints: Endpoints::new(host.clone()),
        }
    }

    /// Those of these types that the agent may use, sorted as they were asked for. `link` gives a link to the agent
    /// service that acts as the agent.
    pub async fn resolve(
        &self,
        agent: &AgentName,
        types: &[String],
        link: impl AsyncFnOnce() -> Result<Link, Status>,
    ) -> Result<Answer, Status> {
        let key = Key { agent: agent.to_string(), types: types.into() };
        if let Some(known) = self.fresh.get(&key).await {
            return Ok(known);
        }
        // Two who ask at once ask twice: that is cheaper than to wait for each other.
        match self.ask(&key, link).await {
            Ok(answer) => {
                self.fresh.insert(key.clone(), answer.clone()).await;
                self.stale.insert(key, answer.clone()).await;
                Ok(answer)
            }
            Err(error) if matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded) => {
                match self.stale.get(&key).await {
                    Some(known) => {
                        tracing::info!(%error, "the agent service cannot be asked for components: what it said counts");
                        Ok(known)
                    }
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(
        &self,
        key: &Key,
        link: impl AsyncFnOnce() -> Result<Link, Status>,
    ) -> Result<Answer, Status> {
        let mut request = tonic::Request::new(ResolveComponentsRequest { types: key.types.to_vec() });
        request.set_timeout(DEADLINE);
        let mut client = ComponentsClient::new(link().await?).max_decoding_message_size(16 << 20);
        let answer = client.resolve_components(request).await?.into_inner();
        answer.components.into_iter().map(|found| self.resolved(found).map(Arc::new)).collect()
    }

    fn resolved(&self, found: ResolvedComponent) -> Result<Resolved, Status> {
        let version = found.version.unwrap_or_default();
        let described = version.description.unwrap_or_default();
        let declared = declare(&described).map_err(|problem| {
            let message = format!("component {} cannot be used: {problem}", found.r#type);
            status(Code::FailedPrecondition, Reason::InvalidAgent, message)
        })?;
        let endpoints = version
            .endpoints
            .iter()
            .map(|address| self.endpoints.get(address, &version.identity, declared))
            .collect();
        Ok(Resolved { asked: found.r#type, declared, endpoints, identity: version.identity })
    }
}

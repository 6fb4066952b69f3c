//! What models are, as the llm service said a moment ago: whoever asks one, asks what it is first.

use std::time::Duration;

use moka::sync::Cache;
use sre_proto::llm::v1::models_client::ModelsClient;
use sre_proto::llm::v1::{GetModelRequest, Model};
use sre_service::Link;
use tonic::{Request, Status};

use super::names::AgentName;

/// What a model is, is asked again after so long. Whether it may be called, the llm service decides at each call.
const KEEP: Duration = Duration::from_secs(5);
/// Models that are kept.
const MOST_KEPT: u64 = 10_000;

/// Models that were asked for. Clones share them.
#[derive(Clone)]
pub struct Models {
    /// By agent, for what an agent may see is its own affair.
    kept: Cache<(AgentName, String), Model>,
}

impl Default for Models {
    fn default() -> Self {
        Self { kept: Cache::builder().max_capacity(MOST_KEPT).time_to_live(KEEP).build() }
    }
}

impl Models {
    /// The model that an agent means by a name; asked for over its own link, in time. What is not there is asked for
    /// again: it may come at any moment.
    pub async fn get(
        &self,
        agent: &AgentName,
        name: &str,
        link: Link,
        time: Duration,
    ) -> Result<Model, Status> {
        let key = (agent.clone(), name.to_owned());
        if let Some(known) = self.kept.get(&key) {
            return Ok(known);
        }
        let mut request = Request::new(GetModelRequest { name: format!("models/{name}") });
        request.set_timeout(time);
        let model = ModelsClient::new(link).get_model(request).await?.into_inner();
        self.kept.insert(key, model.clone());
        Ok(model)
    }
}

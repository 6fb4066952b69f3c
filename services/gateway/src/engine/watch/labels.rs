//! What the components of a run's agent are called. Events name them; records only hold their ids.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use prost::Message as _;
use sre_engine::Plan;
use sre_proto::gateway::v1::run_event::Event;
use sre_service::Role;
use tonic::Status;

use crate::engine::authority::Authority;
use crate::engine::core::{Engine, internal};
use crate::engine::journal::records::Opened;
use crate::engine::names::AgentName;
use crate::engine::plans::Version;

/// Types and names by component id.
#[derive(Default)]
pub struct Labels(HashMap<String, Label>);

struct Label {
    component_type: String,
    name: String,
    title: String,
}

impl Labels {
    /// Those of a run, read with the authority that its journal keeps. None where that is gone: events come
    /// without names then.
    pub async fn of_run(engine: &Engine, run_id: &str) -> Self {
        match read(engine, run_id).await {
            Ok(labels) => labels,
            Err(status) => {
                tracing::debug!(run = run_id, %status, "events of a run have no names of components");
                Self::default()
            }
        }
    }

    fn of_plan(plan: &Plan) -> Self {
        let label = |node: &std::sync::Arc<sre_engine::Node>| {
            let label = Label {
                component_type: node.type_name.to_string(),
                name: node.display_name.to_string(),
                title: node.title.to_string(),
            };
            (node.id.to_string(), label)
        };
        Self(plan.nodes().iter().map(label).collect())
    }

    /// Puts the names into an event.
    pub fn label(&self, event: &mut Event) {
        match event {
            Event::ComponentStarted(started) => {
                if let Some(label) = self.0.get(&started.component) {
                    label.name.clone_into(&mut started.name);
                    label.title.clone_into(&mut started.title);
                }
            }
            Event::ComponentFinished(finished) => {
                if let Some(label) = self.0.get(&finished.component) {
                    label.name.clone_into(&mut finished.name);
                    label.title.clone_into(&mut finished.title);
                }
            }
            Event::Log(log) => {
                if let Some(label) = self.0.get(&log.component) {
                    label.component_type.clone_into(&mut log.r#type);
                    label.title.clone_into(&mut log.title);
                }
            }
            _ => {}
        }
    }
}

async fn read(engine: &Engine, run_id: &str) -> Result<Labels, Status> {
    let mut pages = engine.journal.pages(run_id, 0).await?;
    let Some(first) = pages.try_next().await?.and_then(|page| page.records.into_iter().next()) else {
        return Ok(Labels::default());
    };
    let first = engine.journal.whole(run_id, first).await?;
    let opened = Opened::decode(first.body).map_err(|error| internal("a run's first record", &error))?;
    let authority = Authority::granted(engine.host.tokens().clone(), opened.resume_grant.as_str());
    let link = authority.agent_link(engine.host.link(Role::Agent)).await?;
    let version = Version {
        agent: AgentName::parse("agent", &opened.agent)?,
        id: opened.version,
        digest: opened.digest,
    };
    Ok(Labels::of_plan(&engine.plans.plan(link, &version).await?.plan))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_proto::gateway::v1::{ComponentLog, ComponentStarted};

    #[test]
    fn events_get_the_names_of_the_document() {
        let document = serde_json::json!({"id": "a", "name": "A", "connections": [], "components": [
            {"id": "X", "name": "FHash", "title": "Digest", "displayName": "Hash", "data": {}, "inputs": [],
             "outputs": []}]});
        let plan = sre_engine::compile(&document, sre_components::registry()).unwrap();
        let labels = Labels::of_plan(&plan);
        let mut event =
            Event::ComponentStarted(ComponentStarted { component: "X".into(), ..Default::default() });
        labels.label(&mut event);
        assert!(matches!(&event, Event::ComponentStarted(s) if s.title == "Digest" && s.name == "Hash"));
        let mut event = Event::Log(ComponentLog { component: "X".into(), ..Default::default() });
        labels.label(&mut event);
        assert!(matches!(&event, Event::Log(log) if log.r#type == "FHash" && log.title == "Digest"));
    }
}

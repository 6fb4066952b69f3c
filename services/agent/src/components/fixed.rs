//! Component types that the configuration declares: they are asked what they are, again and again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::RwLock;
use sre_identity::{Acl, Candidate, Level};
use sre_proto::component::v1::component_client::ComponentClient;
use sre_proto::component::v1::{DescribeRequest, Description};
use sre_service::Host;
use sre_service::config::FixedComponent;
use sre_service::dial::{self, Place, Proof};
use tokio::time::MissedTickBehavior;
use tonic::Request;

use super::registered::{Registered, TypeRow, Version, VersionRow};
use crate::clock;

const ASK_EVERY: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(5);
/// What a component may say about itself, with room for a message's frame.
const MAX_ANSWER_BYTES: usize = sre_components::external::MAX_DESCRIPTION_BYTES + 4096;

/// What the fixed components said last. Clones share it.
#[derive(Clone, Default)]
pub struct Fixed(Arc<RwLock<Vec<Option<Registered>>>>);

impl Fixed {
    /// Asks the configured components from now on.
    pub fn start(host: &Host) -> Self {
        let components = host.config().components.fixed.clone();
        let fixed = Self(Arc::new(RwLock::new(vec![None; components.len()])));
        if !components.is_empty() {
            host.spawn("fixed components", fixed.clone().ask_forever(host.clone(), components));
        }
        fixed
    }

    /// Those that have answered.
    pub fn all(&self) -> Vec<Registered> {
        self.0.read().iter().flatten().cloned().collect()
    }

    async fn ask_forever(self, host: Host, components: Vec<FixedComponent>) {
        let mut ticks = tokio::time::interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (at, component) in components.iter().enumerate() {
                match ask(&host, component).await {
                    Ok(description) => self.answered(at, component, description),
                    // What it said before stands: the engine sees for itself whether it is well.
                    Err(error) => {
                        let endpoint = component.endpoints.first();
                        tracing::info!(?endpoint, "a fixed component does not say what it is: {error:#}");
                    }
                }
            }
        }
    }

    fn answered(&self, at: usize, component: &FixedComponent, description: Description) {
        let found = sre_components::external::declare(&description).map(drop);
        match found.and_then(|()| registered(component, description)) {
            Ok(new) => {
                let mut all = self.0.write();
                let is_taken = all.iter().enumerate().any(|(other, known)| {
                    other != at && known.as_ref().is_some_and(|known| known.row.name == new.row.name)
                });
                match all.get_mut(at) {
                    Some(_) if is_taken => {
                        tracing::warn!("two fixed components are of type {}: the first counts", new.row.name);
                    }
                    Some(place) => *place = Some(new),
                    None => {}
                }
            }
            Err(problem) => {
                tracing::warn!("a fixed component cannot be used: {problem}");
            }
        }
    }
}

/// What one of its endpoints says.
async fn ask(host: &Host, component: &FixedComponent) -> anyhow::Result<Description> {
    let mut last = None;
    for endpoint in &component.endpoints {
        match describe(host, endpoint, &component.identity).await {
            Ok(description) => return Ok(description),
            Err(error) => last = Some(error.context(endpoint.clone())),
        }
    }
    Err(last.context("it has no endpoints")?)
}

async fn describe(host: &Host, endpoint: &str, identity: &str) -> anyhow::Result<Description> {
    let place = Place::parse_or_loopback(endpoint)?;
    let service = match &place {
        Place::Tcp { .. } => dial::component_identity(identity)?,
        _ => "",
    };
    let proof = Proof::service(&place, host.identity(), service)?;
    let channel = dial::channel(place, proof);
    let mut request = Request::new(DescribeRequest {});
    request.set_timeout(DEADLINE);
    let mut client = ComponentClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    // A server that accepts and says nothing must not hold the others up.
    let answer =
        tokio::time::timeout(DEADLINE, client.describe(request)).await.context("no answer in time")?;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| anyhow::anyhow!("{}", sre_service::connectors::grpc::with_causes(&status)))
}

/// As if it were registered, without a team of its own.
fn registered(component: &FixedComponent, description: Description) -> Result<Registered, String> {
    let mut acl = Acl::new();
    let everybody = component.teams.is_empty().then(|| Ok(Candidate::public()));
    let teams =
        component.teams.iter().map(|team| Candidate::team(team).map_err(|error| format!("{team}: {error}")));
    for candidate in everybody.into_iter().chain(teams) {
        acl.grant(&candidate?, &[Level::Read]).map_err(|error| error.to_string())?;
    }
    let now = clock::now();
    let row = TypeRow {
        number: 0,
        name: description.r#type.clone(),
        team: String::new(),
        default_version: description.version.clone(),
        acl: String::new(),
        creator: String::new(),
        created_ms: now,
        updated_ms: now,
    };
    let version = VersionRow {
        version: description.version.clone(),
        description: Vec::new(),
        endpoints: String::new(),
        identity: component.identity.clone(),
        creator: String::new(),
        created_ms: now,
    };
    let endpoints = component.endpoints.clone();
    Ok(Registered { row, acl, versions: vec![Version { row: version, description, endpoints }] })
}

//! The role `agent`: definitions of agents and the component types they are made of.
//!
//! Read in this order: [`agent_data`] (versions, access, Account), [`components`].

pub mod agent_data;
mod clock;
pub mod components;
pub mod error;
mod schema;

use std::sync::Arc;
use std::time::Duration;

use sre_proto::agent::v1::agent_data_server::AgentDataServer;
use sre_proto::agent::v1::components_server::ComponentsServer;
use sre_service::{Host, Role, Routes};
use tokio::time::MissedTickBehavior;

use agent_data::{AccountRegistry, AgentDataService, Agents};
use components::{ComponentsService, Fixed, KnownTypes, Registrations};

/// How often what crashes and deletions left behind is put in order.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// What a message holds beside a document of the largest size.
const MESSAGE_ROOM_BYTES: usize = 256 * 1024;

/// Starts the role: opens its store, and gives its gRPC routes.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let store = host.database(schema::MIGRATIONS).await?;
    let registry = Arc::new(AccountRegistry::new(host.link(Role::Security)));
    let max_versions = u32::try_from(host.config().agents.max_versions).unwrap_or(u32::MAX);
    let agents = Agents::new(store.clone(), registry, max_versions);
    host.spawn("agent sweeper", sweep(agents.clone()));
    let types = KnownTypes::new(sre_components::registry(), Registrations::new(store), Fixed::start(&host));
    let data = AgentDataServer::new(AgentDataService::new(host.clone(), agents, types.clone()))
        .max_decoding_message_size(agent_data::document::MAX_DOCUMENT_BYTES + MESSAGE_ROOM_BYTES);
    let components = ComponentsServer::new(ComponentsService::new(host, types))
        .max_decoding_message_size(sre_components::external::MAX_DESCRIPTION_BYTES + MESSAGE_ROOM_BYTES);
    Ok(Routes::new(data).add_service(components))
}

async fn sweep(agents: Agents) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = agents.sweep().await {
            tracing::warn!(%error, "sweeping versions failed; it goes on with the next sweep");
        }
        if let Err(error) = agents.settle_registrations().await {
            tracing::info!(%error, "agents are unregistered with a later sweep");
        }
    }
}

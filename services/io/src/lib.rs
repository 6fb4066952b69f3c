//! The role `io`: files and named key-value stores.
//!
//! Read in this order: [`storage`] (files: an index in the store, bytes in a backend), [`nkv`] (values),
//! [`basis`] (how a decision and the change it allows become one), [`rescue`] (errors to statuses).

pub mod backup;
pub mod basis;
pub mod clock;
mod connectors;
pub mod error;
pub mod nkv;
mod quotas;
mod request;
mod rescue;
mod schema;
pub mod storage;
pub mod usage;
pub mod vector_db;

use std::time::Duration;

use anyhow::Context;
use sre_proto::io::v1::connectors_server::ConnectorsServer;
use sre_proto::io::v1::nkv_server::NkvServer;
use sre_proto::io::v1::quotas_server::QuotasServer;
use sre_proto::io::v1::storage_server::StorageServer;
use sre_proto::io::v1::vector_db_server::VectorDbServer;
use sre_service::Host;
use tokio::time::MissedTickBehavior;
use tonic::service::Routes;

pub use connectors::backends;

use clock::Clock;
use connectors::ConnectorsService;
use quotas::QuotasService;
use storage::{Files, StorageService};
use vector_db::VectorDbService;

/// How often what nobody can see any more is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Starts the role: opens its store and its backend, and gives its gRPC routes.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let entry = host.config().connectors.default_of("storage").cloned();
    let data_dir = host.data_dir().to_owned();
    let objects = tokio::task::spawn_blocking(move || storage::connectors::open(entry.as_ref(), &data_dir))
        .await
        .context("opening the storage backend")??;
    let store = host.store(schema::MIGRATIONS).await?;
    let files = Files::new(store.clone(), objects, Clock::system());
    let quotas = QuotasService::new(host.clone(), store);
    host.spawn("io sweeper", sweep(files.clone()));
    let nkv = nkv::start(&host).await?;
    let routes = Routes::new(StorageServer::new(StorageService::new(host.clone(), files)))
        .add_service(VectorDbServer::new(VectorDbService::new(host.clone())))
        .add_service(QuotasServer::new(quotas))
        .add_service(NkvServer::new(nkv))
        .add_service(ConnectorsServer::new(ConnectorsService(host)));
    Ok(routes.prepare())
}

async fn sweep(files: Files) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = files.sweep().await {
            tracing::warn!(%error, "sweeping files failed; it goes on with the next sweep");
        }
    }
}

//! The memory service: the run journal, conversations, and the cache.

use std::sync::Arc;

use sre_proto::memory::v1::cache_server::CacheServer;
use sre_proto::memory::v1::connectors_server::ConnectorsServer;
use sre_proto::memory::v1::llm_context_server::LlmContextServer;
use sre_proto::memory::v1::quotas_server::QuotasServer;
use sre_proto::memory::v1::runtime_context_server::RuntimeContextServer;
use sre_service::config::Backend;
use sre_service::{Config, Host, Role, Routes};

pub mod backup;
pub mod cache;
mod connectors;
pub mod llm_context;
mod quotas;
pub mod runtime_context;
pub mod usage;

pub use connectors::backends;

use connectors::ConnectorsService;
use llm_context::{Conversations, LlmContextService};
use quotas::QuotasService;
use runtime_context::{
    BlobFiles, BlobStore, Journal, JournalSettings, MIGRATIONS, PG_MIGRATIONS, PG_SESSION, PostgresBlobs,
    PostgresJournal, RuntimeContext, RuntimeContextService, SqliteJournal, SystemClock,
};

/// Messages are cut at the suite's limit by the server; one more MiB leaves room for what is around a value
/// of 4 MiB.
const MESSAGE_BYTES: usize = 5 << 20;

/// Starts the service: opens its store, starts the housekeeping, gives its routes.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let settings = Arc::new(journal_settings(host.config()));
    let clock = Arc::new(SystemClock);
    let (journal, blobs, conversations) = stores(&host, &settings).await?;
    let context = RuntimeContext::open(journal, blobs, clock, settings, host.draining()).await?;
    host.spawn("journal: wake what is due", context.clone().wake_due());
    host.spawn("journal: sweep", context.clone().sweep());
    host.spawn("journal: ship usage", context.clone().ship_usage(host.link(Role::Observability)));

    let cache = cache::start(&host).await?;
    let quotas = QuotasServer::new(QuotasService::new(host.clone(), cache.usage()));
    let runtime = RuntimeContextServer::new(RuntimeContextService::new(context));
    Ok(Routes::new(runtime.max_decoding_message_size(MESSAGE_BYTES))
        .add_service(
            LlmContextServer::new(LlmContextService::new(conversations))
                .max_decoding_message_size(MESSAGE_BYTES),
        )
        .add_service(quotas)
        .add_service(CacheServer::new(cache).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(ConnectorsServer::new(ConnectorsService(host))))
}

/// The journal and its payloads, where the configuration wants them.
async fn stores(
    host: &Host,
    settings: &Arc<JournalSettings>,
) -> anyhow::Result<(Arc<dyn Journal>, Arc<dyn BlobStore>, Arc<dyn Conversations>)> {
    let config = host.config();
    match config.journal.backend.unwrap_or(config.store.backend) {
        Backend::Sqlite => {
            let store = host.store(MIGRATIONS).await?;
            let journal = SqliteJournal::new(store, Arc::new(SystemClock), Arc::clone(settings));
            let blobs = BlobFiles::open(&host.data_dir().join("blobs")).await?;
            let journal = Arc::new(journal);
            Ok((journal.clone(), Arc::new(blobs), journal))
        }
        Backend::Postgres => {
            let pg = host.postgres(PG_MIGRATIONS, PG_SESSION).await?;
            let journal = PostgresJournal::open(pg.clone(), Arc::clone(settings)).await?;
            let journal = Arc::new(journal);
            Ok((journal.clone(), Arc::new(PostgresBlobs::new(pg)), journal))
        }
    }
}

fn journal_settings(config: &Config) -> JournalSettings {
    let journal = &config.journal;
    JournalSettings {
        session_ttl: journal.session_ttl(),
        barren_claims: i32::from(journal.barren_claims.max(1)),
        closed_runs: journal.retention(),
        closed_jobs: journal.jobs_retention(),
        team_running: journal.team_running.max(1),
        sweep_interval: journal.sweep_interval(),
        summaries_per_second: journal.summary_rate_cap,
        summaries_burst: journal.summary_rate_cap.saturating_mul(10),
        hint_repeat: journal.claim_interval(),
        ..JournalSettings::default()
    }
}

#[cfg(test)]
mod suite_tests;

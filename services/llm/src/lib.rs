//! The llm service: the catalogue of models, and calls of them.

use std::sync::Arc;

use sre_components::egress::Policy;
use sre_proto::llm::v1::budgets_server::BudgetsServer;
use sre_proto::llm::v1::inference_server::InferenceServer;
use sre_proto::llm::v1::models_server::ModelsServer;
use sre_service::config::ModelsMode;
use sre_service::{Host, Routes};

pub mod budgets;
pub mod inference;
mod kept;
pub mod models;

pub use budgets::meters::backends;

use budgets::ledger::UsageLedger;
use budgets::{Budgets, BudgetsService};
use inference::{Environment, Inference, InferenceService, InferenceSettings};
use kept::Kept;
use models::{Catalogue, Mode, ModelsService};

/// Conversations are long; nothing larger travels inside a message.
const MESSAGE_BYTES: usize = 4 << 20;

/// Starts the service: loads the catalogue, follows its files, gives its routes.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let config = &host.config().models;
    let mode = match config.mode {
        ModelsMode::Merge => Mode::Merge,
        ModelsMode::Replace => Mode::Replace,
    };
    let path = config.path.clone();
    let (catalogue, reloader) = tokio::task::spawn_blocking(move || Catalogue::load(path, mode)).await?;
    if let Some(reloader) = reloader {
        host.spawn("models: follow the files", reloader.run());
    }
    let settings = InferenceSettings {
        egress: Arc::new(Policy::new(&host.config().egress.allow)?),
        ..InferenceSettings::default()
    };
    let kept = Kept::open(host.database(kept::MIGRATIONS).await?).await?;
    host.spawn("budgets and models: follow other replicas", kept.clone().follow());
    let catalogue = catalogue.with_teams(kept.clone());
    let inference = Inference::new(catalogue, &settings, Environment::of_process(), &config.base_urls)?;
    let meters = budgets::meters::open(&host).await?;
    let budgets = Budgets::new(kept.clone(), meters, Arc::new(UsageLedger::of(&host)));
    host.spawn("budgets: renew places", budgets.clone().renew());
    let calls = InferenceService::new(inference.clone(), budgets.clone(), host.clone());
    let calls = InferenceServer::new(calls);
    Ok(Routes::new(calls.max_decoding_message_size(MESSAGE_BYTES))
        .add_service(BudgetsServer::new(BudgetsService::new(budgets, kept.clone(), host.clone())))
        .add_service(ModelsServer::new(ModelsService::new(inference, kept, host))))
}

#[cfg(test)]
mod cancellation_tests;
#[cfg(test)]
mod media_tests;
#[cfg(test)]
mod reliability_tests;
#[cfg(test)]
mod run_budget_tests;
#[cfg(test)]
mod suite_tests;

//! The llm service: the catalogue of models, and calls of them.

use std::sync::Arc;

use sre_components::egress::Policy;
use sre_proto::llm::v1::inference_server::InferenceServer;
use sre_proto::llm::v1::models_server::ModelsServer;
use sre_service::Host;
use sre_service::config::ModelsMode;
use tonic::service::Routes;

pub mod inference;
pub mod models;

use inference::{Environment, Inference, InferenceService, InferenceSettings};
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
    let inference = Inference::new(catalogue, &settings, Environment::of_process(), &config.base_urls)?;
    let calls = InferenceServer::new(InferenceService::new(inference.clone(), host.clone()));
    Ok(Routes::new(calls.max_decoding_message_size(MESSAGE_BYTES))
        .add_service(ModelsServer::new(ModelsService::new(inference, host)))
        .prepare())
}

#[cfg(test)]
mod reliability_tests;
#[cfg(test)]
mod suite_tests;

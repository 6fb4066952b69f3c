//! The tonic adapter of the catalogue.

use std::collections::BTreeSet;
use std::sync::Arc;

use sre_identity::Caller;
use sre_identity::resource::Pattern;
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::models_server::Models as Rpc;
use sre_service::Host;
use tonic::{Request, Response, Status};

use super::Resolved;
use crate::inference::{Inference, InferenceError, Need, Secrets, VaultSecrets};

static MODEL: Pattern = Pattern::new("models/{entry=**}");

/// `sre.llm.v1.Models`.
#[derive(Clone)]
pub struct ModelsService {
    inference: Inference,
    host: Host,
}

impl ModelsService {
    /// The service over the catalogue.
    pub fn new(inference: Inference, host: Host) -> Self {
        Self { inference, host }
    }

    /// The caller's vault keys. A vault that cannot be asked leaves the list without them: it says what to
    /// configure, not what is wrong with the suite.
    async fn keys(&self, caller: &Caller) -> BTreeSet<String> {
        match VaultSecrets::of(&self.host, caller).keys().await {
            Ok(keys) => keys,
            Err(status) => {
                tracing::warn!(status = status.message(), "models are listed without the caller's keys");
                BTreeSet::new()
            }
        }
    }
}

#[tonic::async_trait]
impl Rpc for ModelsService {
    async fn list_models(
        &self,
        request: Request<pb::ListModelsRequest>,
    ) -> Result<Response<pb::ListModelsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let page_size = usize::try_from(request.page_size)
            .map_err(|_| InferenceError::invalid("page_size", "must not be negative"))?;
        let page_size = if page_size == 0 { usize::MAX } else { page_size };
        let table = self.inference.catalogue().table();
        let mut models: Vec<Arc<Resolved>> = table
            .names()
            .filter(|name| request.page_token.is_empty() || *name > request.page_token.as_str())
            .filter_map(|name| table.resolve(name))
            .filter(|model| !model.hidden)
            .take(page_size.saturating_add(1))
            .collect();
        let more = models.len() > page_size;
        models.truncate(page_size);
        let next_page_token =
            models.last().filter(|_| more).map(|model| model.entry.clone()).unwrap_or_default();
        let keys = self.keys(&caller).await;
        Ok(Response::new(pb::ListModelsResponse {
            models: models.iter().map(|model| describe(&self.inference, model, &keys)).collect(),
            next_page_token,
            catalogue_digest: table.digest().to_owned(),
        }))
    }

    async fn get_model(&self, request: Request<pb::GetModelRequest>) -> Result<Response<pb::Model>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let entry = MODEL.parse(&request.name)?.get("entry");
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let model = self.inference.find(entry)?;
        let keys = self.keys(&caller).await;
        Ok(Response::new(describe(&self.inference, &model, &keys)))
    }
}

/// A model as a caller with these vault keys sees it.
pub(crate) fn describe(inference: &Inference, model: &Resolved, keys: &BTreeSet<String>) -> pb::Model {
    let hint = match inference.need(model) {
        None => format!("provider {} is not built yet", model.provider),
        Some(Need::Nothing) => String::new(),
        Some(Need::AnyOf(wanted)) if wanted.iter().any(|key| keys.contains(key)) => String::new(),
        Some(Need::AnyOf(wanted)) => {
            format!("set the secret `{}` in the team's vault", wanted.join("` or `"))
        }
    };
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    pb::Model {
        name: format!("models/{}", model.entry),
        display_name: model.label.clone(),
        provider: model.provider.clone(),
        model_id: model.model_id.clone(),
        features: model.features.clone(),
        tags: model.tags.clone(),
        context_tokens: tokens(model.tokens),
        output_tokens: tokens(model.completion_tokens),
        usable: hint.is_empty(),
        hint,
    }
}

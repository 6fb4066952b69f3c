//! The tonic adapter of the catalogue.

use std::collections::BTreeSet;
use std::sync::Arc;

use sre_identity::Caller;
use sre_identity::resource::Pattern;
use sre_proto::error::invalid_argument;
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::models_server::Models as Rpc;
use sre_service::{Granted, Host};
use tonic::{Request, Response, Status};

use super::{Origin, Resolved, Table, team};
use crate::inference::{Inference, InferenceError, Need, Secrets, VaultSecrets};
use crate::kept::{Expect, Kept, KeptError, Kind};

static MODEL: Pattern = Pattern::new("models/{entry=**}");
static TEAM_MODEL: Pattern = Pattern::new("teams/{team}/models/{entry}");

/// `sre.llm.v1.Models`.
#[derive(Clone)]
pub struct ModelsService {
    inference: Inference,
    kept: Kept,
    host: Host,
}

impl ModelsService {
    /// The service over the catalogue.
    pub fn new(inference: Inference, kept: Kept, host: Host) -> Self {
        Self { inference, kept, host }
    }

    /// What the caller's calls see.
    fn table(&self, granted: &Granted) -> Arc<Table> {
        let home = granted.memberships().home.as_ref();
        self.inference.catalogue().table_of(home.map_or("", |team| team.as_str()))
    }

    async fn resolve(&self, caller: &Caller, name: &mut String) -> Result<(), Status> {
        *name = self.host.authorizer().resolve_name(caller, name).await?;
        Ok(())
    }

    async fn put(
        &self,
        place: &Place,
        model: &pb::TeamModel,
        expect: Expect,
        granted: Granted,
    ) -> Result<pb::TeamModel, Status> {
        let entry = team::entry_of(model)?.to_string();
        let holder = team::holder(&place.team);
        let document = self.kept.put(Kind::Model, &holder, &place.entry, entry, expect, granted).await?;
        Ok(team::message(place.name(), &document))
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
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let page_size = usize::try_from(request.page_size)
            .map_err(|_| InferenceError::invalid("page_size", "must not be negative"))?;
        let page_size = if page_size == 0 { usize::MAX } else { page_size };
        let table = self.table(&granted);
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
            catalogue_version: self.inference.catalogue().version(),
        }))
    }

    async fn get_model(&self, request: Request<pb::GetModelRequest>) -> Result<Response<pb::Model>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let entry = MODEL.parse(&request.name)?.get("entry");
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let model = Inference::find_in(&self.table(&granted), entry)?;
        let keys = self.keys(&caller).await;
        Ok(Response::new(describe(&self.inference, &model, &keys)))
    }

    async fn create_team_model(
        &self,
        request: Request<pb::CreateTeamModelRequest>,
    ) -> Result<Response<pb::TeamModel>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.parent).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        if !is_entry(&request.model_id) {
            let words = "must be letters, digits, `.`, `_`, `:` and `-`, 80 at most";
            return Err(invalid_argument("model_id", words));
        }
        let place = Place::parse(&format!("{}/models/{}", request.parent, request.model_id))?;
        let model = request.model.unwrap_or_default();
        Ok(Response::new(self.put(&place, &model, Expect::Absent, granted).await?))
    }

    async fn get_team_model(
        &self,
        request: Request<pb::GetTeamModelRequest>,
    ) -> Result<Response<pb::TeamModel>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.name).await?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let place = Place::parse(&request.name)?;
        let shelf = self.kept.shelf(Kind::Model, &team::holder(&place.team));
        let document = shelf.get(&place.entry).ok_or(KeptError::Missing)?;
        Ok(Response::new(team::message(place.name(), document)))
    }

    async fn list_team_models(
        &self,
        request: Request<pb::ListTeamModelsRequest>,
    ) -> Result<Response<pb::ListTeamModelsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.parent).await?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let shelf = self.kept.shelf(Kind::Model, &request.parent);
        let name = |entry: &String| format!("{}/models/{entry}", request.parent);
        let models = shelf.iter().map(|(entry, document)| team::message(name(entry), document)).collect();
        Ok(Response::new(pb::ListTeamModelsResponse { models }))
    }

    async fn update_team_model(
        &self,
        request: Request<pb::UpdateTeamModelRequest>,
    ) -> Result<Response<pb::TeamModel>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let Some(model) = &mut request.model else {
            return Err(invalid_argument("model", "is not set"));
        };
        self.resolve(&caller, &mut model.name).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let model = request.model.unwrap_or_default();
        let place = Place::parse(&model.name)?;
        let etag = Some(model.etag.clone()).filter(|etag| !etag.is_empty());
        Ok(Response::new(self.put(&place, &model, Expect::Present(etag), granted).await?))
    }

    async fn delete_team_model(
        &self,
        request: Request<pb::DeleteTeamModelRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.name).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let place = Place::parse(&request.name)?;
        let etag = Some(request.etag).filter(|etag| !etag.is_empty());
        self.kept.remove(Kind::Model, &team::holder(&place.team), &place.entry, etag, granted).await?;
        Ok(Response::new(()))
    }
}

/// A team's model by its name.
struct Place {
    team: String,
    entry: String,
}

impl Place {
    fn parse(name: &str) -> Result<Self, Status> {
        let captures = TEAM_MODEL.parse(name)?;
        Ok(Self { team: captures.get("team").to_owned(), entry: captures.get("entry").to_owned() })
    }

    fn name(&self) -> String {
        format!("{}/models/{}", team::holder(&self.team), self.entry)
    }
}

fn is_entry(id: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=80).contains(&id.len()) && id.bytes().all(known) && !id.bytes().all(|byte| byte == b'.')
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
        team: match &model.origin {
            Origin::Team(team) => team::holder(team),
            Origin::Operator | Origin::Inline => String::new(),
        },
        version: model.version.clone(),
        fallbacks: model.fallbacks.iter().map(|next| next.model.clone()).collect(),
        prices: model.prices_at(std::time::SystemTime::now()).map(|prices| pb::ModelPrices {
            input_micros: tokens(prices.input_micros),
            output_micros: tokens(prices.output_micros),
            cache_read_micros: tokens(prices.cache_read_micros.unwrap_or(prices.input_micros)),
            cache_write_micros: tokens(prices.cache_write_micros.unwrap_or(prices.input_micros)),
        }),
        deployments: model.deployments.iter().map(|place| place.deployment.clone()).collect(),
    }
}

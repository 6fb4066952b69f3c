//! A language model that answers what it is told to, and notes what it was asked.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use sre_proto::error::not_implemented;
use sre_proto::llm::v1::generate_event::Event;
use sre_proto::llm::v1::inference_server::{Inference, InferenceServer};
use sre_proto::llm::v1::models_server::{Models, ModelsServer};
use sre_proto::llm::v1::*;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// Clones share the script.
#[derive(Clone)]
pub struct Llm {
    answers: Arc<Mutex<VecDeque<Result<GenerateResponse, Status>>>>,
    asked: watch::Sender<Vec<GenerateRequest>>,
    /// The runs that each call was made in.
    runs: Arc<Mutex<Vec<Vec<String>>>>,
    held: watch::Sender<bool>,
    context_tokens: Arc<Mutex<i64>>,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            answers: Arc::default(),
            asked: watch::Sender::default(),
            runs: Arc::default(),
            held: watch::Sender::new(false),
            context_tokens: Arc::new(Mutex::new(100_000)),
        }
    }
}

pub fn says(text: &str) -> GenerateResponse {
    let usage = TokenUsage { input_tokens: 10, output_tokens: 5, ..TokenUsage::default() };
    GenerateResponse {
        text: text.into(),
        finish_reason: FinishReason::Stop.into(),
        usage: Some(usage),
        provider: "P".into(),
        model_id: "m-1".into(),
        model: "m".into(),
        ..GenerateResponse::default()
    }
}

/// Calls of tools: id, name, arguments.
pub fn calls(calls: &[(&str, &str, &str)]) -> GenerateResponse {
    let call = |(id, name, arguments): &(&str, &str, &str)| ToolCall {
        id: (*id).into(),
        name: (*name).into(),
        arguments_json: (*arguments).to_owned().into(),
        ..ToolCall::default()
    };
    GenerateResponse {
        tool_calls: calls.iter().map(call).collect(),
        finish_reason: FinishReason::ToolCalls.into(),
        ..says("")
    }
}

impl Llm {
    pub fn routes(&self) -> Routes {
        Routes::new(InferenceServer::new(self.clone())).add_service(ModelsServer::new(self.clone())).prepare()
    }

    /// What it answers next, in order; "ok" where nothing is left.
    pub fn answer(&self, answers: impl IntoIterator<Item = GenerateResponse>) {
        self.answers.lock().extend(answers.into_iter().map(Ok));
    }

    pub fn fail(&self, status: Status) {
        self.answers.lock().push_back(Err(status));
    }

    /// It begins to answer and does not end until it is released.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    pub fn release(&self) {
        self.held.send_replace(false);
    }

    pub fn window(&self, tokens: i64) {
        *self.context_tokens.lock() = tokens;
    }

    pub fn asked(&self) -> Vec<GenerateRequest> {
        self.asked.borrow().clone()
    }

    /// The runs that each call was made in, outermost first, as the layer verified them.
    pub fn runs(&self) -> Vec<Vec<String>> {
        self.runs.lock().clone()
    }

    fn note<T>(&self, request: &Request<T>) {
        let caller = sre_identity::Caller::of(request.extensions()).unwrap();
        self.runs.lock().push(caller.runs().to_vec());
    }

    /// Ready when it was asked so often.
    pub async fn was_asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        let enough = asked.wait_for(|asked| asked.len() >= times);
        tokio::time::timeout(std::time::Duration::from_secs(20), enough).await.expect("it is asked").unwrap();
    }

    fn next(&self, request: GenerateRequest) -> Result<GenerateResponse, Status> {
        let bytes: usize = request.messages.iter().map(|message| message.text.len()).sum();
        self.asked.send_modify(|asked| asked.push(request));
        let mut answer = self.answers.lock().pop_front().unwrap_or_else(|| Ok(says("ok")))?;
        if let Some(usage) = &mut answer.usage {
            usage.input_tokens = i64::try_from(bytes / 4).unwrap();
        }
        Ok(answer)
    }
}

#[tonic::async_trait]
impl Inference for Llm {
    type GenerateStreamStream = ReceiverStream<Result<GenerateEvent, Status>>;
    type GenerateImageStream = ReceiverStream<Result<GenerateImageResponse, Status>>;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        self.note(&request);
        self.next(request.into_inner()).map(Response::new)
    }

    async fn generate_stream(
        &self,
        request: Request<GenerateStreamRequest>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        self.note(&request);
        let answer = self.next(request.into_inner().request.unwrap_or_default())?;
        let (sender, events) = tokio::sync::mpsc::channel(16);
        let mut held = self.held.subscribe();
        drop(sre_service::task::spawn("scripted-model", async move {
            let event = |event| Ok(GenerateEvent { event: Some(event) });
            let half = answer.text.floor_char_boundary(answer.text.len() / 2);
            let (first, second) = answer.text.split_at(half);
            let _ = sender.send(event(Event::Text(first.to_owned()))).await;
            tokio::select! {
                released = held.wait_for(|held| !held) => drop(released),
                () = sender.closed() => return,
            }
            let _ = sender.send(event(Event::Text(second.to_owned()))).await;
            let _ = sender.send(event(Event::Finished(answer))).await;
        }));
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn embed(&self, _: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        Err(not_implemented("Embed"))
    }

    async fn count_tokens(
        &self,
        _: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        Err(not_implemented("CountTokens"))
    }

    async fn generate_image(
        &self,
        _: Request<GenerateImageRequest>,
    ) -> Result<Response<Self::GenerateImageStream>, Status> {
        Err(not_implemented("GenerateImage"))
    }

    async fn embed_unkeyed(
        &self,
        _: Request<EmbedUnkeyedRequest>,
    ) -> Result<Response<EmbedResponse>, Status> {
        Err(not_implemented("EmbedUnkeyed"))
    }
}

#[tonic::async_trait]
impl Models for Llm {
    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Err(not_implemented("ListModels"))
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Result<Response<Model>, Status> {
        Ok(Response::new(Model {
            name: request.into_inner().name,
            provider: "P".into(),
            model_id: "m-1".into(),
            context_tokens: *self.context_tokens.lock(),
            output_tokens: 1000,
            usable: true,
            ..Model::default()
        }))
    }

    async fn create_team_model(
        &self,
        _: Request<CreateTeamModelRequest>,
    ) -> Result<Response<TeamModel>, Status> {
        Err(not_implemented("CreateTeamModel"))
    }

    async fn get_team_model(&self, _: Request<GetTeamModelRequest>) -> Result<Response<TeamModel>, Status> {
        Err(not_implemented("GetTeamModel"))
    }

    async fn list_team_models(
        &self,
        _: Request<ListTeamModelsRequest>,
    ) -> Result<Response<ListTeamModelsResponse>, Status> {
        Err(not_implemented("ListTeamModels"))
    }

    async fn update_team_model(
        &self,
        _: Request<UpdateTeamModelRequest>,
    ) -> Result<Response<TeamModel>, Status> {
        Err(not_implemented("UpdateTeamModel"))
    }

    async fn delete_team_model(&self, _: Request<DeleteTeamModelRequest>) -> Result<Response<()>, Status> {
        Err(not_implemented("DeleteTeamModel"))
    }
}

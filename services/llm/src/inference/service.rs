//! The tonic adapter of calls.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use sre_identity::Caller;
use sre_proto::error::{Reason, not_implemented, status};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::inference_server::Inference as Rpc;
use sre_proto::observability::v1::UsageEvent;
use sre_proto::{AccessLevel, Guarded};
use sre_service::{Authorizer, Granted, Host, UsageReporter};
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Code, Request, Response, Status};

use super::metering::{Metered, Payer};
use super::providers::Piece;
use super::pump::{Delivery, Pump};
use super::reliability::Chain;
use super::{Inference, InferenceError, NoSecrets, VaultSecrets};

/// How often the caller of a stream is looked at again.
const REVALIDATE: Duration = Duration::from_secs(15);

/// Pieces that a slow listener may be behind before the provider waits for it.
const PIECES_AHEAD: usize = 32;

/// `sre.llm.v1.Inference`.
#[derive(Clone)]
pub struct InferenceService {
    inference: Inference,
    host: Host,
    usage: UsageReporter,
}

impl InferenceService {
    /// The service over the calls.
    pub fn new(inference: Inference, host: Host) -> Self {
        let usage = UsageReporter::of(&host);
        Self { inference, host, usage }
    }

    /// Asks in a task of its own, so that what is used is counted whoever listens.
    fn pump(
        &self,
        chain: Chain,
        secrets: VaultSecrets,
        payer: Payer,
        delivery: Delivery,
    ) -> Receiver<Result<Piece, InferenceError>> {
        let (pieces, listener) = mpsc::channel(PIECES_AHEAD);
        let (inference, usage) = (self.inference.clone(), self.usage.clone());
        let pump = Pump::new(inference, usage, chain, Arc::new(secrets), payer, None);
        self.host.spawn("model call", pump.run(delivery, pieces));
        listener
    }

    /// The decision on a call. A model object is no name of a resource: it is decided on as one that nobody listed.
    async fn granted<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        model: &str,
    ) -> Result<Granted, Status> {
        if model.starts_with('{') {
            let level = AccessLevel::Read;
            return self.host.authorizer().check_level(caller, "models/inline", level, None).await;
        }
        self.host.authorizer().check(caller, request, None).await
    }

    /// A request on its way: its model is found, and would take it.
    fn chain(&self, request: pb::GenerateRequest) -> Result<Chain, InferenceError> {
        let table = self.inference.catalogue().table();
        let model = Inference::find_in(&table, &request.model)?;
        self.inference.check(&request, &model)?;
        Ok(self.inference.chain(table, model, request))
    }

    fn report(&self, event: Option<UsageEvent>) {
        if let Some(event) = event {
            self.usage.report(event);
        }
    }
}

#[tonic::async_trait]
impl Rpc for InferenceService {
    async fn generate(
        &self,
        request: Request<pb::GenerateRequest>,
    ) -> Result<Response<pb::GenerateResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        require_model(&request.model)?;
        let granted = self.granted(&caller, &request, &request.model).await?;
        let secrets = VaultSecrets::of(&self.host, &caller);
        let chain = self.chain(request)?;
        let mut listener = self.pump(chain, secrets, Payer::of(&caller, &granted), Delivery::Whole);
        while let Some(piece) = listener.recv().await {
            if let Piece::Finished(answer) = piece? {
                return Ok(Response::new(*answer));
            }
        }
        Err(stopping())
    }

    type GenerateStreamStream = Pin<Box<dyn Stream<Item = Result<pb::GenerateEvent, Status>> + Send>>;

    async fn generate_stream(
        &self,
        request: Request<pb::GenerateStreamRequest>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        require_model(request.request.as_ref().map_or("", |request| &request.model))?;
        let named = request.request.as_ref().map_or("", |request| &request.model);
        let granted = self.granted(&caller, &request, named).await?;
        let secrets = VaultSecrets::of(&self.host, &caller);
        let chain = self.chain(request.request.unwrap_or_default())?;
        let (begun, begins) = oneshot::channel();
        let pieces = self.pump(chain, secrets, Payer::of(&caller, &granted), Delivery::Pieces(begun));
        begins.await.map_err(|_| stopping())??;
        let watched = Watched::new(pieces, caller, self.host.authorizer().clone());
        Ok(Response::new(stream::unfold(watched, Watched::step).boxed()))
    }

    async fn embed(&self, request: Request<pb::EmbedRequest>) -> Result<Response<pb::EmbedResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        require_model(&request.model)?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let secrets = VaultSecrets::of(&self.host, &caller);
        let model = self.inference.find(&request.model)?;
        let metered = Metered::embedding(Payer::of(&caller, &granted), &model);
        let answer = self.inference.embed_by(model, request, &secrets).await?;
        self.report(metered.embedded(answer.usage.as_ref()).filter(|_| !answer.embeddings.is_empty()));
        Ok(Response::new(answer))
    }

    async fn count_tokens(
        &self,
        request: Request<pb::CountTokensRequest>,
    ) -> Result<Response<pb::CountTokensResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        require_model(&request.model)?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        Err(not_implemented("Inference.CountTokens"))
    }

    type GenerateImageStream = Pin<Box<dyn Stream<Item = Result<pb::GenerateImageResponse, Status>> + Send>>;

    async fn generate_image(
        &self,
        request: Request<pb::GenerateImageRequest>,
    ) -> Result<Response<Self::GenerateImageStream>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        require_model(&request.model)?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        Err(not_implemented("Inference.GenerateImage"))
    }

    async fn embed_unkeyed(
        &self,
        request: Request<pb::EmbedUnkeyedRequest>,
    ) -> Result<Response<pb::EmbedResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let request = request.request.unwrap_or_default();
        require_model(&request.model)?;
        Ok(Response::new(self.inference.embed(request, &NoSecrets).await?))
    }
}

/// The call's task ended with the process.
fn stopping() -> Status {
    let message = "the service is stopping: try again with the same idempotency key";
    status(Code::Unavailable, Reason::BackendUnavailable, message)
}

/// Before the decision, so that a missing name is told apart from a refusal.
fn require_model(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(InferenceError::invalid("model", "is empty: name a model of the catalogue").into());
    }
    Ok(())
}

/// A stream whose caller is looked at now and then.
struct Watched {
    pieces: Receiver<Result<Piece, InferenceError>>,
    caller: Caller,
    authorizer: Authorizer,
    looks: Interval,
    ended: bool,
}

impl Watched {
    fn new(pieces: Receiver<Result<Piece, InferenceError>>, caller: Caller, authorizer: Authorizer) -> Self {
        let mut looks = tokio::time::interval_at(Instant::now() + REVALIDATE, REVALIDATE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pieces, caller, authorizer, looks, ended: false }
    }

    async fn step(mut self) -> Option<(Result<pb::GenerateEvent, Status>, Self)> {
        if self.ended {
            return None;
        }
        let answer = loop {
            tokio::select! {
                piece = self.pieces.recv() => break piece?.map(event).map_err(Status::from),
                _ = self.looks.tick() => {
                    if let Err(status) = self.authorizer.revalidate(&self.caller).await {
                        break Err(status);
                    }
                }
            }
        };
        self.ended = answer.is_err();
        Some((answer, self))
    }
}

fn event(piece: Piece) -> pb::GenerateEvent {
    use pb::generate_event::Event;
    let event = match piece {
        Piece::Text(text) => Event::Text(text),
        Piece::Thinking(text) => Event::Thinking(text),
        Piece::ToolCall(delta) => Event::ToolCall(delta),
        Piece::Fallback(next) => Event::Fallback(next),
        Piece::Finished(answer) => Event::Finished(*answer),
    };
    pb::GenerateEvent { event: Some(event) }
}

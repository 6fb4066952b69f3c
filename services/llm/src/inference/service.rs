//! The tonic adapter of calls.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use sre_identity::Caller;
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::inference_server::Inference as Rpc;
use sre_service::{Authorizer, Host};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Request, Response, Status};

use super::providers::{Piece, Pieces};
use super::{Inference, InferenceError, NoSecrets, VaultSecrets};

/// How often the caller of a stream is looked at again.
const REVALIDATE: Duration = Duration::from_secs(15);

/// `sre.llm.v1.Inference`.
#[derive(Clone)]
pub struct InferenceService {
    inference: Inference,
    host: Host,
}

impl InferenceService {
    /// The service over the calls.
    pub fn new(inference: Inference, host: Host) -> Self {
        Self { inference, host }
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
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let secrets = VaultSecrets::of(&self.host, &caller);
        Ok(Response::new(self.inference.generate(request, &secrets).await?))
    }

    type GenerateStreamStream = Pin<Box<dyn Stream<Item = Result<pb::GenerateEvent, Status>> + Send>>;

    async fn generate_stream(
        &self,
        request: Request<pb::GenerateStreamRequest>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        require_model(request.request.as_ref().map_or("", |request| &request.model))?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let secrets = VaultSecrets::of(&self.host, &caller);
        let pieces = self.inference.stream(request.request.unwrap_or_default(), &secrets).await?;
        let watched = Watched::new(pieces, caller, self.host.authorizer().clone());
        Ok(Response::new(stream::unfold(watched, Watched::step).boxed()))
    }

    async fn embed(&self, request: Request<pb::EmbedRequest>) -> Result<Response<pb::EmbedResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        require_model(&request.model)?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let secrets = VaultSecrets::of(&self.host, &caller);
        Ok(Response::new(self.inference.embed(request, &secrets).await?))
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

/// Before the decision, so that a missing name is told apart from a refusal.
fn require_model(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(InferenceError::invalid("model", "is empty: name a model of the catalogue").into());
    }
    Ok(())
}

/// A stream whose caller is looked at now and then.
struct Watched {
    pieces: Pieces,
    caller: Caller,
    authorizer: Authorizer,
    looks: Interval,
    ended: bool,
}

impl Watched {
    fn new(pieces: Pieces, caller: Caller, authorizer: Authorizer) -> Self {
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
                piece = self.pieces.next() => break piece?.map(event).map_err(Status::from),
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
        Piece::Finished(answer) => Event::Finished(*answer),
    };
    pb::GenerateEvent { event: Some(event) }
}

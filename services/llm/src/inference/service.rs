//! The tonic adapter of calls.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use sre_identity::Caller;
use sre_proto::error::{Reason, status};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::inference_server::Inference as Rpc;
use sre_proto::observability::v1::UsageEvent;
use sre_proto::{AccessLevel, Guarded};
use sre_service::{Authorizer, Granted, Host, UsageReporter};
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Code, Request, Response, Status};

use super::answers::{self, Answers, Wanted};
use super::metering::{Metered, Payer};
use super::providers::Piece;
use super::pump::{Delivery, Ending, Heard, Pump};
use super::reliability::Chain;
use super::vault::RecentSecrets;
use super::{Inference, InferenceError, NoSecrets, VaultSecrets, estimate, files, images};
use crate::budgets::reservation::{Held, Used};
use crate::budgets::{self, Budgets, Defaults, InRun, Most, Spender};
use crate::models::Resolved;

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
    budgets: Budgets,
    answers: Answers,
    recent: RecentSecrets,
}

/// A call that was decided on: what it asks, for whom, and whether its answer is known.
struct Admitted {
    chain: Chain,
    payer: Payer,
    secrets: VaultSecrets,
    ending: Option<Box<dyn Ending>>,
}

/// The answer of a call that was decided on, or the call.
enum Begin {
    Known(Box<pb::GenerateResponse>),
    Ask(Box<Admitted>),
}

impl InferenceService {
    /// The service over the calls.
    pub fn new(inference: Inference, budgets: Budgets, host: Host) -> Self {
        let usage = UsageReporter::of(&host);
        Self {
            inference,
            host,
            usage,
            budgets,
            answers: Answers::default(),
            recent: RecentSecrets::default(),
        }
    }

    /// Asks in a task of its own, so that what is used is counted whoever listens.
    fn pump(&self, call: Admitted, delivery: Delivery) -> Receiver<Heard> {
        let (pieces, listener) = mpsc::channel(PIECES_AHEAD);
        let (inference, usage) = (self.inference.clone(), self.usage.clone());
        let Admitted { chain, payer, secrets, ending } = call;
        let pump = Pump::new(inference, usage, chain, Arc::new(secrets), payer, ending);
        self.host.spawn("model call", pump.run(delivery, pieces));
        listener
    }

    /// A call that may be made: its model is found and would take it, nobody knows the answer, and what it may use is
    /// reserved.
    async fn begin(
        &self,
        caller: &Caller,
        granted: &Granted,
        mut request: pb::GenerateRequest,
    ) -> Result<Begin, Status> {
        caller.run_id().clone_into(&mut request.run_id);
        let payer = Payer::of(caller, granted);
        let table = self.inference.catalogue().table_of(&payer.team);
        let model = Inference::find_in(&table, &request.model)?;
        self.inference.check(&request, &model)?;
        let wanted = Wanted::of(&request, &model, &payer.team);
        if let Some(known) = wanted.as_ref().and_then(|wanted| self.answers.get(wanted)) {
            return Ok(Begin::Known(Box::new(known)));
        }
        let chain = self.inference.chain(table, Arc::clone(&model), request);
        let most = budgets::most_of(chain.asked(), chain.models());
        let held = self.reserve(caller, granted, &payer, &model, most).await?;
        let kept = wanted.filter(Wanted::writes).map(|wanted| (self.answers.clone(), wanted));
        let ending: Option<Box<dyn Ending>> = match (held, kept) {
            (None, None) => None,
            (held, kept) => {
                let host = self.host.clone();
                Some(Box::new(End { held, kept, asked: model.entry.clone(), host }))
            }
        };
        let secrets = VaultSecrets::of(&self.host, caller).recent(&self.recent);
        Ok(Begin::Ask(Box::new(Admitted { chain, payer, secrets, ending })))
    }

    async fn reserve(
        &self,
        caller: &Caller,
        granted: &Granted,
        payer: &Payer,
        model: &Resolved,
        most: Most,
    ) -> Result<Option<Held>, Status> {
        let memberships = granted.memberships();
        let spender = Spender {
            payer: payer.clone(),
            runs: InRun::all_of(caller),
            organization: memberships.organization.clone(),
        };
        let defaults = Defaults::of(&self.host, &payer.team, memberships);
        self.budgets.reserve(&spender, model, most, defaults).await
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

    /// A model as whoever pays has it: their team's own win over the catalogue's.
    fn find(&self, payer: &Payer, name: &str) -> Result<Arc<Resolved>, InferenceError> {
        Inference::find_in(&self.inference.catalogue().table_of(&payer.team), name)
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
        let mut request = request.into_inner();
        require_model(&request.model)?;
        let granted = self.granted(&caller, &request, &request.model).await?;
        files::read_all(&self.host, &caller, &mut request).await?;
        let call = match self.begin(&caller, &granted, request).await? {
            Begin::Known(answer) => return Ok(Response::new(*answer)),
            Begin::Ask(call) => call,
        };
        let mut listener = self.pump(*call, Delivery::Whole);
        while let Some(piece) = listener.recv().await {
            if let Piece::Finished(answer) = (*piece)? {
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
        let mut request = request.request.unwrap_or_default();
        files::read_all(&self.host, &caller, &mut request).await?;
        let call = match self.begin(&caller, &granted, request).await? {
            Begin::Known(answer) => {
                let pieces = answers::replay(*answer).into_iter().map(|piece| Ok(event(piece)));
                return Ok(Response::new(stream::iter(pieces).boxed()));
            }
            Begin::Ask(call) => call,
        };
        let (begun, begins) = oneshot::channel();
        let pieces = self.pump(*call, Delivery::Pieces(begun));
        begins.await.map_err(|_| stopping())??;
        let watched = Watched::new(pieces, caller, self.host.authorizer().clone());
        Ok(Response::new(stream::unfold(watched, Watched::step).boxed()))
    }

    async fn embed(&self, request: Request<pb::EmbedRequest>) -> Result<Response<pb::EmbedResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        require_model(&request.model)?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let secrets = VaultSecrets::of(&self.host, &caller).recent(&self.recent);
        let payer = Payer::of(&caller, &granted);
        let model = self.find(&payer, &request.model)?;
        let metered = Metered::embedding(payer.clone(), &model, caller.run_id());
        let held = self.reserve(&caller, &granted, &payer, &model, most_of_texts(&request, &model)).await?;
        let answer = self.inference.embed_by(model, request, &secrets).await;
        let used = answer.as_ref().ok().filter(|answer| !answer.embeddings.is_empty());
        let event = used.and_then(|answer| metered.embedded(answer.usage.as_ref()));
        if let Some(held) = held {
            held.settle(Used::of(event.as_slice())).await;
        }
        self.report(event);
        Ok(Response::new(answer?))
    }

    async fn count_tokens(
        &self,
        request: Request<pb::CountTokensRequest>,
    ) -> Result<Response<pb::CountTokensResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        require_model(&request.model)?;
        let granted = self.granted(&caller, &request, &request.model).await?;
        let model = self.find(&Payer::of(&caller, &granted), &request.model)?;
        Ok(Response::new(self.inference.tokens().count(&model, request.texts).await?))
    }

    type GenerateImageStream = images::Pieces;

    async fn generate_image(
        &self,
        request: Request<pb::GenerateImageRequest>,
    ) -> Result<Response<Self::GenerateImageStream>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        require_model(&request.model)?;
        let granted = self.granted(&caller, &request, &request.model).await?;
        files::read(&self.host, &caller, request.images.iter_mut().chain(&mut request.mask)).await?;
        let payer = Payer::of(&caller, &granted);
        let model = self.find(&payer, &request.model)?;
        caller.run_id().clone_into(&mut request.run_id);
        let metered = Metered::images(payer.clone(), &model, &request);
        let most = images::most(&request, &model);
        let secrets = VaultSecrets::of(&self.host, &caller).recent(&self.recent);
        let wanted = self.inference.prepare_images(Arc::clone(&model), request, &secrets).await?;
        let held = self.reserve(&caller, &granted, &payer, &model, most).await?;
        let made = self.inference.paint(&wanted).await;
        let made = made.map(|made| images::pieces(made, &wanted.call, &metered));
        let event = made.as_ref().ok().and_then(|(_, event)| event.clone());
        if let Some(held) = held {
            held.settle(Used::of(event.as_slice())).await;
        }
        self.report(event);
        Ok(Response::new(made?.0))
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

/// What follows when a call is over: its budgets are settled, and its answer is kept where that is wanted.
struct End {
    held: Option<Held>,
    kept: Option<(Answers, Wanted)>,
    asked: String,
    host: Host,
}

impl Ending for End {
    fn wants_answer(&self) -> bool {
        self.kept.is_some()
    }

    fn ended(self: Box<Self>, events: &[UsageEvent], answer: Option<&pb::GenerateResponse>) {
        if let (Some((answers, wanted)), Some(answer)) = (&self.kept, answer) {
            answers.put(wanted, &self.asked, answer);
        }
        if let Some(held) = self.held {
            let used = Used::of(events);
            self.host.spawn_to_end("settle a call's budgets", async move { held.settle(used).await });
        }
    }
}

/// What an embedding may use.
fn most_of_texts(request: &pb::EmbedRequest, model: &Resolved) -> Most {
    if model.provider.eq_ignore_ascii_case("Hash") {
        return Most::default();
    }
    let tokens = estimate::of_bytes(request.texts.iter().map(String::len).sum());
    let prices = model.prices_at(std::time::SystemTime::now());
    Most { tokens, micros: prices.map_or(0, |prices| prices.most_micros(tokens, 0)) }
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
    pieces: Receiver<Heard>,
    caller: Caller,
    authorizer: Authorizer,
    looks: Interval,
    ended: bool,
}

impl Watched {
    fn new(pieces: Receiver<Heard>, caller: Caller, authorizer: Authorizer) -> Self {
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
                piece = self.pieces.recv() => break (*piece?).map(event).map_err(Status::from),
                _ = self.looks.tick() => {
                    // Apart: a stream waits for its next piece most of the time.
                    if let Err(status) = Box::pin(self.authorizer.revalidate(&self.caller)).await {
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

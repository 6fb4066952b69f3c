//! One request, in a task of its own: asked of one place after the other until somebody answers.
//!
//! Providers charge for what they generated. A stream whose listener has gone is closed at once, so that no more is
//! generated, and what was seen of it goes into the ledger as an estimate. An answer that comes in one is generated
//! to its end whoever listens, so it is heard for a while: its true price is known a moment later.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use sre_proto::llm::v1 as pb;
use sre_proto::observability::v1::UsageEvent;
use sre_service::UsageReporter;
use sre_service::telemetry::spans::TraceParent;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Semaphore, oneshot};

use super::credentials::Secrets;
use super::genai::Observed;
use super::metering::{Metered, Payer};
use super::providers::{Call, Piece, Pieces};
use super::reliability::{Chain, Next};
use super::{Inference, InferenceError, estimate};

/// How long an answer in one piece is heard whose listener has gone.
const SETTLE: Duration = Duration::from_secs(10);
/// So many of them at once; others are let go at once.
const MOST_ABANDONED: usize = 256;

/// How the provider is to answer.
#[derive(Debug)]
pub enum Delivery {
    /// At once.
    Whole,
    /// In pieces; it is told whether the provider begins.
    Pieces(oneshot::Sender<Result<(), InferenceError>>),
}

/// What follows from the end of a request, beside the ledger.
pub trait Ending: Send + Sync {
    /// Whether it is to be given the answer.
    fn wants_answer(&self) -> bool {
        false
    }

    /// It is over. What the ledger has of it, all attempts together.
    fn ended(self: Box<Self>, events: &[UsageEvent], answer: Option<&pb::GenerateResponse>);
}

/// A request under way.
pub struct Pump {
    inference: Inference,
    usage: UsageReporter,
    chain: Chain,
    secrets: Arc<dyn Secrets>,
    payer: Payer,
    ending: Option<Box<dyn Ending>>,
    /// Whoever asked, as their trace knows it: this task is not theirs.
    parent: TraceParent,
    current: Option<Attempt>,
    events: Vec<UsageEvent>,
    answer: Option<pb::GenerateResponse>,
}

/// The attempt under way.
struct Attempt {
    metered: Metered,
    observed: Observed,
    input_tokens: i64,
    /// Bytes of the answer that were seen.
    seen_bytes: usize,
}

enum Begun {
    Whole(Box<pb::GenerateResponse>),
    Stream(Piece, Pieces),
}

/// What a listener hears. Apart, because a queue has room for 32 from its beginning, however long it waits for one.
pub type Heard = Box<Result<Piece, InferenceError>>;

type Listener = Sender<Heard>;

impl Pump {
    /// A request that begins now.
    pub fn new(
        inference: Inference,
        usage: UsageReporter,
        chain: Chain,
        secrets: Arc<dyn Secrets>,
        payer: Payer,
        ending: Option<Box<dyn Ending>>,
    ) -> Self {
        Self {
            inference,
            usage,
            chain,
            secrets,
            payer,
            ending,
            parent: TraceParent::current(),
            current: None,
            events: Vec::new(),
            answer: None,
        }
    }

    /// Asks, passes on what comes, and records what was used.
    pub async fn run(mut self, delivery: Delivery, listener: Listener) {
        let places = Arc::clone(self.inference.abandoned());
        let whole = matches!(delivery, Delivery::Whole);
        let heard = tokio::select! {
            biased;
            () = self.work(delivery, &listener) => true,
            () = gone(&listener, whole.then_some(&places)) => false,
        };
        if !heard && let Some(attempt) = self.current.take() {
            // The socket is closed: what `work` held was dropped.
            attempt.observed.abandoned();
            self.report(attempt.metered.cut_off(&attempt.seen()));
        }
        if let Some(ending) = self.ending.take() {
            ending.ended(&self.events, self.answer.as_ref());
        }
    }

    async fn work(&mut self, delivery: Delivery, listener: &Listener) {
        let (whole, mut begun) = match delivery {
            Delivery::Whole => (true, None),
            Delivery::Pieces(begun) => (false, Some(begun)),
        };
        let error = loop {
            // Apart: a stream lives long after its beginning, which takes ten times as much memory.
            let error = match Box::pin(self.attempt(whole)).await {
                Ok(Begun::Whole(answer)) => {
                    self.pass_on(Ok(Piece::Finished(answer)), listener).await;
                    return;
                }
                Ok(Begun::Stream(first, pieces)) => {
                    if let Some(begun) = begun.take() {
                        // Whoever waited for it may have gone.
                        let _ = begun.send(Ok(()));
                    }
                    self.stream(first, pieces, listener).await;
                    return;
                }
                Err(error) => error,
            };
            self.fail(&error);
            match self.chain.failed(&error) {
                Next::Again(wait) => {
                    tracing::debug!(%error, wait_ms = wait.as_millis(), "a provider is asked again");
                    tokio::time::sleep(wait).await;
                }
                Next::Fallback(next) => {
                    tracing::debug!(%error, from = next.from_model, to = next.to_model, "another model is asked");
                    if !whole {
                        let _ = listener.send(Box::new(Ok(Piece::Fallback(next)))).await;
                    }
                }
                Next::GiveUp => break self.chain.error(error),
            }
        };
        match begun.take() {
            Some(begun) => {
                let _ = begun.send(Err(error));
            }
            None => {
                let _ = listener.send(Box::new(Err(error))).await;
            }
        }
    }

    /// One attempt, up to the first piece of an answer: until then another one may take its place.
    async fn attempt(&mut self, whole: bool) -> Result<Begun, InferenceError> {
        let model = self.chain.begin()?;
        let call = self.inference.prepare(model, self.chain.request(), self.secrets.as_ref()).await?;
        let observed = Observed::begin(&call, &self.parent);
        let span = observed.span().cloned();
        self.current = Some(Attempt {
            metered: Metered::call(self.payer.clone(), &call.model, &call.request),
            observed,
            input_tokens: estimate::of_request(&call.request),
            seen_bytes: 0,
        });
        let begin = begin(&self.inference, call, whole);
        match &span {
            Some(span) => span.around(begin).await,
            None => begin.await,
        }
    }

    async fn stream(&mut self, first: Piece, mut pieces: Pieces, listener: &Listener) {
        self.pass_on(Ok(first), listener).await;
        while let Some(piece) = pieces.next().await {
            if let Err(error) = &piece {
                self.fail(error);
                self.chain.broke_off(error);
            }
            self.pass_on(piece, listener).await;
        }
    }

    async fn pass_on(&mut self, mut piece: Result<Piece, InferenceError>, listener: &Listener) {
        if let Some(attempt) = &mut self.current {
            attempt.observed.piece();
            match &mut piece {
                Ok(Piece::Text(text) | Piece::Thinking(text)) => attempt.seen_bytes += text.len(),
                Ok(Piece::ToolCall(delta)) => {
                    attempt.seen_bytes += delta.name.len() + delta.arguments_fragment.len();
                }
                Ok(Piece::Finished(_)) => {}
                Ok(Piece::Fallback(_)) | Err(_) => {}
            }
        }
        if let Ok(Piece::Finished(answer)) = &mut piece {
            self.finish(answer);
        }
        // Whoever listened may have gone; then this task ends.
        let _ = listener.send(Box::new(piece)).await;
    }

    fn finish(&mut self, answer: &mut pb::GenerateResponse) {
        let Some(attempt) = self.current.take() else { return };
        if answer.usage.is_none() && attempt.metered.is_paid() {
            answer.usage = Some(attempt.estimated(answer_bytes(answer)));
        }
        if let Some(usage) = &answer.usage {
            let (model, asked) = (attempt.metered.model(), self.chain.asked());
            self.inference.tokens().learn(model, asked, attempt.input_tokens, usage);
        }
        let event = attempt.metered.answered(answer);
        attempt.observed.answered(answer);
        let usage = answer.usage.unwrap_or_default();
        answer.attempts = self.chain.answered(usage.input_tokens + usage.output_tokens);
        answer.model = attempt.metered.entry().to_owned();
        self.report(event);
        if self.ending.as_ref().is_some_and(|ending| ending.wants_answer()) {
            self.answer = Some(answer.clone());
        }
    }

    /// What began may have charged for what it said; what was refused has not.
    fn fail(&mut self, error: &InferenceError) {
        let Some(attempt) = self.current.take() else { return };
        if matches!(error, InferenceError::Broken { .. } | InferenceError::Silent { .. }) {
            self.report(attempt.metered.cut_off(&attempt.seen()));
        }
        attempt.observed.failed(error);
    }

    fn report(&mut self, event: Option<UsageEvent>) {
        if let Some(event) = event {
            if self.ending.is_some() {
                self.events.push(event.clone());
            }
            self.usage.report(event);
        }
    }
}

impl Attempt {
    /// What it used, as far as it was seen.
    fn seen(&self) -> pb::TokenUsage {
        self.estimated(self.seen_bytes)
    }

    fn estimated(&self, answer_bytes: usize) -> pb::TokenUsage {
        pb::TokenUsage {
            input_tokens: self.input_tokens,
            output_tokens: estimate::of_bytes(answer_bytes),
            estimated: true,
            ..pb::TokenUsage::default()
        }
    }
}

fn answer_bytes(answer: &pb::GenerateResponse) -> usize {
    let calls =
        answer.tool_calls.iter().map(|call| call.name.len() + call.arguments_json.len()).sum::<usize>();
    answer.text.len() + answer.thinking.len() + calls
}

/// Asks, and waits for a whole answer or the first piece of one.
async fn begin(inference: &Inference, call: Call, whole: bool) -> Result<Begun, InferenceError> {
    if whole {
        return Ok(Begun::Whole(Box::new(inference.answer(call).await?)));
    }
    let provider = call.model.provider.clone();
    let mut pieces = inference.pieces(call).await?;
    match pieces.next().await {
        Some(first) => Ok(Begun::Stream(first?, pieces)),
        None => Err(InferenceError::Broken { provider, message: "the stream ended before it began".into() }),
    }
}

/// Ready when the listener has gone; for an answer in one piece, when the time to hear it is over too.
async fn gone(listener: &Listener, places: Option<&Arc<Semaphore>>) {
    listener.closed().await;
    if let Some(places) = places
        && let Ok(_place) = places.try_acquire()
    {
        tokio::time::sleep(SETTLE).await;
    }
}

/// Where answers of callers that have gone are waited for.
pub fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST_ABANDONED))
}

//! One call of a provider, in a task of its own.
//!
//! Providers charge for what they generated, also where nobody waits for it any more: a caller gave up, or its
//! process was killed. So the answer is read to its end for a while when its listener has gone, and where that is
//! not enough the ledger says that nobody knows what was used.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use sre_proto::observability::v1::UsageEvent;
use sre_service::UsageReporter;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Semaphore, oneshot};

use super::genai::Observed;
use super::metering::{Metered, Payer};
use super::providers::{Call, Piece};
use super::{Inference, InferenceError};

/// How long an answer is read on whose listener has gone.
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

/// A call under way.
pub struct Pump {
    inference: Inference,
    usage: UsageReporter,
    call: Call,
    metered: Metered,
    observed: Observed,
}

impl Pump {
    /// A call that begins now.
    pub fn new(inference: Inference, usage: UsageReporter, call: Call, payer: Payer) -> Self {
        let metered = Metered::call(payer, &call.model, &call.request);
        let observed = Observed::begin(&call);
        Self { inference, usage, call, metered, observed }
    }

    /// Calls, passes on what comes, and records what was used.
    pub async fn run(mut self, delivery: Delivery, listener: Sender<Result<Piece, InferenceError>>) {
        let span = self.observed.span().cloned();
        let places = Arc::clone(self.inference.abandoned());
        let heard = {
            let work = self.work(delivery, &listener);
            let work = async {
                match &span {
                    Some(span) => span.around(work).await,
                    None => work.await,
                }
            };
            tokio::select! {
                biased;
                () = work => true,
                () = abandoned(&listener, &places) => false,
            }
        };
        if !heard {
            self.observed.abandoned();
            self.report(self.metered.unheard());
        }
    }

    async fn work(&mut self, delivery: Delivery, listener: &Sender<Result<Piece, InferenceError>>) {
        let (inference, call) = (self.inference.clone(), self.call.clone());
        match delivery {
            Delivery::Whole => {
                let answer = inference.answer(call).await;
                self.pass_on(answer.map(|answer| Piece::Finished(Box::new(answer))), listener).await;
            }
            Delivery::Pieces(begun) => match inference.pieces(call).await {
                Ok(mut pieces) => {
                    // Whoever waited for it may have gone.
                    let _ = begun.send(Ok(()));
                    while let Some(piece) = pieces.next().await {
                        self.pass_on(piece, listener).await;
                    }
                }
                Err(error) => {
                    self.fail(&error);
                    let _ = begun.send(Err(error));
                }
            },
        }
    }

    async fn pass_on(
        &mut self,
        mut piece: Result<Piece, InferenceError>,
        listener: &Sender<Result<Piece, InferenceError>>,
    ) {
        self.observed.piece();
        match &mut piece {
            Ok(Piece::Finished(answer)) => {
                self.report(self.metered.answered(answer));
                self.observed.answered(answer);
            }
            Ok(_) => {}
            Err(error) => self.fail(error),
        }
        // Whoever listened may have gone: the rest is read all the same.
        let _ = listener.send(piece).await;
    }

    /// What began may have charged for what it said; what was refused has not.
    fn fail(&self, error: &InferenceError) {
        if matches!(error, InferenceError::Broken { .. } | InferenceError::Silent { .. }) {
            self.report(self.metered.unheard());
        }
        self.observed.failed(error);
    }

    fn report(&self, event: Option<UsageEvent>) {
        if let Some(event) = event {
            self.usage.report(event);
        }
    }
}

/// Ready when the listener has gone and the time to hear the rest is over.
async fn abandoned(listener: &Sender<Result<Piece, InferenceError>>, places: &Arc<Semaphore>) {
    listener.closed().await;
    if let Ok(_place) = places.try_acquire() {
        tokio::time::sleep(SETTLE).await;
    }
}

/// Where answers of abandoned calls are waited for.
pub fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST_ABANDONED))
}

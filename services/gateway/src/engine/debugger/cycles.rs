//! One cycle of a session: its components are executed as those of any run, effects with their key and after
//! their intent is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use sre_engine::Activation;
use sre_engine::debug::{DebugRun, StepReport};
use sre_proto::memory::v1::RecordKind;
use tonic::Status;

use crate::engine::core::internal;
use crate::engine::drive::Stopped;
use crate::engine::flight::{self, Landed, What};
use crate::engine::journal::records::{Intent, record};
use crate::engine::journal::run::RunJournal;
use crate::engine::scope::RunScope;
use crate::engine::usage;

/// Components of one cycle that are executed at a time.
const IN_FLIGHT: usize = 64;

/// Why a cycle was not finished.
pub enum Broken {
    /// The session is somebody else's, or cannot be written.
    Stopped(Stopped),
    /// It took too long, or was cancelled.
    Cancelled,
    /// The state machine refused a report.
    Failed(Status),
}

/// Runs one cycle.
pub async fn run(
    scope: &Arc<RunScope>,
    run: &mut DebugRun,
    journal: &mut RunJournal,
) -> Result<StepReport, Broken> {
    let mut waiting: VecDeque<Activation> = run.cycle().into();
    let mut flights: FuturesUnordered<BoxFuture<'static, Landed>> = FuturesUnordered::new();
    let deadline = tokio::time::sleep_until(scope.deadline);
    tokio::pin!(deadline);
    let lost = journal.lease().lost().clone();
    loop {
        let free = IN_FLIGHT.saturating_sub(flights.len()).min(waiting.len());
        let starting: Vec<Activation> = waiting.drain(..free).collect();
        launch(scope, journal, starting, &mut flights);
        let landed = tokio::select! {
            biased;
            () = scope.cancel.token().cancelled() => return Err(Broken::Cancelled),
            () = lost.cancelled() => return Err(Broken::Stopped(Stopped::SessionOver)),
            () = &mut deadline => return Err(Broken::Cancelled),
            landed = flights.next() => landed,
        };
        let Some(landed) = landed else { break };
        journal.use_up(usage::landed(scope, &landed));
        let Landed { key, what, .. } = landed;
        let taken = match what {
            What::Finished(outcome) => run.complete(&key, outcome),
            What::Resolved(values) => run.resolve(&key, values),
            What::Again(activation) => {
                waiting.push_back(*activation);
                Ok(())
            }
            What::Stopped(stopped) => return Err(Broken::Stopped(stopped)),
        };
        taken.map_err(|error| failed(&error))?;
        waiting.extend(run.ready());
    }
    run.finish_cycle().map_err(|error| failed(&error))
}

fn failed(error: &dyn std::fmt::Display) -> Broken {
    Broken::Failed(internal("a debug session refused how a component ended", error))
}

fn launch(
    scope: &Arc<RunScope>,
    journal: &mut RunJournal,
    starting: Vec<Activation>,
    flights: &mut FuturesUnordered<BoxFuture<'static, Landed>>,
) {
    let effects: Vec<_> =
        starting.iter().filter(|it| flight::is_effect(it)).map(|it| it.key.clone()).collect();
    let mut barrier = None;
    if !effects.is_empty() {
        for key in &effects {
            let idempotency_key = key.idempotency_key(&scope.id);
            journal.push(record(RecordKind::Intent, Some(key), &Intent { idempotency_key }));
        }
        barrier = Some((journal.flush(), journal.lease().clone()));
    }
    for activation in starting {
        let before = barrier.clone().filter(|_| flight::is_effect(&activation));
        flights.push(flight::execute(scope.clone(), activation, before).boxed());
    }
}

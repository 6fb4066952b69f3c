//! What people do with a session. A command works on in a task of its own, so that a caller who goes away does
//! not leave the session half done.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use sre_engine::debug::{DebugError, Injection, StepReport, legacy_stopped_json};
use sre_engine::{EntryId, Map, Plan, RequestData, Value};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::gateway::v1::{DebugInjection, DebugMock, DebugStep, RawRequest};
use sre_proto::memory::v1::{RunRecord, RunState};
use tokio::sync::{Semaphore, oneshot};
use tonic::{Code, Status};

use super::cycles::{self, Broken};
use super::messages::{self, StoppedBy};
use super::names::SessionName;
use super::session::{Taken, no_such_session};
use crate::engine::core::{Engine, internal};
use crate::engine::drive::Stopped;
use crate::engine::requests::{self, Wanted};

/// Commands that one engine works on at a time.
const AT_A_TIME: usize = 256;
const USUAL_STEPS: u32 = 1_000;
const MOST_STEPS: u32 = 10_000;
/// Cycles of one command whose executions are told; of more, the last ones.
const TOLD_CYCLES: usize = 1_000;

static UNDER_WAY: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_A_TIME)));

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// One cycle; with a request, its endpoint is called again first. With mocks, they are set before.
    Step {
        /// The request.
        call: Option<(Box<RawRequest>, String)>,
        /// Outputs that stand for executions, in the form of injections.
        mocks: Vec<Injection>,
    },
    /// Cycles until something is next.
    Continue {
        /// The component.
        until: String,
        /// At most so many.
        steps: u32,
    },
    /// Puts values into components and runs those that it makes active.
    Inject(Vec<Injection>),
    /// Replaces breakpoints and mocks.
    Update {
        /// Breakpoints.
        breakpoints: Vec<String>,
        /// Mocks.
        mocks: Map,
    },
    /// Tells what the last cycle touched.
    Read,
    /// Ends the session.
    Stop,
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Step { .. } => "step",
            Self::Continue { .. } => "continue",
            Self::Inject(_) => "inject",
            Self::Update { .. } => "update",
            Self::Read => "read",
            Self::Stop => "stop",
        }
    }

    /// Cycles until a component is next.
    pub fn until(component: String, steps: i32) -> Result<Self, Status> {
        let steps = match u32::try_from(steps) {
            Ok(0) => USUAL_STEPS,
            Ok(steps) => steps.min(MOST_STEPS),
            Err(_) => return Err(invalid_argument("max_steps", "it cannot be negative")),
        };
        Ok(Self::Continue { until: component, steps })
    }
}

/// Injections of a message.
pub fn injections(messages: Vec<DebugInjection>) -> Result<Vec<Injection>, Status> {
    let read = |(at, injection): (usize, DebugInjection)| {
        let field = |name: &str| format!("injections[{at}].{name}");
        let input = injection.input_json.map(|input| object(&field("input_json"), &input)).transpose()?;
        let output =
            injection.output_json.map(|output| object(&field("output_json"), &output)).transpose()?;
        Ok(Injection {
            component: injection.component.into(),
            active: injection.active,
            input,
            output: output.map(Value::object),
        })
    };
    messages.into_iter().enumerate().map(read).collect()
}

/// Mocks of a message.
pub fn mocks(messages: Vec<DebugMock>) -> Result<Map, Status> {
    let read = |(at, mock): (usize, DebugMock)| {
        let output = object(&format!("mocks[{at}].output_json"), &mock.output_json)?;
        Ok((Arc::from(mock.component), Value::object(output)))
    };
    messages.into_iter().enumerate().map(read).collect()
}

fn object(field: &str, json: &[u8]) -> Result<Map, Status> {
    let value: Value = serde_json::from_slice(json)
        .map_err(|error| invalid_argument(field, format!("it is not json: {error}")))?;
    value
        .as_object()
        .cloned()
        .ok_or_else(|| invalid_argument(field, format!("it must be a JSON object, got {}", value.kind())))
}

/// Does a command on a session; none where it has expired meanwhile.
pub async fn perform(
    engine: &Engine,
    name: SessionName,
    row: RunRecord,
    command: Command,
) -> Result<Option<DebugStep>, Status> {
    let engine_too = engine.clone();
    let work = async move {
        match Box::pin(Taken::take(&engine_too, name, &row)).await? {
            Some(taken) => Box::pin(finish(taken, command)).await.map(Some),
            None => Ok(None),
        }
    };
    aside(engine, work.boxed()).await
}

/// The same for callers to whom a session that is gone is an error.
pub async fn perform_or_not_found(
    engine: &Engine,
    name: SessionName,
    row: RunRecord,
    command: Command,
) -> Result<DebugStep, Status> {
    perform(engine, name.clone(), row, command).await?.ok_or_else(|| no_such_session(&name))
}

/// Works in a task of its own and waits for it.
pub async fn aside<T: Send + 'static>(
    engine: &Engine,
    work: BoxFuture<'static, Result<T, Status>>,
) -> Result<T, Status> {
    let permit = UNDER_WAY.clone().try_acquire_owned().map_err(|_| {
        let message = "this engine works on as many debug commands as it may: try again";
        status(Code::ResourceExhausted, Reason::Overloaded, message)
    })?;
    let (reply, answer) = oneshot::channel();
    engine.host.spawn(
        "debug",
        Box::pin(async move {
            // Whoever asked may be gone.
            let _ = reply.send(work.await);
            drop(permit);
        }),
    );
    answer.await.map_err(|_| crate::engine::journal::queue::stopping())?
}

/// Does a command on a session that was taken, and puts the session back.
pub async fn finish(mut taken: Taken, command: Command) -> Result<DebugStep, Status> {
    let word = command.name();
    let stops = matches!(command, Command::Stop);
    let reads = matches!(command, Command::Read);
    let worked = AssertUnwindSafe(work(&mut taken, command)).catch_unwind().await;
    let worked = worked.unwrap_or_else(|_| Err(internal("a debug command failed inside", &taken.name)));
    match worked {
        Ok(step) => {
            if stops {
                taken.end(RunState::Done).await?;
            } else if reads {
                taken.leave().await;
            } else {
                taken.put_back(word).await?;
            }
            Ok(step)
        }
        Err(status) => {
            taken.leave().await;
            Err(status)
        }
    }
}

async fn work(taken: &mut Taken, command: Command) -> Result<DebugStep, Status> {
    let mut stopped = None;
    let mut reports = Vec::new();
    let mut legacy = None;
    match command {
        Command::Step { call, mocks } => {
            if let Some((call, session_id)) = call {
                let (entry, request) = called(taken.run.plan(), *call, &session_id)?;
                taken.run.call_again(entry, request);
            }
            if !mocks.is_empty() {
                let mut all = taken.run.mocks().clone();
                all.extend(mocks.into_iter().filter_map(|mock| Some((mock.component, mock.output?))));
                taken.run.set_mocks(all).map_err(|error| refused(&error))?;
            }
            reports.push(cycle(taken).await?);
        }
        Command::Continue { until, steps } => {
            let mut until = Some(until).filter(|until| !until.is_empty());
            if let Some(component) = &until
                && taken.run.plan().node(component).is_none()
            {
                return Err(refused(&DebugError::NoComponent(component.clone())));
            }
            stopped = Some(continue_until(taken, &mut until, steps, &mut reports).await?);
        }
        Command::Inject(injections) => {
            taken.run.inject(injections).map_err(|error| refused(&error))?;
            reports.push(cycle(taken).await?);
        }
        Command::Update { breakpoints, mocks } => {
            check_breakpoints(taken.run.plan(), &breakpoints)?;
            taken.run.set_mocks(mocks).map_err(|error| refused(&error))?;
            taken.breakpoints = breakpoints;
        }
        Command::Read => legacy = Some(taken.run.legacy_read_json(&taken.name.id)),
        Command::Stop => {
            taken.run.stop();
            legacy = Some(legacy_stopped_json(&taken.name.id));
        }
    }
    let legacy = legacy.or_else(|| Some(reports.last()?.legacy_step_json(&taken.name.id)));
    Ok(told(taken, &reports, legacy.as_ref(), stopped))
}

/// Breakpoints must be components of the agent.
pub fn check_breakpoints(plan: &Plan, breakpoints: &[String]) -> Result<(), Status> {
    match breakpoints.iter().find(|component| plan.node(component).is_none()) {
        Some(component) => {
            let message = format!("the agent has no component '{component}'");
            Err(invalid_argument("breakpoints", message))
        }
        None => Ok(()),
    }
}

/// What a command did, as a message.
pub fn told(
    taken: &Taken,
    reports: &[StepReport],
    legacy: Option<&serde_json::Value>,
    stopped: Option<StoppedBy>,
) -> DebugStep {
    let redactor = taken.scope.redactor();
    let session = messages::session(&taken.run, &taken.about(&redactor));
    let legacy = legacy.map_or_else(Bytes::new, |legacy| messages::legacy(legacy, &redactor));
    messages::step(session, reports, legacy, stopped, &redactor)
}

async fn continue_until(
    taken: &mut Taken,
    until: &mut Option<String>,
    steps: u32,
    reports: &mut Vec<StepReport>,
) -> Result<StoppedBy, Status> {
    for done in 0..=steps {
        if taken.run.is_closed() {
            return Ok(StoppedBy::Closed);
        }
        let due = taken.run.due();
        if until.as_ref().is_some_and(|until| due.iter().any(|id| **id == **until)) {
            return Ok(StoppedBy::Component);
        }
        // A session that stands at a breakpoint goes on from there.
        if done > 0 && due.iter().any(|id| taken.breakpoints.iter().any(|other| **id == **other)) {
            return Ok(StoppedBy::Breakpoint);
        }
        if done < steps {
            let report = cycle(taken).await?;
            if reports.len() == TOLD_CYCLES {
                reports.remove(0);
            }
            let nothing = report.executed.is_empty();
            reports.push(report);
            if nothing && !taken.run.is_closed() {
                // Everything waits: another cycle would do nothing either.
                return Ok(StoppedBy::Closed);
            }
        }
    }
    Ok(StoppedBy::Limit)
}

/// One cycle.
pub async fn cycle(taken: &mut Taken) -> Result<StepReport, Status> {
    let (scope, run, journal) = taken.working();
    let scope = scope.clone();
    cycles::run(&scope, run, journal).await.map_err(|broken| match broken {
        Broken::Failed(status) => status,
        Broken::Cancelled => status(
            Code::DeadlineExceeded,
            Reason::DeadlineExceeded,
            "the cycle took too long or was cancelled: the session is as it was before this command",
        ),
        Broken::Stopped(Stopped::SessionOver | Stopped::Journal(_)) => status(
            Code::Unavailable,
            Reason::RoleUnavailable,
            "the journal cannot be reached: the session is as it was before this command, try again",
        ),
    })
}

/// Where a request leads.
pub fn called(plan: &Plan, raw: RawRequest, session_id: &str) -> Result<(EntryId, RequestData), Status> {
    let routed = requests::route(plan, Wanted::Raw(raw), session_id)?.not_a_trigger()?;
    Ok((routed.entry, routed.request))
}

fn refused(error: &DebugError) -> Status {
    match error {
        DebugError::NoComponent(_) | DebugError::Inert(_) | DebugError::Shape(_) => {
            invalid_argument("component", error.to_string())
        }
        _ => internal("a debug session refused a command", error),
    }
}

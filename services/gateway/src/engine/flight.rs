//! One activation on its way: executed by its component, or, where an engine died while its effect ran, settled
//! by its policy.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::FutureExt as _;
use sre_components::{Call, Component};
use sre_engine::spec::{OnUncertain, Waits};
use sre_engine::{Activation, ActivationKey, ActivationKind, Effect, Map, Node, Outcome, Value};
use sre_proto::gateway::v1::ComponentStarted;
use sre_proto::gateway::v1::run_event::Event;

use super::context::ActivationContext;
use super::drive::Stopped;
use super::external::{self, Executed};
use super::journal::run::Flushed;
use super::scope::RunScope;
use super::session::Lease;
use super::trace;
use super::uncertain::{self, Cause};

/// Something that was executed.
pub struct Landed {
    /// Its name.
    pub key: ActivationKey,
    /// Its component's type.
    pub component_type: Arc<str>,
    /// When it left the engine.
    pub started: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What models said it used, encoded for the ledger.
    pub used: Vec<Bytes>,
    /// How it ended.
    pub what: What,
}

/// How an activation ended.
pub enum What {
    /// With an outcome.
    Finished(Outcome),
    /// With the values of inputs.
    Resolved(Vec<Result<Value, String>>),
    /// It is to be started once more, as something that was not started yet.
    Again(Box<Activation>),
    /// It was not executed.
    Stopped(Stopped),
}

/// What must be durable before an effect starts, and under which lease it may.
pub type Barrier = (Flushed, Lease);

/// Whether executing an activation changes something in the world.
pub fn is_effect(activation: &Activation) -> bool {
    activation.effect == Effect::Effect && activation.kind == ActivationKind::Execute
}

/// What becomes of an effect of which nobody knows whether it happened. One that waits for people or a time is
/// simply executed again: it finds its wait.
pub fn policy(activation: &Activation) -> OnUncertain {
    match activation.node.entry {
        Some(entry) if entry.spec.waits == Waits::Durably => OnUncertain::Retry,
        _ => OnUncertain::of(&activation.node),
    }
}

/// Executes an activation, once what it needs is durable.
pub async fn execute(scope: Arc<RunScope>, activation: Activation, before: Option<Barrier>) -> Landed {
    let mut landed = Landing::of(&activation);
    if let Some((written, lease)) = before {
        if let Err(error) = written.await {
            return landed.at(What::Stopped(error.into()));
        }
        if lease.held().await.is_err() {
            return landed.at(What::Stopped(Stopped::SessionOver));
        }
        landed.started = SystemTime::now();
        landed.began = Instant::now();
    }
    scope.events.emit(|| started_event(&scope, &activation));
    let span = match activation.kind {
        ActivationKind::Execute => trace::component(&scope, &activation),
        ActivationKind::Resolve(_) => None,
    };
    let Activation { key, node, input, kind, effect } = activation;
    if kind == ActivationKind::Execute {
        // What a test of recovery compares with the journal.
        tracing::debug!(
            target: "sre_gateway::executions",
            run = scope.id,
            activation = %key,
            epoch = scope.epoch,
            "executes"
        );
    }
    let context = ActivationContext::new(scope.clone(), key);
    let work = async {
        match &kind {
            ActivationKind::Resolve(needs) => {
                let mut values = Vec::with_capacity(needs.len());
                for need in needs {
                    let value = sre_components::binary_io::perform(&context, need).await;
                    values.push(value.map_err(|error| error.message));
                }
                What::Resolved(values)
            }
            ActivationKind::Execute => match component_of(&scope, &node) {
                Some(component) => {
                    let call = Call { input: &input, node: &node, context: &context };
                    What::Finished(component.process(call).await)
                }
                None => {
                    let (node, input) = (node.clone(), input.clone());
                    let kind = ActivationKind::Execute;
                    let started = Activation { key: context.key().clone(), node, input, kind, effect };
                    out_of_process(&scope, started, &context).await
                }
            },
        }
    };
    let ended = match &span {
        Some(span) => span.around(AssertUnwindSafe(work).catch_unwind()).await,
        None => AssertUnwindSafe(work).catch_unwind().await,
    };
    if let (Some(span), Ok(What::Finished(outcome))) = (&span, &ended) {
        trace::landed(&scope, span, &landed.key, outcome);
    }
    landed.used = context.take_used();
    match ended {
        Ok(what) => landed.at(what),
        Err(_) => {
            let outcome = landed.panicked(&scope);
            landed.at(match kind {
                ActivationKind::Execute => What::Finished(outcome),
                ActivationKind::Resolve(needs) => What::Resolved(
                    needs.iter().map(|_| Err("an input could not be resolved".to_owned())).collect(),
                ),
            })
        }
    }
}

/// Executes a component that is served out of process.
async fn out_of_process(scope: &Arc<RunScope>, activation: Activation, context: &ActivationContext) -> What {
    let (node, input) = (activation.node.clone(), activation.input.clone());
    let Some(resolved) = scope.subject.compiled.external(&node.type_name) else {
        return What::Finished(Outcome::error(format!("Component {} not found", node.type_name)));
    };
    let call = Call { input: &input, node: &node, context };
    let policy = policy(&activation);
    match Box::pin(external::execute(scope, resolved, call, context, policy)).await {
        Executed::Finished(outcome) => What::Finished(outcome),
        Executed::Uncertain(why) => {
            // It was started here and now: once.
            let cause = Cause::ComponentWentAway(why);
            Box::pin(uncertain::settle(scope, activation, policy, 1, &cause)).await
        }
    }
}

/// Settles an effect that was started so often and did not finish, by its policy.
pub async fn settle(scope: Arc<RunScope>, activation: Activation, policy: OnUncertain, times: u32) -> Landed {
    let landed = Landing::of(&activation);
    let work = AssertUnwindSafe(uncertain::settle(&scope, activation, policy, times, &Cause::EngineDied))
        .catch_unwind();
    match work.await {
        Ok(what) => landed.at(what),
        Err(_) => {
            let outcome = landed.panicked(&scope);
            landed.at(What::Finished(outcome))
        }
    }
}

/// The component of a node's type.
pub fn component_of(scope: &RunScope, node: &Node) -> Option<&'static dyn Component> {
    scope.engine.registry.component(&node.type_name)
}

struct Landing {
    key: ActivationKey,
    component_type: Arc<str>,
    started: SystemTime,
    began: Instant,
    used: Vec<Bytes>,
}

impl Landing {
    fn of(activation: &Activation) -> Self {
        Self {
            key: activation.key.clone(),
            component_type: activation.node.type_name.clone(),
            started: SystemTime::now(),
            began: Instant::now(),
            used: Vec::new(),
        }
    }

    fn at(self, what: What) -> Landed {
        let Self { key, component_type, started, began, used } = self;
        Landed { key, component_type, started, took: began.elapsed(), used, what }
    }

    fn panicked(&self, scope: &RunScope) -> Outcome {
        let (component, component_type) = (&self.key.component, &self.component_type);
        tracing::error!(run = scope.id, %component, %component_type, "a component panicked");
        Outcome::error(format!("{component_type} failed inside; the engine's log says where"))
    }
}

fn started_event(scope: &RunScope, activation: &Activation) -> Event {
    let node = &activation.node;
    Event::ComponentStarted(ComponentStarted {
        component: activation.key.component.to_string(),
        r#type: node.type_name.to_string(),
        activation: activation.key.to_string(),
        name: node.display_name.to_string(),
        title: node.title.to_string(),
        input_json: shown_input(scope, node, &activation.input),
    })
}

/// What a component runs with, for watchers: its declared inputs, not the variables under them.
fn shown_input(scope: &RunScope, node: &Node, input: &Map) -> bytes::Bytes {
    let declared = node.inputs.iter().filter_map(|port| {
        let value = input.get(&port.name)?;
        Some((port.name.clone(), value.clone()))
    });
    let redactor = scope.redactor();
    redactor.presentable(&redactor.redact(&Value::object(declared.collect()))).to_json_text().into()
}

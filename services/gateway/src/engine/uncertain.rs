//! Effects of which nobody knows whether they happened: the journal says that they were to start, and an engine
//! died before it said how they ended. Their policy decides; none of this happens inside one owner.

use std::sync::Arc;

use sre_components::{Call, LookedUp};
use sre_engine::spec::OnUncertain;
use sre_engine::{Activation, Outcome, Value};
use sre_proto::error::Reason;

use super::context::ActivationContext;
use super::external;
use super::flight::{What, component_of};
use super::questions::{self, About, Verdict};
use super::scope::RunScope;

/// Settles one that was started so often.
pub async fn settle(
    scope: &Arc<RunScope>,
    activation: Activation,
    policy: OnUncertain,
    times: u32,
    cause: &Cause,
) -> What {
    match policy {
        OnUncertain::Retry => What::Again(Box::new(activation)),
        OnUncertain::Fail => What::Finished(failed(&activation, cause, "")),
        OnUncertain::LookUp => look_up(scope, activation, cause).await,
        OnUncertain::Ask => ask(scope, activation, times, cause).await,
    }
}

/// Why nobody knows.
pub enum Cause {
    /// The engine that had started it died.
    EngineDied,
    /// The component, which is served out of process, went away during the call; the text says so.
    ComponentWentAway(String),
}

async fn look_up(scope: &Arc<RunScope>, activation: Activation, cause: &Cause) -> What {
    let context = ActivationContext::new(scope.clone(), activation.key.clone());
    let call = Call { input: &activation.input, node: &activation.node, context: &context };
    let found = match component_of(scope, &activation.node) {
        Some(component) => component.look_up(call).await,
        None => match scope.subject.compiled.external(&activation.node.type_name) {
            Some(resolved) => Box::pin(external::look_up(scope, resolved, call, &context)).await,
            None => LookedUp::Unknown(String::new()),
        },
    };
    match found {
        LookedUp::Happened(outcome) => What::Finished(outcome),
        LookedUp::NotHappened => What::Again(Box::new(activation)),
        LookedUp::Unknown(why) => What::Finished(failed(&activation, cause, &why)),
    }
}

async fn ask(scope: &Arc<RunScope>, activation: Activation, times: u32, cause: &Cause) -> What {
    let shown = activation.node.inputs.iter().filter_map(|port| {
        let value = activation.input.get(&port.name)?;
        Some((port.name.clone(), value.clone()))
    });
    let details = [
        ("type".into(), Value::from(activation.node.type_name.as_ref())),
        ("inputs".into(), Value::object(shown.collect())),
        ("idempotency_key".into(), Value::from(activation.key.idempotency_key(&scope.id))),
    ];
    let why = match cause {
        Cause::EngineDied => "its engine died while it ran",
        Cause::ComponentWentAway(_) => "it went away while it ran",
    };
    let title = format!("did {} happen? {why}", named(&activation));
    let question = questions::uncertain_effect(title, details.into());
    // Once per start: a decision to run it again does not cover the run after that.
    match questions::ask(scope, &activation.key, About::Effect(times), question).await {
        Ok(Verdict { approved: true, .. }) => What::Again(Box::new(activation)),
        Ok(Verdict { output: Some(output), .. }) => What::Finished(Outcome::raw(output)),
        Ok(Verdict { comment, .. }) => What::Finished(failed(&activation, cause, &comment)),
        Err(error) => What::Finished(failed(&activation, cause, &error.message)),
    }
}

fn named(activation: &Activation) -> String {
    let node = &activation.node;
    let title = if node.title.is_empty() { &node.id } else { &node.title };
    format!("{} '{title}'", node.type_name)
}

fn failed(activation: &Activation, cause: &Cause, why: &str) -> Outcome {
    let reason = sre_proto::error::name(Reason::EffectUncertain);
    let mut message = match cause {
        Cause::EngineDied => format!(
            "{reason}: the engine died while {} ran, and nobody knows whether it happened",
            named(activation)
        ),
        Cause::ComponentWentAway(text) => {
            format!("{reason}: {text}; nobody knows whether {} happened", named(activation))
        }
    };
    if !why.is_empty() {
        message.push_str(": ");
        message.push_str(why);
    }
    Outcome::error(message)
}

//! A recording folded again: pure, offline, no service.

use std::collections::BTreeMap;
use std::sync::Arc;

use sre_components::Registry;
use sre_engine::run::Observe;
use sre_engine::{
    ActivationKey, EntryId, Limits, Map, Outcome, Plan, Run, RunOptions, Secrets, Status, Types as _, Value,
};

use super::{
    BadValue, Completion, FORMAT, RecordedEntry, RecordedInput, RecordedResult, Recording, state_name,
};
use crate::engine::answers::Ending;

/// Differences that are told.
const MOST_DIFFERENCES: usize = 20;
/// How much of a differing text is told.
const SHOWN_CHARACTERS: usize = 200;

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The run that was recorded.
    pub run: String,
    /// The answer as the reference gives it.
    pub legacy: serde_json::Value,
    /// The typed result.
    pub result: RecordedResult,
    /// `DONE`, `FAILED` or `CANCELLED`.
    pub state: String,
    /// Whether it is what was recorded.
    pub same: bool,
    /// What differs, for people; the first ones.
    pub differences: Vec<String>,
}

/// A recording that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is not JSON, or not a recording.
    #[error("this is not a recording: {0}; make one with `sre runs export`")]
    Malformed(#[from] serde_json::Error),
    /// It is of another format.
    #[error("the recording has the format {0:?}, this program reads {FORMAT:?}")]
    Format(String),
    /// The document in it does not compile.
    #[error("the recorded agent cannot be compiled: {0}")]
    Document(String),
    /// The document has no such entry.
    #[error("the recorded agent has no component {0} to start at")]
    Entry(String),
    /// This program does not know a component that ran.
    #[error("component {component} ran as {recorded}, which this program does not know")]
    UnknownType {
        /// Its id.
        component: String,
        /// The type that was recorded.
        recorded: String,
    },
    /// An activation's name cannot be read.
    #[error(transparent)]
    Key(#[from] sre_engine::key::InvalidKey),
    /// A value cannot be read.
    #[error(transparent)]
    Value(#[from] BadValue),
    /// The run comes to components of which nothing is recorded.
    #[error("nothing is recorded of what these gave: {}", .0.join(", "))]
    NotRecorded(Vec<String>),
    /// The run was ended from outside, so that there is no result to repeat.
    #[error("the run was ended by {reason} ({message}): it has no result to repeat")]
    EndedFromOutside {
        /// The reason.
        reason: String,
        /// The message.
        message: String,
    },
}

/// Replays a recording: every component gives what it gave then, nothing is executed, no service is called.
///
/// # Errors
/// [`ReplayError`] where the recording is unreadable or lacks an outcome that the run comes to. A replay with
/// another result is no error: [`Replayed::same`] says so.
pub fn replay(recording: &[u8]) -> Result<Replayed, ReplayError> {
    let recording: Recording = serde_json::from_slice(recording)?;
    if recording.format != FORMAT {
        return Err(ReplayError::Format(recording.format));
    }
    let registry = sre_components::registry();
    check_types(&recording, registry)?;
    let plan = sre_engine::compile(&recording.document, registry).map_err(|issues| {
        let errors = issues.iter().filter(|issue| issue.is_error());
        ReplayError::Document(errors.map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let mut run = begin(&recording, Arc::new(plan))?;
    let mut differences = Vec::new();
    for completion in &recording.completions {
        if let Err(error) = complete(&mut run, completion)? {
            differences.push(format!("{}: {error}", completion.activation));
        }
    }
    let ending = ending_of(run, &recording)?;
    let closed = ending.closed(None);
    let replayed = Replayed {
        run: recording.run.clone(),
        legacy: serde_json::from_slice(&closed.legacy).unwrap_or_default(),
        result: RecordedResult::of(&closed),
        state: state_name(ending.state()),
        same: false,
        differences: Vec::new(),
    };
    compare(&recording, &replayed, &mut differences);
    differences.truncate(MOST_DIFFERENCES);
    Ok(Replayed { same: differences.is_empty(), differences, ..replayed })
}

fn check_types(recording: &Recording, registry: &Registry) -> Result<(), ReplayError> {
    let mut components = recording.components.iter();
    match components.find(|(_, recorded)| registry.lookup(recorded).is_none() && *recorded != "Note") {
        // What was unknown then gave its error, which is recorded like everything else.
        Some((component, recorded)) if !was_unknown(recording, component) => {
            Err(ReplayError::UnknownType { component: component.clone(), recorded: recorded.clone() })
        }
        _ => Ok(()),
    }
}

fn was_unknown(recording: &Recording, component: &str) -> bool {
    let of_component = |completion: &&Completion| {
        completion.activation.parse::<ActivationKey>().is_ok_and(|key| key.component.as_ref() == component)
    };
    recording.completions.iter().filter(of_component).all(|completion| {
        let output = completion.output.as_ref().and_then(|output| output.value().ok());
        let error = output.as_ref().and_then(|output| output.get("_error")).and_then(Value::as_str);
        error.is_some_and(|error| error.starts_with("Component ") && error.ends_with(" not found"))
    })
}

fn begin(recording: &Recording, plan: Arc<Plan>) -> Result<Run, ReplayError> {
    let (entry, component, job_id, job_input) = match &recording.entry {
        RecordedEntry::Endpoint { component } => {
            (plan.entry(component), component, String::new(), Map::new())
        }
        RecordedEntry::Job { component, job_id, input } => {
            let input = input.value()?.as_object().cloned().unwrap_or_default();
            (plan.fork(component), component, job_id.clone(), input)
        }
    };
    let entry: EntryId = entry.ok_or_else(|| ReplayError::Entry(component.clone()))?;
    // Each secret is its reference, as in everything that was recorded.
    let mut secrets = Secrets::new();
    for name in plan.variable_secret_names() {
        secrets.insert(name.to_string(), format!("{{{{KEY({name})}}}}"));
    }
    let mut overrides = BTreeMap::new();
    if let Some(forked) = &recording.overrides {
        for (key, inputs) in forked.set.value()?.as_object().into_iter().flatten() {
            overrides.insert(key.parse()?, inputs.as_object().cloned().unwrap_or_default());
        }
    }
    let options = RunOptions {
        run_id: recording.run_id.clone(),
        limits: Limits::default(),
        observe: Observe::Nothing,
        variables: plan.resolve_variables(&secrets),
        job_id,
        job_input,
        overrides,
    };
    Ok(Run::start(plan, entry, recording.request.request()?, options))
}

fn complete(
    run: &mut Run,
    completion: &Completion,
) -> Result<Result<(), sre_engine::run::RunError>, ReplayError> {
    let key: ActivationKey = completion.activation.parse()?;
    let Some(resolved) = &completion.resolved else {
        let output = completion.output.as_ref().map(super::RecordedValue::value).transpose()?;
        return Ok(run.complete(&key, Outcome { output }));
    };
    let value = |input: &RecordedInput| match input {
        RecordedInput::Value(value) => value.value().map(Ok),
        RecordedInput::Error(error) => Ok(Err(error.clone())),
    };
    let values = resolved.iter().map(value).collect::<Result<_, BadValue>>()?;
    Ok(run.resolve(&key, values))
}

fn ending_of(mut run: Run, recording: &Recording) -> Result<Ending, ReplayError> {
    if let Some((reason, message)) = &recording.answer.result.failure {
        match recording.answer.state.as_str() {
            "CANCELLED" => run.cancel(message.clone()),
            // Of its own accord a run fails by going in circles alone.
            _ if run.status() != Status::Finished => {
                return Err(ReplayError::EndedFromOutside {
                    reason: reason.clone(),
                    message: message.clone(),
                });
            }
            _ => {}
        }
    }
    if run.status() != Status::Finished {
        let mut missing: Vec<String> = run.under_way().map(ToString::to_string).collect();
        missing.sort();
        missing.truncate(MOST_DIFFERENCES);
        return Err(ReplayError::NotRecorded(missing));
    }
    Ok(Ending::Answered(run.answer()))
}

fn compare(recording: &Recording, replayed: &Replayed, differences: &mut Vec<String>) {
    let recorded = &recording.answer;
    let mut tell = |what: &str, then: &str, now: &str| {
        if then != now {
            differences.push(format!("{what}: recorded {}, replayed {}", shown(then), shown(now)));
        }
    };
    tell("state", &recorded.state, &replayed.state);
    // As texts: the order of members counts too.
    tell("answer", &recorded.legacy.to_string(), &replayed.legacy.to_string());
    let text = |result: &RecordedResult| serde_json::to_string(result).unwrap_or_default();
    tell("result", &text(&recorded.result), &text(&replayed.result));
}

fn shown(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(SHOWN_CHARACTERS).chain("...".chars()).collect()
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;

//! Sessions and steps as messages. What people read has secrets as their references.

use std::time::SystemTime;

use bytes::Bytes;
use sre_engine::debug::{DebugComponent as Component, DebugRun, Executed, StepReport};
use sre_engine::{Map, Value};
use sre_proto::gateway::v1::{DebugComponent, DebugExecution, DebugMock, DebugSession, DebugStep};

use super::names::SessionName;
use crate::engine::answers::{Ending, ValueView};
use crate::engine::core::timestamp;
use crate::engine::redact::Redactor;

/// What else is known of a session.
pub struct About<'a> {
    /// Its name.
    pub name: &'a SessionName,
    /// The agent's version.
    pub version: &'a str,
    /// When it was started.
    pub created: Option<prost_types::Timestamp>,
    /// When it ends.
    pub expires: SystemTime,
    /// Components before which it stops.
    pub breakpoints: &'a [String],
    /// What keeps its secrets out.
    pub redactor: &'a Redactor,
}

/// Why a continued session stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    /// The component that was asked for is next.
    Component,
    /// A breakpoint is next.
    Breakpoint,
    /// Nothing can run any more.
    Closed,
    /// It ran so many cycles.
    Limit,
}

impl StoppedBy {
    fn word(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Breakpoint => "breakpoint",
            Self::Closed => "closed",
            Self::Limit => "limit",
        }
    }
}

/// A value for people.
pub fn shown(redactor: &Redactor, value: &Value) -> Value {
    redactor.presentable(&redactor.redact(value))
}

fn json(redactor: &Redactor, value: &Value) -> Bytes {
    shown(redactor, value).to_json_text().into()
}

/// A session with its components.
pub fn session(run: &DebugRun, about: &About<'_>) -> DebugSession {
    let component = |component: Component| DebugComponent {
        component: component.component.to_string(),
        r#type: component.type_name.to_string(),
        active: component.active,
        status: component.standing.status().unwrap_or_default().to_owned(),
        input_json: json(about.redactor, &Value::object(component.input)),
        output_json: component.output.map(|output| json(about.redactor, &output)).unwrap_or_default(),
        step: component.step.try_into().unwrap_or(i64::MAX),
        source: component.source.map(|source| source.to_string()).unwrap_or_default(),
    };
    DebugSession {
        name: about.name.to_string(),
        step: run.step().try_into().unwrap_or(i64::MAX),
        closed: run.is_closed(),
        components: run.components().map(component).collect(),
        breakpoints: about.breakpoints.to_vec(),
        mocks: mocks(run.mocks(), about.redactor),
        create_time: about.created,
        expire_time: Some(timestamp(about.expires)),
        version: about.version.to_owned(),
    }
}

fn mocks(mocks: &Map, redactor: &Redactor) -> Vec<DebugMock> {
    let mock = |(component, output): (&std::sync::Arc<str>, &Value)| DebugMock {
        component: component.to_string(),
        output_json: json(redactor, output),
    };
    mocks.iter().map(mock).collect()
}

/// What a command did: the reports of its cycles, the last one for the answer.
pub fn step(
    session: DebugSession,
    reports: &[StepReport],
    legacy: Bytes,
    stopped: Option<StoppedBy>,
    redactor: &Redactor,
) -> DebugStep {
    let answer = reports.last().and_then(|report| report.answer.clone());
    let closed = answer.map(|answer| Ending::Answered(answer).closed(Some(redactor)));
    let result = closed.map(|closed| closed.map(|value| redactor.presentable(value)).result(ValueView::None));
    DebugStep {
        session: Some(session),
        executed: reports
            .iter()
            .flat_map(|report| &report.executed)
            .map(|it| execution(it, redactor))
            .collect(),
        result,
        legacy_json: legacy,
        stopped_by: stopped.map(StoppedBy::word).unwrap_or_default().to_owned(),
    }
}

fn execution(executed: &Executed, redactor: &Redactor) -> DebugExecution {
    let error = executed.error.as_ref();
    DebugExecution {
        component: executed.component.to_string(),
        output_json: json(redactor, &executed.output),
        error: error.map(|error| shown(redactor, error).to_text()).unwrap_or_default(),
        activated: executed.activated().iter().map(ToString::to_string).collect(),
        mocked: executed.mocked,
    }
}

/// A JSON text of the reference's answers, for people.
pub fn legacy(json: &serde_json::Value, redactor: &Redactor) -> Bytes {
    shown(redactor, &Value::from(json)).to_json_text().into()
}

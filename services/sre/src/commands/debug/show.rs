//! Debug sessions as people and scripts read them.

use serde_json::{Value, json};
use sre_proto::gateway::v1::{DebugComponent, DebugExecution, DebugSession, DebugStep};

use crate::cli::output::Output;
use crate::commands::runs::parse;
use crate::dates;

/// What a command did.
pub fn step(output: Output, step: &DebugStep) {
    let session = step.session.clone().unwrap_or_default();
    let mut about = vec![
        ("session", json!(session.name)),
        ("step", json!(session.step)),
        ("closed", json!(session.closed)),
        ("active", json!(active(&session))),
    ];
    if !step.stopped_by.is_empty() {
        about.push(("stopped by", json!(step.stopped_by)));
    }
    if session.closed {
        // The rest of the step's answer is what is shown here anyway.
        about.push(("answer", parse(&step.legacy_json)["finalResult"].take()));
    }
    if output.is_json() {
        let executed = step.executed.iter().map(|e| {
            json!({
                "component": e.component, "output": parse(&e.output_json), "error": e.error,
                "activated": e.activated, "mocked": e.mocked,
            })
        });
        about.push(("executed", executed.collect()));
        return output.record(about);
    }
    let rows: Vec<Vec<Value>> = step.executed.iter().map(execution).collect();
    if !rows.is_empty() {
        output.rows(&["component", "output", "error", "activated", "mocked"], rows);
        output.note("");
    }
    output.record(about);
}

/// A session with its components.
pub fn session(output: Output, session: &DebugSession) {
    let mocks: Value =
        session.mocks.iter().map(|mock| (mock.component.clone(), parse(&mock.output_json))).collect();
    let mut about = vec![
        ("session", json!(session.name)),
        ("version", json!(session.version)),
        ("step", json!(session.step)),
        ("closed", json!(session.closed)),
        ("breakpoints", json!(session.breakpoints)),
        ("mocks", mocks),
        ("expires", json!(dates::text(session.expire_time.as_ref()))),
    ];
    if output.is_json() {
        about.push(("components", session.components.iter().map(as_json).collect()));
        return output.record(about);
    }
    output.record(about);
    if session.components.is_empty() {
        return;
    }
    output.note("");
    let rows = session.components.iter().map(component).collect();
    output.rows(&["component", "type", "active", "status", "step", "input", "output"], rows);
}

/// The open sessions of an agent.
pub fn list(output: Output, sessions: &[DebugSession]) {
    let row = |session: &DebugSession| {
        vec![
            json!(session.name),
            json!(session.step),
            json!(dates::text(session.create_time.as_ref())),
            json!(dates::text(session.expire_time.as_ref())),
        ]
    };
    output.rows(&["session", "step", "started", "expires"], sessions.iter().map(row).collect());
}

fn active(session: &DebugSession) -> Vec<&str> {
    session.components.iter().filter(|c| c.active).map(|c| c.component.as_str()).collect()
}

fn execution(execution: &DebugExecution) -> Vec<Value> {
    vec![
        json!(execution.component),
        json!(parse(&execution.output_json).to_string()),
        json!(execution.error),
        json!(execution.activated.join(", ")),
        json!(if execution.mocked { "yes" } else { "" }),
    ]
}

fn component(component: &DebugComponent) -> Vec<Value> {
    let shown = |bytes: &[u8]| if bytes.is_empty() { Value::Null } else { json!(parse(bytes).to_string()) };
    vec![
        json!(component.component),
        json!(component.r#type),
        json!(if component.active { "yes" } else { "" }),
        json!(component.status),
        json!(component.step),
        shown(&component.input_json),
        shown(&component.output_json),
    ]
}

fn as_json(component: &DebugComponent) -> Value {
    json!({
        "component": component.component, "type": component.r#type, "active": component.active,
        "status": component.status, "step": component.step, "source": component.source,
        "input": parse(&component.input_json), "output": parse(&component.output_json),
    })
}

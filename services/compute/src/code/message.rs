//! Code as contracts carry it.

use std::time::Duration;

use bytes::Bytes;
use sre_proto::compute::v1 as pb;
use sre_proto::error::invalid_argument;
use sre_sandbox::Limits;
use sre_sandbox::contract::Outline;
use sre_sandbox::protocol::{Outcome, Program, Thrown};
use tonic::Status;

use super::codes::Settings;
use super::name::DeploymentName;
use super::table::{DeploymentRow, RevisionRow};
use crate::clock::{duration, timestamp};
use crate::error::CodeError;
use crate::workers::Ended;

/// What a call may take: what is asked for over `base`.
pub(super) fn limits(base: Limits, asked: Option<&pb::CodeLimits>) -> Result<Limits, Status> {
    let Some(asked) = asked else { return Ok(base) };
    let max = Limits::MAX;
    Ok(Limits {
        wall_ms: milliseconds("limits.wall", asked.wall, base.wall_ms, max.wall_ms)?,
        cpu_ms: milliseconds("limits.cpu", asked.cpu, base.cpu_ms, max.cpu_ms)?,
        heap_bytes: bytes("limits.heap_bytes", asked.heap_bytes, base.heap_bytes, 1 << 20, max.heap_bytes)?,
        stack_bytes: bytes(
            "limits.stack_bytes",
            asked.stack_bytes,
            base.stack_bytes,
            32 << 10,
            max.stack_bytes,
        )?,
        ..base
    })
}

/// A time that a request states, in milliseconds.
pub(super) fn milliseconds(
    field: &'static str,
    asked: Option<prost_types::Duration>,
    default: u64,
    most: u64,
) -> Result<u64, Status> {
    let Some(asked) = asked else { return Ok(default) };
    let asked = Duration::try_from(asked).ok().and_then(|asked| u64::try_from(asked.as_millis()).ok());
    match asked {
        Some(asked) if (1..=most).contains(&asked) => Ok(asked),
        _ => Err(invalid_argument(field, format!("use 1 ms to {} s", most / 1_000))),
    }
}

fn bytes(field: &'static str, asked: i64, default: u64, least: u64, most: u64) -> Result<u64, Status> {
    match u64::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(asked) if (least..=most).contains(&asked) => Ok(asked),
        _ => Err(invalid_argument(field, format!("use {least} to {most} bytes"))),
    }
}

/// What a request asks to be run: a source or a component.
pub(super) fn program(source: String, component: Bytes) -> Result<Program, Status> {
    match (source.is_empty(), component.is_empty()) {
        (false, false) => Err(invalid_argument("component", "comes with a source: give one of them")),
        (_, true) => Ok(Program::Script(source)),
        (true, false) => Ok(Program::Component(component.into())),
    }
}

/// The arguments as the text of a JSON object.
pub(super) fn arguments(json: &Bytes) -> Result<String, Status> {
    if json.is_empty() {
        return Ok("{}".to_owned());
    }
    let wrong = |message: String| invalid_argument("arguments_json", message);
    let text = std::str::from_utf8(json).map_err(|_| wrong("is not text".to_owned()))?;
    // As deep as the interpreter goes is its own limit; that it is an object is asked here.
    match serde_json::from_str::<std::collections::BTreeMap<String, serde::de::IgnoredAny>>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(wrong(format!("is no JSON object: {error}"))),
    }
}

/// How a call ended.
pub(super) fn response(
    ended: Ended,
    logs: Vec<pb::CodeLogLine>,
) -> Result<pb::ExecuteCodeResponse, CodeError> {
    let (result_json, error) = match ended.outcome {
        Outcome::Returned(json) => (json.map(Bytes::from).unwrap_or_default(), None),
        Outcome::Threw(thrown) => (Bytes::new(), Some(error(thrown))),
        Outcome::Refused(problem) => return Err(CodeError::of_source(problem)),
        Outcome::Exceeded(limit) => return Err(CodeError::Limit(limit)),
    };
    Ok(pb::ExecuteCodeResponse {
        result_json,
        error,
        logs,
        wall_time: Some(duration(ended.wall)),
        cpu_time: Some(duration(ended.cpu)),
        cost_micros: 0,
    })
}

fn error(thrown: Thrown) -> pb::CodeError {
    pb::CodeError { name: thrown.name, message: thrown.message, stack: thrown.stack.unwrap_or_default() }
}

/// A revision of the code of this name.
pub(super) fn revision(code: &str, row: &RevisionRow) -> Result<pb::CodeRevision, CodeError> {
    let outline: Outline = stored(&row.outline)?;
    let mut warnings = Vec::new();
    if !outline.dependencies.is_empty() {
        let packages = outline.dependencies.join(", ");
        warnings.push(format!(
            "the sandbox has no packages, and the code uses {packages}: it fails when it runs"
        ));
    }
    if outline.parameters.iter().any(|name| matches!(name.as_str(), "[array]" | "[unknown]")) {
        warnings.push("arguments are bound by name: a parameter without one gets nothing".to_owned());
    }
    Ok(pb::CodeRevision {
        name: format!("{code}/revisions/{}", row.revision),
        parameters: outline.parameters,
        dependencies: outline.dependencies,
        warnings,
        create_time: Some(timestamp(row.created_ms)),
    })
}

/// A deployment.
pub(super) fn deployment(
    name: &DeploymentName,
    row: &DeploymentRow,
) -> Result<pb::CodeDeployment, CodeError> {
    let settings = settings(row)?;
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok(pb::CodeDeployment {
        name: name.to_string(),
        revision: format!("{}/revisions/{}", name.code, row.revision),
        limits: Some(pb::CodeLimits {
            wall: Some(duration(settings.limits.wall())),
            cpu: Some(duration(settings.limits.cpu())),
            heap_bytes: size(settings.limits.heap_bytes),
            stack_bytes: size(settings.limits.stack_bytes),
        }),
        http_hosts: settings.http_hosts,
        instance: settings.instance,
        create_time: Some(timestamp(row.created_ms)),
        update_time: Some(timestamp(row.updated_ms)),
        last_use_time: row.used_ms.map(timestamp),
    })
}

/// How a deployment runs.
pub(super) fn settings(row: &DeploymentRow) -> Result<Settings, CodeError> {
    stored(&row.settings)
}

fn stored<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, CodeError> {
    serde_json::from_str(json).map_err(|error| CodeError::Failed(format!("a stored row: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_bounded_and_default() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        assert_eq!(limits(Limits::DEFAULT, None).unwrap(), Limits::DEFAULT);
        let all = pb::CodeLimits {
            wall: seconds(60),
            cpu: seconds(30),
            heap_bytes: 256 << 20,
            stack_bytes: 1 << 20,
        };
        assert_eq!(limits(Limits::DEFAULT, Some(&all)).unwrap(), Limits::MAX);
        for beyond in [
            pb::CodeLimits { wall: seconds(61), ..all },
            pb::CodeLimits { cpu: seconds(31), ..all },
            pb::CodeLimits { cpu: seconds(-1), ..all },
            pb::CodeLimits { heap_bytes: (256 << 20) + 1, ..all },
            pb::CodeLimits { heap_bytes: -1, ..all },
            pb::CodeLimits { stack_bytes: 1, ..all },
        ] {
            assert!(limits(Limits::DEFAULT, Some(&beyond)).is_err(), "{beyond:?}");
        }
    }

    #[test]
    fn arguments_are_an_object() {
        assert_eq!(arguments(&Bytes::new()).unwrap(), "{}");
        assert_eq!(arguments(&Bytes::from_static(b"{\"a\":1}")).unwrap(), "{\"a\":1}");
        for wrong in ["[]", "1", "{", "\"x\"", "{}x"] {
            assert!(arguments(&Bytes::from(wrong)).is_err(), "{wrong}");
        }
        assert!(arguments(&Bytes::from_static(b"\xff")).is_err());
    }
}

//! Await: waits for jobs that Async started.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, Flow, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use crate::context::{Call, Component, JobStatus, JobView};
use crate::outcome::one;
use crate::settings;

static SPEC: ComponentSpec = ComponentSpec::new("Await", "Waits for jobs and gives their answers")
    .effect(Effect::Read)
    .flow(Flow::Await)
    .waits()
    .settings(&[
        SettingSpec::integer("jobs_count", "Jobs Count", 1.0, 100.0)
            .default("1")
            .describe("ends when so many jobs ended"),
        SettingSpec::integer("max_time", "Maximum Time", 1.0, 21_600.0)
            .default("1")
            .describe("seconds to wait at most"),
    ])
    .inputs(&[PortSpec::new("Jobs", "Any", "a job id, or a list of them")])
    .outputs(&[PortSpec::new("Results", "Object", "status and output of each job, by its id")])
    .scopes(&["sre.memory.v1.RuntimeContext"]);

/// The type.
pub struct Await;

impl Component for Await {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let ids = call.get("Jobs").map_or_else(Vec::new, ids);
            if ids.is_empty() {
                return one("Results", Map::new());
            }
            let count = settings::number(call, "jobs_count").map_or(1, whole);
            let max = Duration::from_secs(settings::number(call, "max_time").map_or(1, whole) as u64);
            match call.context.await_jobs(&ids, count, max).await {
                Ok(jobs) => one("Results", results(jobs)),
                Err(error) => Outcome::error(error.message),
            }
        }
        .boxed()
    }
}

/// The ids in the order given, each once.
fn ids(jobs: &Value) -> Vec<String> {
    let mut ids: Vec<String> = match jobs {
        Value::Array(items) => items.iter().filter(|item| item.truthy()).map(Value::to_text).collect(),
        value if value.truthy() => vec![value.to_text()],
        _ => Vec::new(),
    };
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    ids
}

fn results(jobs: Vec<JobView>) -> Map {
    let view = |job: JobView| {
        let output = job.output.filter(|_| job.status == JobStatus::Done);
        let members = output.map(|output| ("output".into(), output));
        let status = ("status".into(), Value::from(job.status.word()));
        (job.id.into(), Value::object(members.into_iter().chain([status]).collect()))
    };
    jobs.into_iter().map(view).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "validated to be small and positive"
)]
fn whole(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_id_or_several() {
        assert_eq!(ids(&Value::from("a")), ["a"]);
        assert_eq!(ids(&Value::from(json!(["a", "", "b", "a"]))), ["a", "b"]);
        assert!(ids(&Value::from(json!([]))).is_empty());
    }

    #[test]
    fn only_what_is_done_has_an_output() {
        let job = |id: &str, status| JobView { id: id.into(), status, output: Some(Value::from(1)) };
        let map = results(vec![
            job("d", JobStatus::Done),
            job("p", JobStatus::Pending),
            job("u", JobStatus::Unknown),
        ]);
        let expected = json!({
            "d": {"output": 1, "status": "done"}, "p": {"status": "pending"}, "u": {"status": "unknown_job"},
        });
        assert_eq!(Value::object(map).to_json_text(), expected.to_string());
    }
}

//! What a run's components did, page by page: the finished records of its journal as people may read them.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures::TryStreamExt as _;
use prost::Message as _;
use sre_components::Registry;
use sre_engine::{ActivationKey, Effect, Types as _, Value};
use sre_proto::error::invalid_argument;
use sre_proto::gateway::v1::{ListStepsRequest, ListStepsResponse, Step};
use sre_proto::memory::v1::{JournalRecord, RecordKind, RunRecord};
use tonic::Status;

use super::core::{Engine, internal, timestamp};
use super::journal::records::{Finished, RecordError, Spec};
use super::journal::values::StoredValue;
use super::redact::Redactor;
use super::watch;

const USUAL_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;
/// Outputs of one page, so that it fits a message.
const PAGE_BYTES: usize = 3 << 20;

/// Lists the steps of a run. The page token is the sequence of the last step's record.
pub async fn list(
    engine: &Engine,
    run: &RunRecord,
    request: &ListStepsRequest,
) -> Result<ListStepsResponse, Status> {
    let limit = page_size(request.page_size)?;
    let mut after = place(&request.page_token)?;
    let redactor = redactor_of(run)?;
    let mut answer = ListStepsResponse::default();
    let mut bytes = 0;
    let mut pages = engine.journal.pages(&run.run_id, after).await?;
    while let Some(page) = pages.try_next().await? {
        for record in page.records {
            if record.kind() != RecordKind::Finished {
                continue;
            }
            if answer.steps.len() == limit || bytes > PAGE_BYTES {
                answer.next_page_token = after.to_string();
                return Ok(answer);
            }
            let record = engine.journal.whole(&run.run_id, record).await?;
            let sequence = record.sequence;
            let step = of_record(&run.run_id, &record, &redactor, engine.registry);
            if let Some(step) = step.map_err(|error| internal("a record of a run cannot be read", &error))? {
                bytes += step.output_json.len();
                answer.steps.push(step);
            }
            after = sequence;
        }
    }
    Ok(answer)
}

/// The redactor that knows this run's markers.
pub fn redactor_of(run: &RunRecord) -> Result<Redactor, Status> {
    let spec = Spec::decode(run.spec.clone());
    Ok(Redactor::new(spec.map_err(|error| internal("a stored run does not decode", &error))?.marker))
}

/// The moment a component was started, as records hold it.
pub fn started(started_ms: u64) -> Option<prost_types::Timestamp> {
    (started_ms > 0).then(|| timestamp(UNIX_EPOCH + Duration::from_millis(started_ms)))
}

/// The message of a failed output.
pub fn error_of(output: &Value) -> Option<String> {
    let found = ["error", "_error"].iter().filter_map(|key| output.get(key));
    found.into_iter().find(|error| error.truthy()).map(Value::to_text)
}

/// The step that a finished record tells of; none where only a component's inputs were resolved.
fn of_record(
    run_id: &str,
    record: &JournalRecord,
    redactor: &Redactor,
    registry: &Registry,
) -> Result<Option<Step>, RecordError> {
    let finished = Finished::decode(record.body.clone())?;
    if finished.resolved.is_some() {
        return Ok(None);
    }
    let key: ActivationKey = record.step.parse()?;
    let output = finished.output.as_ref().map(StoredValue::value).transpose()?;
    let output = output.map(|output| watch::presentable(redactor, &output));
    let is_effect = !finished.settled
        && registry.lookup(&finished.component_type).is_none_or(|entry| entry.spec.effect == Effect::Effect);
    let idempotency_key = match is_effect {
        true if finished.effect_key.is_empty() => key.idempotency_key(run_id),
        true => finished.effect_key,
        false => String::new(),
    };
    Ok(Some(Step {
        component: Arc::clone(&key.component).to_string(),
        activation: record.step.clone(),
        r#type: finished.component_type,
        error: output.as_ref().and_then(error_of).unwrap_or_default(),
        output_json: output.map(|output| output.to_json_text().into()).unwrap_or_default(),
        start_time: started(finished.started_ms),
        end_time: record.time,
        idempotency_key,
        sequence: record.sequence,
    }))
}

fn page_size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(USUAL_PAGE),
        Ok(size) => Ok(size.min(LARGEST_PAGE)),
        Err(_) => Err(invalid_argument("page_size", "it cannot be negative")),
    }
}

fn place(token: &str) -> Result<i64, Status> {
    if token.is_empty() {
        return Ok(0);
    }
    let place = token.parse().ok().filter(|place: &i64| *place >= 0);
    place.ok_or_else(|| invalid_argument("page_token", "it is not one that an earlier answer gave"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::journal::records::record;
    use sre_engine::Outcome;

    fn step(finished: &Finished) -> Option<Step> {
        let key: ActivationKey = "LOOP:2/A@7".parse().unwrap();
        let record = JournalRecord { sequence: 9, ..record(RecordKind::Finished, Some(&key), finished) };
        of_record("00-r", &record, &Redactor::new("n"), sre_components::registry()).unwrap()
    }

    #[test]
    fn a_step_tells_what_ran_without_its_secrets() {
        let mut redactor = Redactor::new("n");
        redactor.learn("api", "supersecret");
        let outcome = Outcome::error("cannot use supersecret");
        let mut finished = Finished::of(&outcome, "APICall", &redactor).unwrap();
        finished.started_ms = 1_500;
        let told = step(&finished).unwrap();
        assert_eq!((told.component.as_str(), told.activation.as_str()), ("A", "LOOP:2/A@7"));
        assert_eq!((told.error.as_str(), told.sequence), ("cannot use {{KEY(api)}}", 9));
        assert_eq!(told.start_time, Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }));
        let key: ActivationKey = "LOOP:2/A@7".parse().unwrap();
        assert_eq!(told.idempotency_key, key.idempotency_key("00-r"));
        finished.effect_key = "of the origin".into();
        assert_eq!(step(&finished).unwrap().idempotency_key, "of the origin");
    }

    #[test]
    fn pure_components_have_no_key_and_resolved_inputs_are_no_step() {
        let redactor = Redactor::new("n");
        let outcome = Outcome::raw(Value::from(1));
        let hash = Finished::of(&outcome, "FHash", &redactor).unwrap();
        assert_eq!(step(&hash).unwrap().idempotency_key, "");
        assert_eq!(step(&hash).unwrap().start_time, None);
        let resolved = Finished::resolved(&[Ok(Value::from(1))], &redactor).unwrap();
        assert!(step(&resolved).is_none());
    }

    #[test]
    fn pages_are_bounded_and_tokens_checked() {
        assert_eq!((page_size(0).unwrap(), page_size(5_000).unwrap()), (100, 1_000));
        assert!(page_size(-1).is_err());
        assert_eq!((place("").unwrap(), place("7").unwrap()), (0, 7));
        assert!(place("x").is_err());
        assert!(place("-7").is_err());
    }
}

//! Whether its own examples end as they say.

use serde_json::Value as Json;
use sre_components::external::answer;
use sre_proto::component::v1::{Example, FailureKind};

use super::report::{Checked, Report};
use super::stream::Last;
use super::{Kit, Subject};

const LARGEST_ANSWER: usize = 64 << 20;

pub(super) async fn run(kit: &Kit, subject: &Subject, report: &mut Report) {
    let all = async {
        for example in &subject.description.examples {
            one(kit, subject, example).await.map_err(|why| format!("{:?}: {why}", example.name))?;
        }
        Ok(())
    };
    report.check("examples end as they say", all).await;
}

async fn one(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    let seen = kit.process(kit.activation(subject, example)).await;
    match (seen.well_ended()?, example.failure()) {
        (Last::Answer(answer), FailureKind::Unspecified) => {
            let outputs = outputs(subject, &answer.outputs_json)?;
            let expected: Option<Json> = serde_json::from_slice(&example.outputs_json).ok();
            match expected {
                Some(expected) if expected != outputs => {
                    Err(format!("it answered {outputs}, not {expected}"))
                }
                _ => Ok(()),
            }
        }
        (Last::Answer(_), wanted) => {
            Err(format!("it answered, and says that it fails with {}", wanted.as_str_name()))
        }
        (Last::Failure(failure), wanted)
            if failure.kind() == wanted && wanted != FailureKind::Unspecified =>
        {
            match failure.message.trim().is_empty() {
                true => Err("the failure has no message: users read it as `_error`".to_owned()),
                false => Ok(()),
            }
        }
        (Last::Failure(failure), _) => {
            Err(format!("it failed with {}: {:?}", failure.kind().as_str_name(), failure.message))
        }
    }
}

/// The outputs of an answer, held to what the type declares.
pub(super) fn outputs(subject: &Subject, outputs_json: &[u8]) -> Result<Json, String> {
    Ok(Json::Object(answer::read(subject.declared, outputs_json, LARGEST_ANSWER)?.json().clone()))
}

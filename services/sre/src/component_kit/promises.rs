//! Whether it keeps what it says of itself: its effect, its keys, its memory.

use serde_json::Value as Json;
use sre_proto::component::v1::look_up_response::Found;
use sre_proto::component::v1::{Activation, Effect, Example, LookUpRequest};
use sre_service::connectors::grpc::with_causes;
use tokio::time::timeout;

use super::report::{Checked, Report};
use super::{Kit, PATIENCE, Subject, examples};

/// How often a pure type is asked the same.
const TIMES: usize = 5;

pub(super) async fn run(kit: &Kit, subject: &Subject, report: &mut Report) {
    let Some(example) = subject.example() else { return };
    match subject.description.effect() {
        Effect::Pure => {
            report
                .check("EFFECT_PURE: the same inputs give the same outputs", pure(kit, subject, example))
                .await;
        }
        other => report.skip(
            "EFFECT_PURE: the same inputs give the same outputs",
            format!("it declares {}", other.as_str_name()),
        ),
    }
    match subject.description.idempotent {
        true => {
            report.check("idempotent: a repeat is known by its key", repeated(kit, subject, example)).await;
        }
        false => report.skip("idempotent: a repeat is known by its key", "it does not declare that"),
    }
    match subject.description.can_look_up {
        true => {
            report.check("LookUp knows what happened", looked_up(kit, subject, example)).await;
        }
        false => report.skip("LookUp knows what happened", "it does not declare that it can"),
    }
}

async fn outputs_of(kit: &Kit, subject: &Subject, activation: Activation) -> Result<Json, String> {
    let key = activation.idempotency_key.clone();
    let seen = kit.process(activation).await;
    let answer = seen.answer()?;
    if subject.description.idempotent && answer.idempotency_key != key {
        return Err(format!(
            "the answer has the idempotency key {:?}, and the activation had {key:?}: echo it",
            answer.idempotency_key
        ));
    }
    examples::outputs(subject, &answer.outputs_json)
}

async fn pure(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    let first = outputs_of(kit, subject, kit.activation(subject, example)).await?;
    for _ in 1..TIMES {
        let next = outputs_of(kit, subject, kit.activation(subject, example)).await?;
        if next != first {
            return Err(format!(
                "{:?} gave {first} and then {next}: declare EFFECT_READ if it may differ",
                example.name
            ));
        }
    }
    Ok(())
}

async fn repeated(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    let activation = kit.activation(subject, example);
    let first = outputs_of(kit, subject, activation.clone()).await?;
    let again = outputs_of(kit, subject, Activation { attempt: 2, ..activation }).await?;
    match first == again {
        true => Ok(()),
        false => Err(format!("the same key gave {first} and then {again}")),
    }
}

async fn looked_up(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    let activation = kit.activation(subject, example);
    match look_up(kit, &activation).await? {
        Some(Found::Happened(_)) => return Err("it says that what was never begun has happened".to_owned()),
        Some(Found::NotHappened(_) | Found::Unknown(_)) => {}
        None => return Err("it says nothing: answer happened, not_happened or unknown".to_owned()),
    }
    let first = outputs_of(kit, subject, activation.clone()).await?;
    match look_up(kit, &activation).await? {
        Some(Found::Happened(answer)) => {
            let found = examples::outputs(subject, &answer.outputs_json)?;
            match found == first {
                true => Ok(()),
                false => Err(format!("it gave {first}, and looked up {found}")),
            }
        }
        _ => Err("it does not say that what was answered has happened".to_owned()),
    }
}

async fn look_up(kit: &Kit, activation: &Activation) -> Result<Option<Found>, String> {
    let request = LookUpRequest { activation: Some(activation.clone()) };
    match timeout(PATIENCE, kit.client().look_up(request)).await {
        Err(_) => Err(format!("LookUp does not answer within {PATIENCE:?}")),
        Ok(Err(status)) => Err(format!("LookUp failed with {:?}: {}", status.code(), with_causes(&status))),
        Ok(Ok(answer)) => Ok(answer.into_inner().found),
    }
}

//! What it does with what it does not expect: nothing of this may bring it down.

use serde_json::{Map, Value as Json, json};
use sre_proto::component::v1::process_request::Message as Sent;
use sre_proto::component::v1::{Activation, Cancel, Example};

use super::report::{Checked, Report};
use super::stream::{End, Last, Seen};
use super::{Kit, PATIENCE, Subject, examples};

/// What large means where the type does not say.
const LARGE: usize = 1 << 20;
/// What is left for the rest of the inputs and settings.
const ROOM: usize = 4 << 10;

pub(super) async fn run(kit: &Kit, subject: &Subject, report: &mut Report) {
    let Some(example) = subject.example() else { return };
    report.check("bad inputs give a failure", bad(kit, subject, example)).await;
    report.check("missing inputs give a failure", missing(kit, subject, example)).await;
    report.check("settings of no meaning do no harm", settings(kit, subject, example)).await;
    report.check("a setting that it does not know is passed over", unknown(kit, subject, example)).await;
    match padded(subject, example) {
        Some(large) => {
            report.check("large inputs do no harm", harmless(kit, subject, example, large)).await;
        }
        None => report.skip("large inputs do no harm", "no input takes text"),
    }
    report.check("a stream that does not begin with an activation ends", no_activation(kit)).await;
}

/// What is no JSON object cannot be answered.
async fn bad(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    for inputs in ["{", "[1]", "\"text\"", "null", "\u{0}"] {
        let activation = Activation { inputs_json: inputs.into(), ..kit.activation(subject, example) };
        let seen = kit.process(activation).await;
        let told = |why| format!("inputs_json {inputs:?}: {why}");
        failure(&seen).map_err(told)?;
        works(kit, subject, example).await.map_err(told)?;
    }
    // Members that are something else than the type expects: whether that is wrong is for the component to say.
    for odd in
        [json!(null), json!(-1e300), json!([[[]]]), json!({"a": {}}), json!(true), json!("\u{fffd}\u{202e}")]
    {
        let names = subject.description.inputs.iter().map(|port| port.name.clone());
        let inputs: Map<String, Json> = names.map(|name| (name, odd.clone())).collect();
        let activation = Activation {
            inputs_json: Json::Object(inputs).to_string().into(),
            ..kit.activation(subject, example)
        };
        harmless(kit, subject, example, activation)
            .await
            .map_err(|why| format!("every input {odd}: {why}"))?;
    }
    Ok(())
}

async fn missing(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    let activation = Activation { inputs_json: "{}".into(), ..kit.activation(subject, example) };
    let seen = kit.process(activation).await;
    match subject.description.inputs.iter().find(|port| !port.optional) {
        Some(port) => failure(&seen).map_err(|why| format!("without the input {:?}: {why}", port.name))?,
        None => {
            seen.well_ended()?;
        }
    }
    works(kit, subject, example).await
}

async fn settings(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    for odd in [json!({"unexpected": [1, 2]}), json!(""), json!(-1)] {
        let names = subject.description.settings.iter().map(|setting| setting.name.clone());
        let settings: Map<String, Json> = names.map(|name| (name, odd.clone())).collect();
        let activation = Activation {
            settings_json: Json::Object(settings).to_string().into(),
            ..kit.activation(subject, example)
        };
        harmless(kit, subject, example, activation)
            .await
            .map_err(|why| format!("every setting {odd}: {why}"))?;
    }
    let activation = Activation { settings_json: "]".into(), ..kit.activation(subject, example) };
    harmless(kit, subject, example, activation).await.map_err(|why| format!("settings_json \"]\": {why}"))
}

async fn unknown(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    let mut activation = kit.activation(subject, example);
    let mut settings: Map<String, Json> =
        serde_json::from_slice(&activation.settings_json).unwrap_or_default();
    settings.insert("settingOfALaterVersion".to_owned(), json!({"any": "thing"}));
    activation.settings_json = Json::Object(settings).to_string().into();
    kit.process(activation).await.answer().map(drop)
}

/// The example with its first text made as long as the type says it may be.
fn padded(subject: &Subject, example: &Example) -> Option<Activation> {
    let mut inputs: Map<String, Json> = serde_json::from_slice(&example.inputs_json).ok()?;
    let name = inputs.iter().find(|(_, value)| value.is_string()).map(|(name, _)| name.clone())?;
    let size = subject.declared.bounds.input_bytes.unwrap_or(LARGE).min(8 << 20);
    let room = size.saturating_sub(example.inputs_json.len() + example.settings_json.len() + ROOM);
    inputs.insert(name, Json::String("large ".repeat(room / 6)));
    Some(Activation { inputs_json: Json::Object(inputs).to_string().into(), ..Activation::default() })
}

/// Whatever comes of it is an answer or a failure, and the example works as before.
async fn harmless(kit: &Kit, subject: &Subject, example: &Example, odd: Activation) -> Checked {
    let usual = kit.activation(subject, example);
    let inputs_json = if odd.inputs_json.is_empty() { usual.inputs_json } else { odd.inputs_json };
    let settings_json = if odd.settings_json.is_empty() { usual.settings_json } else { odd.settings_json };
    let usual = kit.activation(subject, example);
    let seen = kit.process(Activation { inputs_json, settings_json, ..usual }).await;
    seen.well_ended()?;
    works(kit, subject, example).await
}

async fn no_activation(kit: &Kit) -> Checked {
    let cancel = Sent::Cancel(Cancel { reason: "out of order".to_owned() });
    for (what, messages) in [("with a Cancel", vec![cancel]), ("without any message", Vec::new())] {
        let seen = kit.stream(messages, PATIENCE).await;
        if matches!(seen.end, End::Open) {
            return Err(format!("a stream {what} is still open after {PATIENCE:?}"));
        }
        if matches!(seen.last, Some(Last::Answer(_))) {
            return Err(format!("a stream {what} was answered"));
        }
    }
    Ok(())
}

fn failure(seen: &Seen) -> Checked {
    match seen.well_ended()? {
        Last::Failure(failure) if failure.message.trim().is_empty() => {
            Err("the failure has no message".to_owned())
        }
        Last::Failure(_) => Ok(()),
        Last::Answer(answer) => {
            Err(format!("it was answered with {:?}", String::from_utf8_lossy(&answer.outputs_json)))
        }
    }
}

/// The example, as a sign of life.
pub(super) async fn works(kit: &Kit, subject: &Subject, example: &Example) -> Checked {
    let seen = kit.process(kit.activation(subject, example)).await;
    let answer = seen
        .answer()
        .map_err(|why| format!("after that the example {:?} no longer works: {why}", example.name))?;
    examples::outputs(subject, &answer.outputs_json).map(drop)
}

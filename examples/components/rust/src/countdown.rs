//! The component itself: counts down and says so, until it is done or told to stop.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::contract::{Description, Effect, Example, FailureKind, Limits, Port, Setting};
use crate::service::{Failed, Work};

const MOST_STEPS: i64 = 1_000;
const LONGEST_MS: i64 = 10_000;

/// What the type says about itself.
pub fn description() -> Description {
    let text = |value: Value| value.to_string().into();
    Description {
        r#type: "Samples.Countdown".to_owned(),
        version: "1.0.0".to_owned(),
        description: "Counts down in steps and says each of them".to_owned(),
        effect: Effect::Read.into(),
        settings: vec![Setting {
            name: "intervalMs".to_owned(),
            label: "Milliseconds between steps".to_owned(),
            description: "how long it waits after each step".to_owned(),
            schema_json: text(json!({"type": "integer", "minimum": 0, "maximum": LONGEST_MS})),
            default_json: text(json!(100)),
            ..Setting::default()
        }],
        inputs: vec![Port {
            name: "From".to_owned(),
            r#type: "Integer".to_owned(),
            description: "where it begins".to_owned(),
            schema_json: text(json!({"type": "integer", "minimum": 1, "maximum": MOST_STEPS})),
            ..Port::default()
        }],
        outputs: vec![
            port("Steps", "Integer", "how many steps it took"),
            port("Seconds", "Number", "how long it took"),
        ],
        limits: Some(Limits { max_input_bytes: 4 << 10, ..Limits::default() }),
        examples: vec![
            Example {
                name: "three steps".to_owned(),
                inputs_json: text(json!({"From": 3})),
                settings_json: text(json!({"intervalMs": 10})),
                ..Example::default()
            },
            Example {
                name: "from nothing".to_owned(),
                inputs_json: text(json!({"From": 0})),
                failure: FailureKind::InvalidInput.into(),
                ..Example::default()
            },
        ],
        ..Description::default()
    }
}

fn port(name: &str, kind: &str, description: &str) -> Port {
    Port {
        name: name.to_owned(),
        r#type: kind.to_owned(),
        description: description.to_owned(),
        ..Port::default()
    }
}

/// Executes one activation.
///
/// # Errors
/// If inputs or settings make no sense, or nobody waits for the answer any more.
pub async fn process(inputs: Value, settings: Value, work: &Work) -> Result<Value, Failed> {
    let from = inputs.get("From").and_then(Value::as_i64).filter(|from| (1..=MOST_STEPS).contains(from));
    let Some(from) = from else {
        let message = format!("From is no whole number from 1 to {MOST_STEPS}");
        return Err(Failed::new(FailureKind::InvalidInput, message));
    };
    let interval = match settings.get("intervalMs") {
        None => Some(100),
        Some(value) => value.as_i64().filter(|interval| (0..=LONGEST_MS).contains(interval)),
    };
    let Some(interval) = interval.and_then(|interval| u64::try_from(interval).ok()) else {
        let message = format!("intervalMs is no whole number from 0 to {LONGEST_MS}");
        return Err(Failed::new(FailureKind::InvalidSetting, message));
    };
    let began = Instant::now();
    for left in (1..=from).rev() {
        work.progress((from - left) as f64 / from as f64, &format!("{left} to go")).await;
        work.content(&format!("{left} ")).await;
        work.sleep(Duration::from_millis(interval)).await?;
    }
    Ok(json!({"Steps": from, "Seconds": began.elapsed().as_secs_f64()}))
}

//! FSleep: passes its input on after a while.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use crate::context::{Call, Component};

/// The longest sleep: a run's authority does not last longer.
const MAX_SECONDS: u64 = 30 * 24 * 3600;

static SPEC: ComponentSpec = ComponentSpec::new("FSleep", "Passes its input on after some seconds")
    .effect(Effect::Read)
    .waits()
    .settings(&[SettingSpec::any("delay", "Delay").default("1").describe("whole seconds, at most 30 days")])
    .inputs(&[PortSpec::new("Input", "Any", "what to pass on")])
    .outputs(&[PortSpec::new("Output", "Any", "the input")])
    .unchecked();

/// The type.
pub struct FSleep;

impl Component for FSleep {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let seconds = delay_seconds(call.node.setting("delay"));
            if seconds > MAX_SECONDS {
                return Outcome::error(format!(
                    "a delay of {seconds} s is longer than the {MAX_SECONDS} s a run may sleep: use a schedule"
                ));
            }
            if seconds > 0 {
                call.context.sleep(Duration::from_secs(seconds)).await;
            }
            if call.context.cancelled().is_cancelled() {
                return Outcome::error("Agent killed");
            }
            let input = call.get("Input").cloned().map(|input| ("Output".into(), input));
            Outcome::output(Map::from_iter(input))
        }
        .boxed()
    }
}

/// Leading integer of the setting; 1 where it is missing, none for text that is no number.
fn delay_seconds(setting: Option<&Value>) -> u64 {
    match setting {
        None | Some(Value::Null) => 1,
        Some(Value::Number(number)) => match number.as_f64() {
            Some(number) if number != 0.0 => whole(number),
            _ => 1,
        },
        Some(Value::String(text)) if text.is_empty() => 1,
        Some(Value::String(text)) => {
            let text = text.trim();
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            match text[..digits].parse() {
                Ok(seconds) => seconds,
                // So many digits that they do not fit; refused above.
                Err(_) if digits > 0 => u64::MAX,
                Err(_) => 0,
            }
        }
        Some(_) => 0,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates, as wanted")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn delays_are_read_as_the_reference_reads_them() {
        for (setting, seconds) in [
            (json!(0), 1),
            (json!("0"), 0),
            (json!("abc"), 0),
            (json!("1.9"), 1),
            (json!(3), 3),
            (json!("10"), 10),
            (json!(null), 1),
            (json!(-5), 0),
        ] {
            assert_eq!(delay_seconds(Some(&Value::from(setting.clone()))), seconds, "{setting}");
        }
        assert_eq!(delay_seconds(None), 1);
    }
}

//! FEncDec: text to an encoding of its bytes, and back.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;

use super::hash::check_encoding;
use super::received;
use crate::context::{Call, Component};
use crate::encoding::Encoding;
use crate::outcome::one;
use crate::settings;

static SPEC: ComponentSpec = ComponentSpec::new("FEncDec", "Encodes text, or decodes it")
    .effect(Effect::Pure)
    .settings(&[
        SettingSpec::any("action", "Action")
            .default("Encode")
            .describe("`Encode`, or anything else to decode"),
        SettingSpec::any("encoding", "Encoding")
            .check(|value| if value.truthy() { check_encoding("Encoding", value) } else { Ok(()) })
            .default("utf8")
            .describe("the encoding of the encoded text"),
    ])
    .inputs(&[PortSpec::new("Data", "Any", "text, or bytes as a list of numbers")])
    .outputs(&[PortSpec::new("Output", "Text", "the text in the other form")]);

/// The type.
pub struct FEncDec;

impl Component for FEncDec {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        std::future::ready(convert(call)).boxed()
    }
}

fn convert(call: Call<'_>) -> Outcome {
    let encoding = Encoding::parse(&settings::text(call, "encoding")).unwrap_or(Encoding::Utf8);
    let action = settings::text(call, "action");
    // The encoding that the text comes in, and the one it goes out in.
    let (from, to) = match action.as_str() {
        "" | "Encode" => (Encoding::Utf8, encoding),
        _ => (encoding, Encoding::Utf8),
    };
    let bytes = match call.get("Data") {
        Some(Value::String(text)) => from.bytes_of(text),
        Some(Value::Array(items)) => items.iter().map(byte).collect(),
        Some(Value::Binary(binary)) => binary.data.to_vec(),
        other => {
            return Outcome::error(format!(
                "The first argument must be of type string or an instance of Buffer, ArrayBuffer, or Array \
                 or an Array-like Object. Received {}",
                received(other)
            ));
        }
    };
    one("Output", to.text_of(&bytes))
}

/// A list's item as a byte: the low eight bits of its number, 0 for what is none.
fn byte(item: &Value) -> u8 {
    let number = item.to_f64_lenient().or(item.as_bool().map(f64::from)).unwrap_or(0.0);
    // Truncation and wrapping are what is wanted.
    #[expect(clippy::cast_possible_truncation, reason = "the modulus leaves a byte")]
    let low = number.trunc().rem_euclid(256.0) as u16;
    low.to_le_bytes()[0]
}

//! FHash: the digest of text or bytes.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;

use super::not_data;
use crate::context::{Call, Component};
use crate::digest::{self, Algorithm};
use crate::encoding::{self, Encoding};
use crate::outcome::one;
use crate::{canonical, settings};

static SPEC: ComponentSpec =
    ComponentSpec::new("FHash", "Digest of text, bytes, or an object's canonical JSON")
        .effect(Effect::Pure)
        .settings(&[
            SettingSpec::any("algorithm", "Algorithm")
                .required()
                .check(|value| check_algorithm("Algorithm", value))
                .default("md5")
                .describe("the digest algorithm"),
            SettingSpec::any("encoding", "Encoding")
                .check(|value| if value.truthy() { check_encoding("Encoding", value) } else { Ok(()) })
                .default("hex")
                .describe("how the digest is written"),
        ])
        .inputs(&[PortSpec::new("Data", "Any", "what to digest")])
        .outputs(&[PortSpec::new("Hash", "Text", "the digest")]);

/// Refuses a name that is no digest.
pub(crate) fn check_algorithm(label: &str, value: &Value) -> Result<(), String> {
    listed(label, value, digest::NAMES, |name| Algorithm::parse(name).is_some())
}

/// Refuses a name that is no encoding.
pub(crate) fn check_encoding(label: &str, value: &Value) -> Result<(), String> {
    listed(label, value, encoding::NAMES, |name| Encoding::parse(name).is_some())
}

fn listed(label: &str, value: &Value, names: &[&str], known: impl Fn(&str) -> bool) -> Result<(), String> {
    if value.as_str().is_some_and(known) {
        return Ok(());
    }
    Err(format!("\"{label}\" must be one of [{}]", names.join(", ")))
}

/// The type.
pub struct FHash;

impl Component for FHash {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        std::future::ready(hash(call)).boxed()
    }
}

fn hash(call: Call<'_>) -> Outcome {
    // Validation has refused unknown names; what is left to default is the encoding.
    let algorithm = settings::text(call, "algorithm");
    let Some(algorithm) = Algorithm::parse(&algorithm) else {
        return Outcome::error("Digest method not supported");
    };
    let encoding = Encoding::parse(&settings::text(call, "encoding")).unwrap_or(Encoding::Hex);
    let digest = match call.get("Data") {
        Some(Value::String(text)) => algorithm.digest(text.as_bytes()),
        Some(Value::Binary(binary)) => algorithm.digest(&binary.data),
        Some(object @ Value::Object(_)) => algorithm.digest(canonical::text(object).as_bytes()),
        other => return Outcome::error(not_data(other)),
    };
    one("Hash", encoding.text_of(&digest))
}

//! Anthropic, Gemini at Google AI and Vertex AI, and Bedrock, against a server that speaks their wire formats.

mod golden;
mod parameters;

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::json;
use sre_fake_provider::FakeProvider;
use sre_fake_provider::wires::Wire as Format;

use super::openai_tests::{Column, column};
use super::{Answers, Call, Provider, Providers};
use crate::inference::Key;
use crate::inference::settings::InferenceSettings;

pub const COLUMNS: [Column; 6] = [
    column("anthropic", r#"{"modelId":"claude-sonnet-4-5","provider":"Anthropic"}"#, "/v1", Format::Messages),
    column(
        "anthropic-adaptive",
        r#"{"modelId":"claude-opus-4-7","provider":"Anthropic"}"#,
        "/v1",
        Format::Messages,
    ),
    column(
        "google",
        r#"{"modelId":"gemini-3-pro-preview","provider":"GoogleAI"}"#,
        "/v1beta",
        Format::Gemini,
    ),
    column(
        "vertex",
        r#"{"modelId":"gemini-2.5-flash","provider":"VertexAI","settings":{"projectId":"fake"}}"#,
        "",
        Format::Gemini,
    ),
    column(
        "vertex-claude",
        r#"{"modelId":"claude-sonnet-4-5@20250929","provider":"VertexAI","settings":{"projectId":"fake"}}"#,
        "",
        Format::Messages,
    ),
    column(
        "bedrock",
        r#"{"modelId":"anthropic.claude-sonnet-4-5-20250929-v1:0","provider":"Bedrock"}"#,
        "",
        Format::Converse,
    ),
];

fn providers(silence: Duration) -> Providers {
    let settings = InferenceSettings { repeats: 0, silence_timeout: silence, ..InferenceSettings::default() };
    Providers::new(&settings, std::iter::empty()).unwrap()
}

/// Waits for a busy machine, and never repeats.
fn patient() -> &'static Providers {
    static PATIENT: LazyLock<Providers> = LazyLock::new(|| providers(Duration::from_secs(60)));
    &PATIENT
}

/// Gives up soon where nothing more comes.
fn hasty() -> &'static Providers {
    static HASTY: LazyLock<Providers> = LazyLock::new(|| providers(Duration::from_millis(300)));
    &HASTY
}

/// Who answers for a column.
fn of<'p>(providers: &'p Providers, call: &Call) -> &'p dyn Provider {
    match providers.find(&call.model.provider) {
        Some(Answers::Other(provider, _)) => provider,
        _ => panic!("{} has a format of its own", call.model.provider),
    }
}

/// The key of a column at a server: as each service wants it.
fn keyed(call: &mut Call, server: &FakeProvider) {
    use sre_fake_provider::sigv4::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN};
    let fields = match call.model.provider.as_str() {
        "Bedrock" => json!({"accessKeyId": ACCESS_KEY_ID, "secretAccessKey": SECRET_ACCESS_KEY,
            "sessionToken": SESSION_TOKEN}),
        "VertexAI" => serde_json::from_str(&server.service_account().unwrap()).unwrap(),
        _ => return,
    };
    let fields = fields.as_object().unwrap().clone();
    let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    call.key = Some(Key::of_fields(fields.into_iter().map(|(name, value)| (name, text(value).into()))));
}

//! Every service that this family of adapters speaks with, against a server that speaks its wire format.

mod defects;
mod fuzz;
pub(super) mod golden;
pub(super) mod parameters;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;
use sre_fake_provider::FakeProvider;
use sre_fake_provider::wires::Wire as Format;
use sre_proto::llm::v1 as pb;

use super::openai::OpenAi;
use super::{Call, Piece, Provider};
use crate::inference::error::InferenceError;
use crate::inference::settings::InferenceSettings;
use crate::models::{Mode, Table};

/// A service, its entry and where the server speaks like it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) entry: &'static str,
    pub(super) path: &'static str,
    pub(super) format: Format,
}

pub(super) const fn column(
    name: &'static str,
    entry: &'static str,
    path: &'static str,
    format: Format,
) -> Column {
    Column { name, entry, path, format }
}

const COLUMNS: [Column; 10] = [
    column("openai", r#"{"modelId":"gpt-4o","provider":"OpenAI"}"#, "/v1", Format::Chat),
    column("deepseek", r#"{"modelId":"deepseek-chat","provider":"DeepSeek"}"#, "/deepseek", Format::Chat),
    column("together", r#"{"modelId":"meta/llama","provider":"TogetherAI"}"#, "/together/v1", Format::Chat),
    column("groq", r#"{"modelId":"llama-3.3-70b","provider":"Groq"}"#, "/groq/openai/v1", Format::Chat),
    column("perplexity", r#"{"modelId":"sonar","provider":"Perplexity"}"#, "/perplexity", Format::Chat),
    column("xai", r#"{"modelId":"grok-4","provider":"xAI"}"#, "/xai/v1", Format::Chat),
    column("compatible", r#"{"modelId":"qwen","provider":"my-vllm"}"#, "/vllm/v1", Format::Chat),
    column(
        "responses",
        r#"{"modelId":"gpt-5","provider":"OpenAI","interface":"responses"}"#,
        "/v1",
        Format::Responses,
    ),
    column(
        "xai-responses",
        r#"{"modelId":"grok-4","provider":"xAI","interface":"responses"}"#,
        "/xai/v1",
        Format::Responses,
    ),
    column("ollama", r#"{"modelId":"llama2:7b","provider":"Ollama"}"#, "/v1", Format::Ollama),
];

const FEATURES: [&str; 6] = ["text", "tools", "image", "document", "reasoning", "search"];

impl Column {
    /// A call of its model; without an address where nothing is sent.
    pub(super) fn call(&self, server: Option<&FakeProvider>) -> Call {
        let mut entry: serde_json::Value = serde_json::from_str(self.entry).unwrap();
        entry["features"] = json!(FEATURES);
        let model = Table::new([("m".to_owned(), entry)].into(), Mode::Replace).resolve("m").unwrap();
        let request = pb::GenerateRequest {
            messages: vec![message(pb::ChatRole::System, "be kind"), message(pb::ChatRole::User, "hi there")],
            ..Default::default()
        };
        let base_url = server.map(|server| server.url(self.path).parse().unwrap());
        Call { model, request, base_url, key: Some(crate::inference::Key::of("sk-test".into())) }
    }
}

pub(super) fn message(role: pb::ChatRole, text: &str) -> pb::ChatMessage {
    pb::ChatMessage { role: role as i32, text: text.to_owned(), ..Default::default() }
}

pub(super) fn tool(name: &str) -> pb::Tool {
    let schema = br#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;
    pb::Tool { name: name.into(), description: "d".into(), parameters_json: schema.as_slice().into() }
}

/// Waits for a busy machine, and never repeats. One for all tests: making one takes a while, and each test has a
/// server of its own, so that no connection is shared.
fn provider() -> &'static OpenAi {
    static PATIENT: LazyLock<OpenAi> = LazyLock::new(|| provider_that_waits(Duration::from_secs(60)));
    &PATIENT
}

/// Gives up soon where nothing more comes.
fn impatient() -> &'static OpenAi {
    static HASTY: LazyLock<OpenAi> = LazyLock::new(|| provider_that_waits(Duration::from_millis(300)));
    &HASTY
}

fn provider_that_waits(silence: Duration) -> OpenAi {
    let settings = InferenceSettings { repeats: 0, silence_timeout: silence, ..InferenceSettings::default() };
    OpenAi::new(&settings).unwrap()
}

/// The pieces of an answer, and how it ended.
pub(super) async fn streamed(
    provider: &dyn Provider,
    call: &Call,
) -> (Vec<Piece>, Result<pb::GenerateResponse, InferenceError>) {
    let mut pieces = match provider.stream(call.clone()).await {
        Ok(pieces) => pieces,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut seen = Vec::new();
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(Piece::Finished(answer)) => {
                assert!(pieces.next().await.is_none(), "nothing comes after the end");
                return (seen, Ok(*answer));
            }
            Ok(piece) => seen.push(piece),
            Err(error) => {
                assert!(pieces.next().await.is_none(), "nothing comes after an error");
                return (seen, Err(error));
            }
        }
    }
    panic!("a stream without an end: {seen:?}")
}

/// Compares with what was written down; `SRE_GOLDEN=write` writes it down anew.
pub(super) fn compare(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("SRE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = known.lines().zip(text.lines()).find(|(known, now)| known != now);
    assert!(
        known == text,
        "{file} differs, first at {differs:?}: run with SRE_GOLDEN=write where that is meant"
    );
}

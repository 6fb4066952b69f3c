//! `sre models`: the catalogue as the team sees it.

mod import;

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::llm::v1::{ChatMessage, ChatRole, GenerateRequest, GetModelRequest, ListModelsRequest, Model};

use crate::cli::args::{Global, Models};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;

/// Tokens of the answer that `check --call` asks for: some models think before their first word.
const WORD: i64 = 256;

/// Runs `sre models`.
pub async fn run(global: &Global, command: Models) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    match command {
        Models::List { provider, usable } => list(output, &client, &provider, usable).await,
        Models::Get { name } => {
            show(output, &get(&client, &name).await?);
            Ok(())
        }
        Models::Check { name, call } => check(output, &client, &name, call).await,
        Models::Import { file } => import::run(output, &client, file.as_deref()).await,
    }
}

async fn get(client: &Client, name: &str) -> Result<Model> {
    let request = GetModelRequest { name: format!("models/{name}") };
    Ok(client.models().get_model(request).await?.into_inner())
}

async fn list(output: Output, client: &Client, provider: &str, usable: bool) -> Result<()> {
    let answer = client.models().list_models(ListModelsRequest::default()).await?.into_inner();
    let wanted = |model: &&Model| {
        (provider.is_empty() || model.provider.eq_ignore_ascii_case(provider)) && (model.usable || !usable)
    };
    let rows = answer.models.iter().filter(wanted).map(|model| {
        let prices = model.prices.unwrap_or_default();
        vec![
            json!(short(model)),
            json!(model.provider),
            json!(model.context_tokens),
            json!(model.output_tokens),
            dollars(output, model.prices.map(|_| prices.input_micros)),
            dollars(output, model.prices.map(|_| prices.output_micros)),
            json!(if model.team.is_empty() { "" } else { "team" }),
            json!(if model.usable { "yes" } else { model.hint.as_str() }),
        ]
    });
    let columns = ["model", "provider", "window", "answer", "usd/M in", "usd/M out", "of", "usable"];
    output.rows(&columns, rows.collect());
    if !output.is_json() {
        output.note(&format!("catalogue {} version {}", answer.catalogue_digest, answer.catalogue_version));
    }
    Ok(())
}

fn short(model: &Model) -> &str {
    model.name.strip_prefix("models/").unwrap_or(&model.name)
}

/// Millionths as dollars, or as they are for programs.
fn dollars(output: Output, micros: Option<i64>) -> Value {
    match micros {
        None => json!(""),
        Some(micros) if output.is_json() => json!(micros),
        Some(micros) => json!(format!("{}.{:02}", micros / 1_000_000, micros % 1_000_000 / 10_000)),
    }
}

fn show(output: Output, model: &Model) {
    let prices = model.prices.unwrap_or_default();
    let price = |micros: i64| dollars(output, model.prices.map(|_| micros));
    output.record(vec![
        ("model", json!(short(model))),
        ("label", json!(model.display_name)),
        ("provider", json!(model.provider)),
        ("model id", json!(model.model_id)),
        ("of", json!(model.team)),
        ("features", json!(model.features.join(", "))),
        ("tags", json!(model.tags.join(", "))),
        ("window", json!(model.context_tokens)),
        ("answer", json!(model.output_tokens)),
        ("usd/M in", price(prices.input_micros)),
        ("usd/M out", price(prices.output_micros)),
        ("usd/M cached", price(prices.cache_read_micros)),
        ("fallbacks", json!(model.fallbacks.join(", "))),
        ("deployments", json!(model.deployments.join(", "))),
        ("version", json!(model.version)),
        ("usable", json!(model.usable)),
        ("hint", json!(model.hint)),
    ]);
}

async fn check(output: Output, client: &Client, name: &str, call: bool) -> Result<()> {
    let model = get(client, name).await?;
    if !model.usable {
        return Err(Failure::failed(format!("{name} cannot be called: {}", model.hint)));
    }
    if !call {
        output.done(&format!("{name} can be called"));
        return Ok(());
    }
    let message = ChatMessage {
        role: ChatRole::User.into(),
        text: "Answer with the one word: ready".into(),
        ..ChatMessage::default()
    };
    let request = GenerateRequest {
        model: name.to_owned(),
        messages: vec![message],
        max_tokens: Some(WORD),
        no_fallback: true,
        ..GenerateRequest::default()
    };
    let answer = client.inference().generate(request).await?.into_inner();
    let usage = answer.usage.unwrap_or_default();
    output.record(vec![
        ("model", json!(answer.model)),
        ("answer", json!(answer.text.trim())),
        ("attempts", json!(answer.attempts.len())),
        ("input tokens", json!(usage.input_tokens)),
        ("output tokens", json!(usage.output_tokens)),
        ("usd", json!(format!("{:.6}", answer.cost_micros as f64 / 1e6))),
    ]);
    Ok(())
}

//! Models that teams added for themselves: what is allowed, how they are kept, and the catalogue with them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use sre_proto::error::invalid_argument;
use sre_proto::llm::v1 as pb;
use tonic::Status;
use url::Url;

use super::entry::Entry;
use super::table::Table;
use crate::kept::{Document, Kept, Kind, Shelf};

/// Teams whose tables are kept at hand.
const MOST_TEAMS: usize = 1_000;
/// Tokens of a model where its team does not say (llm.md 1.4).
const TOKENS: i64 = 8_192;
const MOST_FEATURES: usize = 32;
const MOST_SETTINGS: usize = 32;
const MOST_TEXT_BYTES: usize = 500;

/// The tables of teams: the catalogue's, with the team's own models over it. A table is made again when either of the
/// two changed, and at no other time (D40).
pub struct TeamTables {
    kept: Kept,
    made: Mutex<HashMap<String, Made>>,
}

struct Made {
    shelf: Shelf,
    base: Arc<Table>,
    table: Arc<Table>,
}

impl TeamTables {
    /// Of models that are kept here.
    pub fn new(kept: Kept) -> Self {
        Self { kept, made: Mutex::default() }
    }

    /// What a team's calls see.
    pub fn of(&self, base: Arc<Table>, team: &str) -> Arc<Table> {
        let shelf = self.kept.shelf(Kind::Model, &holder(team));
        if team.is_empty() || shelf.is_empty() {
            return base;
        }
        let mut made = self.made.lock();
        if let Some(known) = made.get(team)
            && Arc::ptr_eq(&known.shelf, &shelf)
            && Arc::ptr_eq(&known.base, &base)
        {
            return Arc::clone(&known.table);
        }
        let own: BTreeMap<String, Value> = shelf
            .iter()
            .filter_map(|(name, document)| Some((name.clone(), serde_json::from_str(&document.json).ok()?)))
            .collect();
        let table = Arc::new(base.with_team(team, own));
        if made.len() >= MOST_TEAMS {
            made.clear();
        }
        made.insert(team.to_owned(), Made { shelf, base, table: Arc::clone(&table) });
        table
    }
}

/// A team as documents name their holder.
pub fn holder(team: &str) -> String {
    format!("teams/{team}")
}

fn wrong(field: &str, words: impl Into<String>) -> Status {
    invalid_argument(&format!("model.{field}"), words)
}

fn is_cloud(provider: &str) -> bool {
    matches!(provider, "Bedrock" | "VertexAI")
}

/// An entry as it is kept, of a request; if the team may have it.
pub fn entry_of(model: &pb::TeamModel) -> Result<Value, Status> {
    let within = |field: &str, value: i64, range: std::ops::RangeInclusive<i64>| match value {
        0 => Ok(TOKENS),
        value if range.contains(&value) => Ok(value),
        _ => Err(wrong(field, format!("must be {} to {}", range.start(), range.end()))),
    };
    if model.display_name.chars().count() > 80 {
        return Err(wrong("display_name", "is longer than 80 characters"));
    }
    let too_long = |text: &String| text.len() > MOST_TEXT_BYTES;
    if too_long(&model.model_id) || too_long(&model.fallback_model) {
        return Err(wrong("model_id", "and the fallback have 500 bytes at most"));
    }
    if model.features.len() > MOST_FEATURES || model.features.iter().any(too_long) {
        return Err(wrong("features", "are too many: 32 at most"));
    }
    let mut entry = json!({
        "provider": model.provider,
        "label": model.display_name,
        "tokens": within("context_tokens", model.context_tokens, 2_048..=2_000_000)?,
        "completionTokens": within("output_tokens", model.output_tokens, 256..=200_000)?,
        "features": if model.features.is_empty() { vec!["text".to_owned()] } else { model.features.clone() },
        "fallbackLLM": model.fallback_model,
        "isUserCustomLLM": true,
    });
    let (id, usual) = match model.provider.as_str() {
        "OpenAI" | "Ollama" => {
            address(&model.base_url)?;
            entry["baseURL"] = json!(model.base_url);
            (model.model_id.clone(), json!("none"))
        }
        provider if is_cloud(provider) => {
            if !model.base_url.is_empty() {
                return Err(wrong("base_url", "is for OpenAI and Ollama: set settings.apiEndpoint"));
            }
            let mode = if provider == "Bedrock" { "bedrock_vault" } else { "vertexai_vault" };
            (cloud(model, &mut entry)?, json!(mode))
        }
        _ => return Err(wrong("provider", "must be OpenAI, Ollama, Bedrock or VertexAI")),
    };
    if id.is_empty() {
        return Err(wrong("model_id", "is empty: write the model's id at its provider"));
    }
    entry["modelId"] = json!(id);
    entry["credentials"] = credentials(&model.credentials_json)?.unwrap_or(usual);
    entry["tags"] = json!([if is_cloud(&model.provider) { "Enterprise" } else { "Custom" }]);
    match Entry::deserialize(&entry) {
        Ok(_) => Ok(entry),
        Err(error) => Err(invalid_argument("model", format!("is no entry of the catalogue: {error}"))),
    }
}

fn address(text: &str) -> Result<(), Status> {
    if text.len() > MOST_TEXT_BYTES {
        return Err(wrong("base_url", "is longer than 500 bytes"));
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match url {
        Some(url) if url.username().is_empty() && url.password().is_none() => Ok(()),
        Some(_) => Err(wrong("base_url", "holds a user: name the key in credentials_json")),
        None => Err(wrong("base_url", "must be an http or https address")),
    }
}

/// Settings of a cloud, and its model id.
fn cloud(model: &pb::TeamModel, entry: &mut Value) -> Result<String, Status> {
    let settings = &model.settings;
    let long = settings.iter().any(|(name, text)| name.len() > 64 || text.len() > MOST_TEXT_BYTES);
    if settings.len() > MOST_SETTINGS || long {
        return Err(wrong("settings", "are too many or too long: 32, of 500 bytes each"));
    }
    let of = |name: &str| settings.get(name).cloned().filter(|text| !text.is_empty());
    let mut needed = vec!["region"];
    needed.extend(match model.provider.as_str() {
        "Bedrock" => &["keyIDName", "secretKeyName"][..],
        _ => &["projectId", "jsonCredentialsName"],
    });
    if model.credentials_json.is_empty()
        && let Some(missing) = needed.into_iter().find(|name| of(name).is_none())
    {
        return Err(wrong("settings", format!("lack {missing}")));
    }
    // In order, so that the same settings are the same entry.
    let settings: BTreeMap<&String, &String> = settings.iter().collect();
    let settings: Map<String, Value> =
        settings.into_iter().map(|(name, text)| (name.clone(), Value::String(text.clone()))).collect();
    entry["settings"] = Value::Object(settings);
    Ok(of("customModel").or_else(|| of("foundationModel")).unwrap_or_else(|| model.model_id.clone()))
}

/// Credentials that name keys, and are none.
fn credentials(json: &[u8]) -> Result<Option<Value>, Status> {
    if json.is_empty() {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(json)
        .map_err(|_| wrong("credentials_json", "is no JSON: write a mode, a list of them, or an object"))?;
    let modes = match &value {
        Value::Array(modes) if !modes.is_empty() && modes.len() <= 8 => modes.as_slice(),
        Value::Array(_) => return Err(wrong("credentials_json", "lists 1 to 8 modes")),
        one => std::slice::from_ref(one),
    };
    for mode in modes {
        match mode {
            Value::String(name)
                if ["none", "internal", "vault", "bedrock_vault", "vertexai_vault"]
                    .contains(&name.as_str()) => {}
            Value::Object(fields) => by_reference(fields, 0)?,
            _ => {
                let words = "knows none, internal, vault, bedrock_vault, vertexai_vault and objects";
                return Err(wrong("credentials_json", words));
            }
        }
    }
    Ok(Some(value))
}

/// A key in plain text would be in the store, in backups and in answers.
fn by_reference(fields: &Map<String, Value>, depth: usize) -> Result<(), Status> {
    for (name, value) in fields {
        match value {
            Value::String(text) if text.contains("{{KEY(") && text.contains(")}}") => {}
            Value::Bool(_) | Value::Null => {}
            Value::Object(inner) if depth < 4 => by_reference(inner, depth + 1)?,
            _ => {
                let words =
                    format!("{name} holds a value: put it into the vault and write {{{{KEY(its name)}}}}");
                return Err(wrong("credentials_json", words));
            }
        }
    }
    Ok(())
}

/// As an answer has it.
pub fn message(name: String, document: &Document) -> pb::TeamModel {
    // What was written here reads here.
    let entry: Value = serde_json::from_str(&document.json).unwrap_or_default();
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let features = entry["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let settings = entry["settings"].as_object().into_iter().flatten();
    pb::TeamModel {
        name,
        display_name: text("label"),
        provider: text("provider"),
        model_id: text("modelId"),
        base_url: text("baseURL"),
        context_tokens: entry["tokens"].as_i64().unwrap_or_default(),
        output_tokens: entry["completionTokens"].as_i64().unwrap_or_default(),
        features: features.map(str::to_owned).collect(),
        fallback_model: text("fallbackLLM"),
        credentials_json: entry["credentials"].to_string().into(),
        settings: settings
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        create_time: document.create_time(),
        update_time: document.update_time(),
        etag: document.etag.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom() -> pb::TeamModel {
        pb::TeamModel {
            provider: "OpenAI".into(),
            model_id: "m".into(),
            base_url: "https://models.example/v1".into(),
            credentials_json: br#"{"apiKey":"{{KEY(mine)}}","isUserKey":true}"#[..].into(),
            ..pb::TeamModel::default()
        }
    }

    fn bedrock() -> pb::TeamModel {
        let settings =
            [("region", "eu-1"), ("foundationModel", "f"), ("keyIDName", "k"), ("secretKeyName", "s")];
        pb::TeamModel {
            provider: "Bedrock".into(),
            settings: settings.into_iter().map(|(name, text)| (name.into(), text.into())).collect(),
            ..pb::TeamModel::default()
        }
    }

    #[test]
    fn what_a_team_may_have() {
        let entry = entry_of(&custom()).unwrap();
        assert_eq!((entry["tokens"].as_i64(), entry["completionTokens"].as_i64()), (Some(8192), Some(8192)));
        assert_eq!(entry["features"], json!(["text"]));
        let cloud = entry_of(&bedrock()).unwrap();
        assert_eq!(
            (cloud["modelId"].as_str(), cloud["credentials"].as_str()),
            (Some("f"), Some("bedrock_vault"))
        );
        for wrong in [
            pb::TeamModel { provider: "Anthropic".into(), ..custom() },
            pb::TeamModel { base_url: "ftp://x".into(), ..custom() },
            pb::TeamModel { base_url: "https://user:secret@x".into(), ..custom() },
            pb::TeamModel { base_url: format!("https://x/{}", "a".repeat(500)), ..custom() },
            pb::TeamModel { context_tokens: 2_047, ..custom() },
            pb::TeamModel { output_tokens: 200_001, ..custom() },
            pb::TeamModel { display_name: "x".repeat(81), ..custom() },
            pb::TeamModel { model_id: String::new(), ..custom() },
            pb::TeamModel { credentials_json: br#"{"apiKey":"sk-plain"}"#[..].into(), ..custom() },
            pb::TeamModel {
                credentials_json: br#"{"apiKey":"$env(OPENAI_API_KEY)"}"#[..].into(),
                ..custom()
            },
            pb::TeamModel { credentials_json: br#""everybody""#[..].into(), ..custom() },
            pb::TeamModel { settings: Default::default(), ..bedrock() },
            pb::TeamModel { base_url: "https://x".into(), ..bedrock() },
        ] {
            let refused = entry_of(&wrong).unwrap_err();
            assert!(!refused.message().contains("sk-plain"), "{refused:?}");
        }
    }

    #[test]
    fn what_is_kept_is_what_was_said() {
        for model in [custom(), bedrock()] {
            let json = entry_of(&model).unwrap().to_string();
            let document = Document { json, etag: "e".into(), created_ms: 1_500, updated_ms: 2_000 };
            let told = message("teams/red/models/m".into(), &document);
            assert_eq!(
                (&told.provider, &told.base_url, &told.settings),
                (&model.provider, &model.base_url, &model.settings)
            );
            assert_eq!(entry_of(&told).unwrap().to_string(), document.json);
        }
    }
}

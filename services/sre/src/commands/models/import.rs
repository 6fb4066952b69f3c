//! `sre models import`: models of the reference's team settings, as models of the team.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use sre_proto::llm::v1::{CreateTeamModelRequest, TeamModel};
use sre_proto::security::v1::GetSettingRequest;
use tonic::Code;

use crate::cli::output::Output;
use crate::client::Client;

/// The reference's settings.
const SETTINGS: [&str; 2] = ["custom-llm", "user-custom-llm"];

/// Creates what is not there yet, and says what became of each.
pub async fn run(output: Output, client: &Client, file: Option<&Path>) -> Result<()> {
    let mut found = Vec::new();
    match file {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            found.push(text);
        }
        None => {
            for setting in SETTINGS {
                let name = format!("{}/settings/{setting}", client.team_name());
                match client.account().get_setting(GetSettingRequest { name }).await {
                    Ok(setting) => found.push(setting.into_inner().value),
                    Err(status) if status.code() == Code::NotFound => {}
                    Err(status) => return Err(status.into()),
                }
            }
        }
    }
    let mut rows = Vec::new();
    for text in found {
        let models: Map<String, Value> =
            serde_json::from_str(&text).context("the setting is no JSON object of models")?;
        for (id, model) in models {
            let name = entry_name(model["name"].as_str().unwrap_or(&id));
            let request = CreateTeamModelRequest {
                parent: client.team_name(),
                model_id: name.clone(),
                model: Some(team_model(&model)),
            };
            let outcome = match client.models().create_team_model(request).await {
                Ok(_) => "created".to_owned(),
                Err(status) if status.code() == Code::AlreadyExists => "is there".to_owned(),
                Err(status) => status.message().to_owned(),
            };
            rows.push(vec![json!(id), json!(name), json!(outcome)]);
        }
    }
    output.rows(&["id", "model", "outcome"], rows);
    Ok(())
}

/// Names of the reference may hold anything; ours are words.
fn entry_name(name: &str) -> String {
    let known = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | ':' | '-' => character,
        _ => '-',
    };
    name.chars().map(known).take(80).collect()
}

fn team_model(model: &Value) -> TeamModel {
    let text = |name: &str| model[name].as_str().unwrap_or_default().to_owned();
    let features = model["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let renamed = |feature: &str| match feature {
        "text-completion" => "text".to_owned(),
        "tool-use" => "tools".to_owned(),
        other => other.to_owned(),
    };
    let settings = model["settings"].as_object().into_iter().flatten();
    let credentials = &model["credentials"];
    TeamModel {
        display_name: text("name"),
        provider: text("provider"),
        model_id: text("modelId"),
        base_url: text("baseURL"),
        context_tokens: model["contextWindow"].as_i64().unwrap_or_default(),
        output_tokens: model["maxOutputTokens"].as_i64().unwrap_or_default(),
        features: features.map(renamed).collect(),
        fallback_model: text("fallbackLLM"),
        credentials_json: match credentials {
            Value::Null => Vec::new(),
            Value::Object(fields) if fields.is_empty() => Vec::new(),
            other => other.to_string().into_bytes(),
        }
        .into(),
        settings: settings
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        ..TeamModel::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_references_settings_become_models_of_the_team() {
        let custom = json!({"id": "1", "name": "my model", "modelId": "m", "provider": "OpenAI",
            "baseURL": "https://x/v1", "contextWindow": 4096, "features": ["text-completion", "tool-use"],
            "fallbackLLM": "gpt-4o", "credentials": {"apiKey": "{{KEY(mine)}}", "isUserKey": true}});
        let model = team_model(&custom);
        assert_eq!((model.model_id.as_str(), model.context_tokens), ("m", 4096));
        assert_eq!(model.features, ["text", "tools"]);
        assert!(std::str::from_utf8(&model.credentials_json).unwrap().contains("KEY(mine)"));
        let cloud =
            json!({"name": "c", "provider": "Bedrock", "settings": {"region": "r", "foundationModel": "f"}});
        assert_eq!(team_model(&cloud).settings["foundationModel"], "f");
        assert_eq!(entry_name("my model (1)"), "my-model--1-");
    }
}

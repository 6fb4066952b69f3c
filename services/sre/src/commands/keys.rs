//! `sre keys`: API keys for the HTTP doors.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde_json::{Value, json};
use sre_identity::{Candidate, Role};
use sre_proto::security::v1::{ApiKey, CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest};

use crate::cli::args::{Global, Keys};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs the command.
pub async fn run(global: &Global, command: Keys) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    match command {
        Keys::Create { principal, name, days } => {
            let expire_time = days.map(|days| prost_types::Timestamp::from(SystemTime::now() + DAY * days));
            let request = CreateApiKeyRequest {
                parent: parent(principal)?,
                api_key: Some(ApiKey { display_name: name, expire_time, ..ApiKey::default() }),
            };
            let answer = client.keys().create_api_key(request).await?.into_inner();
            let record = answer.api_key.unwrap_or_default();
            output.record(vec![("name", json!(record.name)), ("key", json!(answer.key))]);
            output.note("keep it: it cannot be shown again");
        }
        Keys::List { principal } => {
            let request =
                ListApiKeysRequest { parent: parent(principal)?, page_size: 1000, page_token: String::new() };
            let keys = client.keys().list_api_keys(request).await?.into_inner().api_keys;
            output.rows(&["name", "for", "created", "expires", "revoked"], keys.iter().map(row).collect());
        }
        Keys::Revoke { name } => {
            let key = client.keys().revoke_api_key(RevokeApiKeyRequest { name }).await?.into_inner();
            output.done(&format!("{} is revoked", key.name));
        }
    }
    Ok(())
}

/// The collection of a principal's keys; `users/-` is the caller.
fn parent(principal: Option<String>) -> Result<String> {
    let Some(principal) = principal else { return Ok("users/-".to_owned()) };
    let candidate: Candidate = principal
        .parse()
        .map_err(|e| Failure::usage(format!("{principal:?}: {e}: write for example user/alice")))?;
    let collection = match candidate.role() {
        Role::User => "users",
        Role::Agent => "agents",
        Role::Team => "teams",
        Role::Public => return Err(Failure::usage("public has no keys")),
    };
    Ok(format!("{collection}/{}", candidate.id()))
}

fn row(key: &ApiKey) -> Vec<Value> {
    let principal = key.candidate.as_ref().and_then(|c| Candidate::try_from(c).ok());
    vec![
        json!(key.name),
        json!(principal.map(|c| c.to_string()).unwrap_or_default()),
        json!(dates::text(key.create_time.as_ref())),
        json!(dates::text(key.expire_time.as_ref())),
        json!(dates::text(key.revoke_time.as_ref())),
    ]
}

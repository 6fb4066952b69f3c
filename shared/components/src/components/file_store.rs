//! FileStore: keeps content as a file of the agent, for a while, under a link.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use sha2::{Digest as _, Sha256};
use sre_engine::Outcome;
use sre_engine::data::binary;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Binary, Value};

use crate::context::{Call, Component, ContextError, Failure};
use crate::outcome::{one, or_error};
use crate::{content, settings, wait};

/// The folder among the agent's files.
const FOLDER: &str = "components_data";
/// The longest part of a file's name that the author chooses.
const MAX_NAME_CHARS: usize = 200;
/// Links end after 30 days at most, and a file shall not outlive its link.
const MAX_TTL_SECONDS: f64 = 2_592_000.0;
const TTL: Duration = Duration::from_secs(86_400);

static SPEC: ComponentSpec =
    ComponentSpec::new("FileStore", "Keeps content as a file and gives a link to it; both end together")
        .effect(Effect::Effect)
        .settings(&[
            SettingSpec::text_or_empty("name", "Name", 1_000)
                .template()
                .describe("the end of the file's name; the beginning is made so that no two are alike"),
            SettingSpec::integer("ttl", "TTL", 1.0, MAX_TTL_SECONDS)
                .nullable()
                .default("86400")
                .describe("seconds that the file and its link live, 30 days at most"),
        ])
        .inputs(&[PortSpec::new("Data", "Any", "text, bytes, a file, or an address to fetch")])
        .outputs(&[PortSpec::new("Url", "Text", "the link, which anybody may open")])
        .scopes(&["sre.io.v1.Storage", "sre.io.v1.Router:read", "sre.security.v1.Vault"]);

/// The type.
pub struct FileStore;

impl Component for FileStore {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(store(call).await) }.boxed()
    }
}

async fn store(call: Call<'_>) -> Result<Outcome, ContextError> {
    let data = call.get("Data").filter(|data| !data.is_null());
    if data.is_none() {
        return Err(ContextError::new(Failure::Invalid, "the input Data is missing: connect what to store"));
    }
    let name = settings::render(call, &settings::text(call, "name")).await?;
    let content = content::bytes(call, data, "data").await?;
    let file = file_name(&call.context.idempotency_key(), &name, &content);
    let binary = Binary { name: file.as_str().into(), ..content };
    let lifetime = settings::number(call, "ttl").and_then(|ttl| Duration::try_from_secs_f64(ttl).ok());
    let path = format!("{FOLDER}/{file}");
    let published = call.context.files().publish(&path, &binary, lifetime.unwrap_or(TTL));
    Ok(one("Url", Value::from(wait::for_run(call, published).await?)))
}

/// `<12 letters>[.<name>][.<extension>]`. The letters derive from the activation, so that a repeat writes the same
/// file.
fn file_name(key: &str, name: &str, content: &Binary) -> String {
    let digest = hex::encode(Sha256::digest(key.as_bytes()));
    let mut file: String = digest.chars().take(12).collect();
    let tame = |c: char| if c.is_control() || "/\\?#%".contains(c) { '_' } else { c };
    let name: String = name.trim().chars().take(MAX_NAME_CHARS).map(tame).collect();
    if !name.is_empty() {
        file = format!("{file}.{name}");
    }
    match binary::extension(&content.mimetype) {
        Some(extension) if !file.to_lowercase().ends_with(&format!(".{extension}")) => {
            format!("{file}.{extension}")
        }
        _ => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tame_and_repeatable() {
        let text = Binary { name: "x".into(), mimetype: "text/plain".into(), data: "x".into() };
        let name = file_name("key", "a/../b?.txt", &text);
        assert_eq!(name, file_name("key", "a/../b?.txt", &text));
        assert!(name.ends_with(".a_.._b_.txt") && name.len() == 12 + ".a_.._b_.txt".len(), "{name}");
        assert_ne!(name, file_name("other", "a/../b?.txt", &text));
        let unknown = Binary { mimetype: "application/octet-stream".into(), ..text };
        assert_eq!(file_name("key", "", &unknown).len(), 12);
    }
}

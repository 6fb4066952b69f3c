//! Key files wrapped by a transit key: the server encrypts and decrypts, its key never leaves it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Map, Value, json};
use sre_service::connectors::Opening;
use zeroize::Zeroizing;

use super::Client;
use super::settings::Settings;
use crate::vault::key_protection::Wrapper;

/// A transit key.
pub struct Transit {
    client: Arc<Client>,
    mount: String,
    key: String,
}

impl Transit {
    /// The key that the settings name.
    pub async fn open(settings: &Map<String, Value>, data_dir: &Path) -> anyhow::Result<Self> {
        let opening = Opening::standalone("transit", Value::Object(settings.clone()), data_dir);
        let settings: Settings = opening.settings()?;
        let key = settings.key.clone().context("key is missing: name the transit key")?;
        let client = Client::open(&settings, data_dir).await?;
        Ok(Self { client, mount: settings.mount.unwrap_or_else(|| "transit".to_owned()), key })
    }

    async fn ask(&self, what: &str, body: Value, field: &str) -> Result<Zeroizing<String>, String> {
        let mut path: Vec<&str> = self.mount.split('/').collect();
        path.extend([what, &self.key]);
        let answer = self.client.call(Method::POST, &path, &[], Some(&body)).await;
        let answer = answer.map_err(|error| error.to_string())?.ok_or("there is no such transit key")?;
        let text = answer.pointer(&format!("/data/{field}")).and_then(Value::as_str);
        Ok(Zeroizing::new(text.ok_or("the answer holds something else")?.to_owned()))
    }
}

#[async_trait]
impl Wrapper for Transit {
    async fn wrap(&self, key: &[u8; 32]) -> Result<String, String> {
        let body = json!({ "plaintext": STANDARD.encode(key) });
        let wrapped = self.ask("encrypt", body, "ciphertext").await?;
        if wrapped.contains(['\n', '\r']) {
            return Err("the answer has more than one line".to_owned());
        }
        Ok(wrapped.to_string())
    }

    async fn unwrap(&self, text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let plain = self.ask("decrypt", json!({ "ciphertext": text }), "plaintext").await?;
        Ok(Zeroizing::new(STANDARD.decode(plain.as_bytes()).map_err(|_| "the answer is no key")?))
    }
}

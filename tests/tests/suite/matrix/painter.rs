//! A provider of images, for the row that makes one.

use std::path::PathBuf;

use serde_json::json;
use sre_fake_provider::FakeProvider;
use tempfile::TempDir;

/// The model that rows name.
pub const PAINTER: &str = "painter";

/// The provider, and the model file that names it.
pub struct Painter {
    _provider: FakeProvider,
    folder: TempDir,
}

impl Painter {
    pub async fn start() -> Self {
        let provider = FakeProvider::start().await.unwrap();
        let entry = json!({ "modelId": "gpt-image-1", "provider": "OpenAI", "credentials": { "apiKey": "sk-painter" },
            "baseURL": provider.url("/v1"), "features": ["text", "image-generation"] });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("models.json");
        std::fs::write(file, json!({ PAINTER: entry }).to_string()).unwrap();
        Self { _provider: provider, folder }
    }

    /// Where its model file is.
    pub fn models(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

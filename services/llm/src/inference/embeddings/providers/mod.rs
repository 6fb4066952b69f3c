//! Providers of vectors: one file each.

mod google;
mod hash;
mod openai;
mod request;

use async_trait::async_trait;

use super::{Call, Vectors};
use crate::inference::error::InferenceError;
use crate::inference::settings::InferenceSettings;
use google::Google;
use hash::Hash;
use openai::OpenAi;
use request::Requests;

/// Speaks with one kind of provider.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// The vectors of these texts, in their order; at most [`Self::most_texts`] of them. Repeated by this method
    /// where the provider asks for it. Idempotent: it stores nothing.
    async fn embed(&self, call: &Call, texts: Vec<String>) -> Result<Vectors, InferenceError>;

    /// The most texts of one request.
    fn most_texts(&self) -> usize;

    /// The variable that holds a deployment's key.
    fn variable(&self, provider: &str) -> Option<&'static str>;

    /// The usual address; none where there is nothing to reach.
    fn usual_address(&self, provider: &str) -> Option<&'static str>;
}

/// All of them.
#[derive(Debug)]
pub struct Embedders {
    hash: Hash,
    google: Google,
    openai: OpenAi,
}

impl Embedders {
    /// All of them, over one pool of connections, and servers whose address the configuration states.
    pub fn new<'n>(
        settings: &InferenceSettings,
        configured: impl Iterator<Item = &'n String>,
    ) -> Result<Self, reqwest::Error> {
        let requests = Requests::new(settings)?;
        let compatible = configured.map(|name| name.to_lowercase()).collect();
        let openai = OpenAi::new(requests.clone(), compatible);
        Ok(Self { hash: Hash, google: Google::new(requests), openai })
    }

    /// Who answers for a provider's name; names are compared without case.
    pub fn find(&self, name: &str) -> Option<&dyn Embedder> {
        if name.eq_ignore_ascii_case("Hash") {
            return Some(&self.hash);
        }
        if name.eq_ignore_ascii_case("GoogleAI") {
            return Some(&self.google);
        }
        self.openai.speaks_with(name).then_some(&self.openai)
    }
}

//! Providers: one file or folder each. To add one: implement [`wire::Wire`] (or [`Provider`], where there is no HTTP)
//! and name it in [`Providers`].

mod anthropic;
mod bedrock;
mod calls;
mod citations;
mod echo;
mod echo_script;
mod facts;
pub mod google;
pub mod history;
mod json;
pub mod media;
mod names;
mod ollama;
mod openai;
mod openai_chat;
mod reasoning;
mod responses;
mod structured;
pub mod wire;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;
use sre_proto::llm::v1 as pb;

pub use openai_chat::{COMPATIBLE, Dialect, dialect};

use super::credentials::Key;
use super::error::InferenceError;
use super::grammar::Grammar;
use super::settings::InferenceSettings;
use crate::models::Resolved;
use anthropic::{Anthropic, Messages};
use bedrock::Bedrock;
use echo::Echo;
use echo_script::EchoScript;
use google::GoogleAi;
use google::vertex::{self, VertexAi};
use openai::OpenAi;
use wire::Spoken;

/// A checked call: the model is found, its parameters are filled in and cut to its limits.
#[derive(Debug, Clone)]
pub struct Call {
    /// The model.
    pub model: Arc<Resolved>,
    /// What to generate; `model` in it is the entry's name as the caller wrote it.
    pub request: pb::GenerateRequest,
    /// Where to.
    pub base_url: Option<url::Url>,
    /// The key, for that address alone.
    pub key: Option<Key>,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Text.
    Text(String),
    /// Thinking.
    Thinking(String),
    /// A piece of a tool call.
    ToolCall(pb::ToolCallDelta),
    /// Another model goes on; nothing of the first one's answer came before it.
    Fallback(pb::ModelFallback),
    /// The end, with the whole answer.
    Finished(Box<pb::GenerateResponse>),
}

/// An answer in pieces: exactly one [`Piece::Finished`] or an error, at its end. Dropping it drops the call.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, InferenceError>> + Send>>;

/// Speaks with one kind of provider.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The whole answer. Dropping the future drops the call.
    async fn generate(&self, call: Call) -> Result<pb::GenerateResponse, InferenceError>;

    /// The answer in pieces, in order. Errors before the first piece are errors of the call.
    async fn stream(&self, call: Call) -> Result<Pieces, InferenceError>;
}

/// What speaks with a provider, by its name.
#[derive(Debug)]
pub struct Providers {
    echo: Echo,
    echo_script: EchoScript,
    openai: OpenAi,
    /// Names of servers that the configuration states an address for, in lower case.
    compatible: BTreeSet<String>,
    anthropic: Anthropic<Messages>,
    bedrock: Spoken<Bedrock>,
    google_ai: Spoken<GoogleAi>,
    vertex: VertexAi,
}

/// Who answers for a name.
pub enum Answers<'a> {
    /// Tests: without key or network.
    Echo(&'a dyn Provider),
    /// A service that speaks OpenAI's chat completions.
    OpenAiChat(&'a dyn Provider, &'static Dialect),
    /// A service with a format of its own.
    Other(&'a dyn Provider, &'static Usual),
}

/// What is usual for a provider.
#[derive(Debug)]
pub struct Usual {
    /// Its name in model files.
    pub name: &'static str,
    /// The variable that holds a deployment's key; none where that is no single text.
    pub variable: Option<&'static str>,
    /// The address of a model.
    pub address: fn(&Resolved) -> Result<String, InferenceError>,
}

impl Providers {
    /// All providers, and servers whose address the configuration states.
    pub fn new<'n>(
        settings: &InferenceSettings,
        configured: impl Iterator<Item = &'n String>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            echo: Echo,
            echo_script: EchoScript,
            openai: OpenAi::new(settings)?,
            compatible: configured.map(|name| name.to_lowercase()).collect(),
            anthropic: Anthropic::new(Messages, settings.clone())?,
            bedrock: Spoken::new(Bedrock, settings.clone())?,
            google_ai: Spoken::new(GoogleAi, settings.clone())?,
            vertex: VertexAi::new(settings)?,
        })
    }

    /// Who answers for a provider's name; names are compared without case.
    pub fn find(&self, name: &str) -> Option<Answers<'_>> {
        if name.eq_ignore_ascii_case("Echo") {
            return Some(Answers::Echo(&self.echo));
        }
        if name.eq_ignore_ascii_case("EchoScript") {
            return Some(Answers::Echo(&self.echo_script));
        }
        let others: [(&'static Usual, &dyn Provider); 4] = [
            (&anthropic::USUAL, &self.anthropic),
            (&bedrock::USUAL, &self.bedrock),
            (&google::USUAL, &self.google_ai),
            (&vertex::USUAL, &self.vertex),
        ];
        if let Some((usual, provider)) =
            others.into_iter().find(|(usual, _)| usual.name.eq_ignore_ascii_case(name))
        {
            return Some(Answers::Other(provider, usual));
        }
        let known = dialect(name);
        // A name that nothing built in has, but an address: a server that speaks what OpenAI speaks.
        let known = known.or_else(|| self.compatible.contains(&name.to_lowercase()).then_some(&COMPATIBLE));
        known.map(|dialect| Answers::OpenAiChat(&self.openai, dialect))
    }
}

/// What an adapter of a grammar sends for a call.
pub fn body(grammar: Grammar, call: &Call) -> Result<serde_json::Value, InferenceError> {
    let delivery = wire::Delivery::Stream;
    match grammar {
        Grammar::Chat => {
            let unknown = || InferenceError::UnknownProvider(call.model.provider.clone());
            openai_chat::body(call, dialect(&call.model.provider).ok_or_else(unknown)?, delivery)
        }
        Grammar::Responses => responses::body(call, delivery),
        Grammar::Ollama => ollama::body(call, delivery),
        Grammar::Anthropic => anthropic::body(call, delivery),
        Grammar::Gemini => google::body(call, google::Flavour::GoogleAi),
        Grammar::Bedrock => bedrock::body(call),
    }
}

/// An address below the call's.
pub fn address(call: &Call, path: &str) -> Result<url::Url, InferenceError> {
    let missing = || InferenceError::invalid("model", "its provider has no address");
    let base = call.base_url.as_ref().ok_or_else(missing)?;
    url::Url::parse(&format!("{}/{path}", base.as_str().trim_end_matches('/'))).map_err(|_| missing())
}

#[cfg(test)]
mod cloud_tests;
#[cfg(test)]
mod openai_tests;
#[cfg(test)]
pub mod testing;

//! Services that speak OpenAI's chat completions, and where they differ. What each takes is as its reference of
//! autumn 2026 says: platform.openai.com, api-docs.deepseek.com, docs.together.ai, console.groq.com, docs.x.ai,
//! docs.perplexity.ai, docs.ollama.com.

use crate::inference::providers::Call;
use crate::models::Interface;

/// How one service differs.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The provider's name in model files.
    pub name: &'static str,
    /// Its usual address; empty where only the configuration knows it.
    pub base_url: &'static str,
    /// The variable that holds a deployment's key; none where no key is needed.
    pub environment: Option<&'static str>,
    /// What the token limit is called.
    pub limit: Limit,
    /// How it is told to answer with JSON.
    pub json: Json,
    /// The sampling parameters that it takes, by their names on the wire.
    pub sampling: &'static [&'static str],
    /// Whether models call tools.
    pub tools: bool,
    /// Whether it takes `parallel_tool_calls`.
    pub parallel: bool,
    /// How models are told to think.
    pub effort: Effort,
    /// What it takes beside text.
    pub media: Media,
}

/// What the token limit is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `max_completion_tokens`; `max_tokens` at other servers that an entry sends its calls to.
    Completion,
    /// `max_tokens`.
    Plain,
    /// `max_tokens`, and `max_completion_tokens` where the model thinks.
    ByThinking,
}

/// How a service is told to answer with JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Json {
    /// `json_object` and `json_schema`.
    Schemas,
    /// `json_object` alone: schemas in words.
    Objects,
    /// `json_schema` alone: any object in words.
    SchemasOnly,
}

/// How models are told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// `reasoning_effort`.
    OpenAi,
    /// `reasoning_effort` of Groq's words, and `reasoning_format`.
    Groq,
    /// `thinking`, on or off.
    Toggle,
    /// They cannot be told.
    Unsaid,
}

/// What a service takes beside text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Images and PDF documents.
    Documents,
    /// Images.
    Images,
    /// Nothing.
    Nothing,
}

const PENALTIES: &[&str] = &["temperature", "top_p", "frequency_penalty", "presence_penalty", "stop"];

/// All of them.
pub static DIALECTS: &[Dialect] = &[
    Dialect {
        name: "OpenAI",
        base_url: "https://api.openai.com/v1",
        environment: Some("OPENAI_API_KEY"),
        limit: Limit::Completion,
        json: Json::Schemas,
        sampling: PENALTIES,
        tools: true,
        parallel: true,
        effort: Effort::OpenAi,
        media: Media::Documents,
    },
    Dialect {
        name: "DeepSeek",
        base_url: "https://api.deepseek.com",
        environment: Some("DEEPSEEK_API_KEY"),
        limit: Limit::Plain,
        json: Json::Objects,
        sampling: PENALTIES,
        tools: true,
        parallel: false,
        effort: Effort::Toggle,
        media: Media::Nothing,
    },
    Dialect {
        name: "TogetherAI",
        base_url: "https://api.together.xyz/v1",
        environment: Some("TOGETHER_AI_API_KEY"),
        limit: Limit::Plain,
        json: Json::Schemas,
        sampling: PENALTIES,
        tools: true,
        parallel: false,
        effort: Effort::OpenAi,
        media: Media::Images,
    },
    Dialect {
        name: "Groq",
        base_url: "https://api.groq.com/openai/v1",
        environment: Some("GROQ_API_KEY"),
        limit: Limit::ByThinking,
        json: Json::SchemasOnly,
        sampling: &["temperature", "top_p", "stop"],
        tools: true,
        parallel: true,
        effort: Effort::Groq,
        media: Media::Images,
    },
    Dialect {
        name: "xAI",
        base_url: "https://api.x.ai/v1",
        environment: Some("XAI_API_KEY"),
        limit: Limit::Plain,
        json: Json::Schemas,
        sampling: &["temperature", "top_p"],
        tools: true,
        parallel: true,
        effort: Effort::Unsaid,
        media: Media::Images,
    },
    Dialect {
        name: "Perplexity",
        base_url: "https://api.perplexity.ai",
        environment: Some("PERPLEXITY_API_KEY"),
        limit: Limit::Plain,
        json: Json::SchemasOnly,
        sampling: &["temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"],
        tools: false,
        parallel: false,
        effort: Effort::Unsaid,
        media: Media::Images,
    },
    Dialect {
        name: "Ollama",
        base_url: "http://127.0.0.1:11434/v1",
        environment: None,
        limit: Limit::Plain,
        json: Json::Schemas,
        sampling: PENALTIES,
        tools: true,
        parallel: false,
        effort: Effort::OpenAi,
        media: Media::Images,
    },
];

/// A server that somebody runs and the configuration names: vLLM, LM Studio, llama.cpp, a gateway.
pub static COMPATIBLE: Dialect = Dialect {
    name: "an OpenAI-compatible server",
    base_url: "",
    environment: None,
    limit: Limit::Plain,
    json: Json::Schemas,
    sampling: PENALTIES,
    tools: true,
    parallel: true,
    effort: Effort::OpenAi,
    media: Media::Images,
};

/// The dialect of a provider; names are compared without case.
pub fn dialect(provider: &str) -> Option<&'static Dialect> {
    DIALECTS.iter().find(|dialect| dialect.name.eq_ignore_ascii_case(provider))
}

/// The dialect of a call: of its provider, or of servers whose address the configuration states.
pub fn of(call: &Call) -> &'static Dialect {
    dialect(&call.model.provider).unwrap_or(&COMPATIBLE)
}

/// Whether a call goes to OpenAI's own models, and not to another server that an entry of that name points at.
pub fn is_own(call: &Call) -> bool {
    call.model.provider.eq_ignore_ascii_case("OpenAI")
        && call
            .model
            .base_url
            .as_deref()
            .is_none_or(|base| base.contains("openai.com") || base.contains("azure.com"))
}

/// Which of its interfaces answers a call.
pub fn interface(call: &Call) -> Speaks {
    let provider = &call.model.provider;
    let chosen = call.model.interface;
    if provider.eq_ignore_ascii_case("Ollama") && chosen != Some(Interface::ChatCompletions) {
        return Speaks::Ollama;
    }
    let searches =
        call.request.web_search.is_some() && call.model.features.iter().any(|name| name == "search");
    let by_responses = ["OpenAI", "xAI"].iter().any(|name| provider.eq_ignore_ascii_case(name));
    // One place decides, for whole answers and for streams.
    if chosen == Some(Interface::Responses) || searches && by_responses {
        return Speaks::Responses;
    }
    Speaks::Chat
}

/// An interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Chat completions.
    Chat,
    /// Responses.
    Responses,
    /// Ollama's own.
    Ollama,
}

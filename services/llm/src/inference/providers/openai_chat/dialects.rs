//! Services that speak OpenAI's chat completions, and where they differ.

/// How one service differs.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The provider's name in model files.
    pub name: &'static str,
    /// Its usual address.
    pub base_url: &'static str,
    /// The variable that holds a deployment's key; none where no key is needed.
    pub environment: Option<&'static str>,
    /// What the token limit is called.
    pub max_tokens: &'static str,
    /// Whether it understands `response_format`.
    pub json_mode: JsonMode,
}

/// Whether a service understands `response_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonMode {
    /// It does.
    ResponseFormat,
    /// It is told in words alone.
    Instruction,
}

const fn row(
    name: &'static str,
    base_url: &'static str,
    environment: Option<&'static str>,
    max_tokens: &'static str,
    json_mode: JsonMode,
) -> Dialect {
    Dialect { name, base_url, environment, max_tokens, json_mode }
}

/// All of them.
pub static DIALECTS: &[Dialect] = &[
    row(
        "OpenAI",
        "https://api.openai.com/v1",
        Some("OPENAI_API_KEY"),
        "max_completion_tokens",
        JsonMode::ResponseFormat,
    ),
    row(
        "DeepSeek",
        "https://api.deepseek.com",
        Some("DEEPSEEK_API_KEY"),
        "max_tokens",
        JsonMode::ResponseFormat,
    ),
    row(
        "TogetherAI",
        "https://api.together.xyz/v1",
        Some("TOGETHER_AI_API_KEY"),
        "max_tokens",
        JsonMode::ResponseFormat,
    ),
    row("Groq", "https://api.groq.com/openai/v1", Some("GROQ_API_KEY"), "max_tokens", JsonMode::Instruction),
    row("xAI", "https://api.x.ai/v1", Some("XAI_API_KEY"), "max_tokens", JsonMode::ResponseFormat),
    row(
        "Perplexity",
        "https://api.perplexity.ai",
        Some("PERPLEXITY_API_KEY"),
        "max_tokens",
        JsonMode::Instruction,
    ),
    row("Ollama", "http://127.0.0.1:11434/v1", None, "max_tokens", JsonMode::ResponseFormat),
];

/// The dialect of a provider; names are compared without case.
pub fn dialect(provider: &str) -> Option<&'static Dialect> {
    DIALECTS.iter().find(|dialect| dialect.name.eq_ignore_ascii_case(provider))
}

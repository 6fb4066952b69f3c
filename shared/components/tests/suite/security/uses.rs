//! Every type of the registry: how it reaches an address, or that it reaches none.

use serde_json::{Value as Json, json};
use sre_components::context::web::Places;

/// A use of a type that reaches an address.
pub struct Use {
    pub type_name: &'static str,
    /// Which of its ways to an address.
    pub way: &'static str,
    /// Settings and inputs that lead to an address.
    pub leads: fn(&str) -> (Json, Json),
    /// Where the deployment's configuration leads there instead.
    pub place: Option<fn(&mut Places, &str)>,
    /// What goes before it.
    pub tokens: Option<fn(&str) -> Json>,
}

const PLAIN: Use =
    Use { type_name: "", way: "", leads: |_| (json!({}), json!({})), place: None, tokens: None };

pub fn url(text: &str) -> url::Url {
    text.parse().unwrap()
}

/// Every way of every type to an address.
pub const USES: &[Use] = &[
    Use {
        type_name: "APICall",
        way: "url",
        leads: |url| (json!({"method": "GET", "url": url, "retries": 0}), json!({"x": 1})),
        ..PLAIN
    },
    Use {
        type_name: "APICall",
        way: "an input in the url",
        leads: |url| (json!({"method": "POST", "url": "{{x}}"}), json!({ "x": url })),
        ..PLAIN
    },
    Use {
        type_name: "APICall",
        way: "tokenURL",
        leads: |_| {
            (json!({"method": "GET", "url": "http://203.0.114.1/", "oauth_con_id": "con"}), json!({"x": 1}))
        },
        tokens: Some(
            |url| json!({"primary": "a", "secondary": "r", "expires_in": "1", "tokenURL": url, "clientID": "c"}),
        ),
        ..PLAIN
    },
    Use {
        type_name: "FileStore",
        way: "an address in place of bytes",
        leads: |url| (json!({"name": "n"}), json!({ "Data": url })),
        ..PLAIN
    },
    Use {
        type_name: "DataSourceIndexer",
        way: "an address as its source",
        leads: |url| (json!({"namespace": "n", "id": "i"}), json!({ "Source": url })),
        ..PLAIN
    },
    Use {
        type_name: "FHash",
        way: "an input typed Binary",
        leads: |url| (json!({"algorithm": "md5", "encoding": "hex"}), json!({ "Data": url })),
        ..PLAIN
    },
    Use {
        type_name: "ScrapflyWebScrape",
        way: "URLs",
        leads: |url| (json!({"scraper": "local"}), json!({ "URLs": url })),
        ..PLAIN
    },
    Use {
        type_name: "ScrapflyWebScrape",
        way: "the configured place",
        leads: |_| (json!({"scraper": "scrapfly"}), json!({"URLs": "https://example.com"})),
        place: Some(|places, to| places.scrapfly = url(to)),
        ..PLAIN
    },
    Use {
        type_name: "TavilyWebSearch",
        way: "the configured place",
        leads: |_| (json!({}), json!({"SearchQuery": "q"})),
        place: Some(|places, to| places.tavily = url(to)),
        ..PLAIN
    },
    Use {
        type_name: "HuggingFace",
        way: "the configured place",
        leads: |_| {
            (
                json!({"accessToken": "{{KEY(hf)}}", "modelName": "m", "modelTask": "fill-mask"}),
                json!({"Text": "t"}),
            )
        },
        place: Some(|places, to| places.huggingface = url(to)),
        ..PLAIN
    },
    Use {
        type_name: "DocumentExtractor",
        way: "an address as its source",
        leads: |url| (json!({}), json!({ "Document": url })),
        ..PLAIN
    },
    Use {
        type_name: "GPTPlugin",
        way: "specUrl",
        leads: |url| {
            let settings =
                json!({"specUrl": url, "descForModel": "", "name": "n", "desc": "d", "model": "Echo"});
            (settings, json!({"Prompt": "p"}))
        },
        ..PLAIN
    },
    Use {
        type_name: "MCPClient",
        way: "mcpUrl",
        leads: |url| {
            let settings = json!({"mcpUrl": url, "prompt": "{{Prompt}}", "name": "n", "model": "Echo"});
            (settings, json!({"Prompt": "p"}))
        },
        ..PLAIN
    },
    Use {
        type_name: "MCPClient",
        way: "tokenURL",
        leads: |_| {
            let settings = json!({"mcpUrl": "http://203.0.114.1/", "prompt": "{{Prompt}}", "name": "n",
                "model": "Echo", "oauth_con_id": "con"});
            (settings, json!({"Prompt": "p"}))
        },
        tokens: Some(
            |url| json!({"primary": "a", "secondary": "r", "expires_in": "1", "tokenURL": url, "clientID": "c"}),
        ),
        ..PLAIN
    },
    Use {
        type_name: "ZapierAction",
        way: "the configured place",
        leads: |_| {
            (json!({"actionName": "n", "actionId": "i", "apiKey": "{{KEY(zapier)}}"}), json!({"x": 1}))
        },
        place: Some(|places, to| places.zapier = url(to)),
        ..PLAIN
    },
];

/// Types that reach no address of the web by themselves: those of the engine, and those that ask another service,
/// which has its own policy.
pub const NONE: &[&str] = &[
    "AgentPlugin",
    "CallSkill",
    "Classifier",
    "Code",
    "ComponentHost",
    "Condition",
    "DataSourceCleaner",
    "DataSourceLookup",
    "ErrorHandler",
    "Fail",
    "ImageGenerator",
    "LLMAssistant",
    "Loop",
    "Map",
    "MemoryDeleteKeyVal",
    "MemoryReadKeyVal",
    "MemoryWriteKeyVal",
    "MemoryWriteObject",
    "Merge",
    "MultimodalLLM",
    "Retry",
    "StructuredOutput",
    "Template",
    "Transform",
    "VisionLLM",
    "APIEndpoint",
    "APIOutput",
    "Approval",
    "Async",
    "Await",
    "Component",
    "ECMASandbox",
    "FEncDec",
    "FSign",
    "FSleep",
    "FTimestamp",
    "ForEach",
    "GenAILLM",
    "JSONFilter",
    "LogicAND",
    "LogicAtLeast",
    "LogicAtMost",
    "LogicOR",
    "LogicXOR",
    "Note",
    "PromptGenerator",
    "ServerlessCode",
    // Triggers collect before a run: theirs are looked at below.
    "GmailTrigger",
    "JobSchedulerTrigger",
    "WebhookTrigger",
    "WhatsAppTrigger",
];

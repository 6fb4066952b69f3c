//! The component types by name.

use std::collections::HashMap;
use std::sync::LazyLock;

use sre_engine::spec::{ComponentSpec, TypeEntry, Types};

use crate::components::condition::Condition;
use crate::components::document_extractor::DocumentExtractor;
use crate::components::file_store::FileStore;
use crate::components::host::ComponentHost;
use crate::components::logic::{LogicAnd, LogicAtLeast, LogicAtMost, LogicOr, LogicXor};
use crate::components::memory::{MemoryDeleteKeyVal, MemoryReadKeyVal, MemoryWriteKeyVal, MemoryWriteObject};
use crate::components::merge::Merge;
use crate::components::rag::{DataSourceCleaner, DataSourceIndexer, DataSourceLookup};
use crate::components::settled::Settled;
use crate::components::template::Template;
use crate::components::transform::Transform;
use crate::components::{
    agent_plugin::AgentPlugin, api_call::ApiCall, approval::Approval, async_job::Async, await_jobs::Await,
    call_skill::CallSkill, code::Code, ecma_sandbox::EcmaSandbox, enc_dec::FEncDec, fail::Fail,
    gen_ai_llm::GenAiLlm, hash::FHash, json_filter::JsonFilter, open_api::OpenApi,
    prompt_generator::PromptGenerator, sign::FSign, sleep::FSleep, timestamp::FTimestamp,
};
use crate::components::{
    classifier::Classifier, hugging_face::HuggingFace, image_generator::ImageGenerator,
    llm_assistant::LlmAssistant, multimodal_llm::MultimodalLlm, serverless_code::ServerlessCode,
    structured_output::StructuredOutput, triggers, vision_llm::VisionLlm, web_scrape::WebScrape,
    web_search::WebSearch, zapier_action::ZapierAction,
};
use crate::context::Component;

/// The types that execute, one line each. To add a component: its file, and a line here.
static EXECUTED: &[&dyn Component] = &[
    &GenAiLlm,
    &PromptGenerator,
    &ApiCall,
    &Approval,
    &JsonFilter,
    &LogicAnd,
    &LogicOr,
    &LogicXor,
    &LogicAtLeast,
    &LogicAtMost,
    &Async,
    &Await,
    &FSleep,
    &FHash,
    &FEncDec,
    &FSign,
    &FTimestamp,
    &EcmaSandbox,
    &Classifier,
    &LlmAssistant,
    &VisionLlm,
    &MultimodalLlm,
    &ImageGenerator,
    &StructuredOutput,
    &CallSkill,
    &AgentPlugin,
    &OpenApi,
    #[cfg(feature = "mcp")]
    &crate::components::mcp_client::McpClient,
    &ComponentHost,
    &FileStore,
    &MemoryWriteKeyVal,
    &MemoryReadKeyVal,
    &MemoryDeleteKeyVal,
    &MemoryWriteObject,
    &Condition,
    &Merge,
    &Template,
    &Transform,
    &DocumentExtractor,
    &DataSourceIndexer,
    &DataSourceLookup,
    &DataSourceCleaner,
    &WebSearch,
    &WebScrape,
    &HuggingFace,
    &ZapierAction,
    &ServerlessCode,
    &triggers::GmailTrigger,
    &triggers::WhatsAppTrigger,
    &triggers::JobSchedulerTrigger,
    &triggers::WebhookTrigger,
    &Code,
    &Fail,
];

/// All type names that agents made for the reference may use; those that are not built yet are known, so
/// that "not built yet" can be told from "unknown".
pub const REFERENCE_TYPES: [&str; 51] = [
    "Component",
    "Note",
    "ComponentHost",
    "APIEndpoint",
    "APIOutput",
    "GenAILLM",
    "PromptGenerator",
    "LLMPrompt",
    "LLMAssistant",
    "Classifier",
    "VisionLLM",
    "MultimodalLLM",
    "ImageGenerator",
    "AgentPlugin",
    "GPTPlugin",
    "OpenAPI",
    "MCPClient",
    "ZapierAction",
    "HuggingFace",
    "APICall",
    "TavilyWebSearch",
    "WebSearch",
    "ScrapflyWebScrape",
    "WebScrape",
    "JSONFilter",
    "FileStore",
    "DataSourceIndexer",
    "DataSourceLookup",
    "DataSourceCleaner",
    "MemoryWriteKeyVal",
    "MemoryReadKeyVal",
    "MemoryDeleteKeyVal",
    "MemoryWriteObject",
    "LogicAND",
    "LogicOR",
    "LogicXOR",
    "LogicAtLeast",
    "LogicAtMost",
    "ForEach",
    "Async",
    "Await",
    "FSleep",
    "FHash",
    "FEncDec",
    "FSign",
    "FTimestamp",
    "ECMASandbox",
    "ServerlessCode",
    "GmailTrigger",
    "WhatsAppTrigger",
    "JobSchedulerTrigger",
];

/// Types of our own beside the reference's.
pub const OWN_TYPES: &[&str] = &[
    "Approval",
    "CallSkill",
    "Code",
    "Condition",
    "DocumentExtractor",
    "ErrorHandler",
    "Fail",
    "Loop",
    "Map",
    "Merge",
    "Retry",
    "StructuredOutput",
    "Switch",
    "Template",
    "Transform",
    "WebhookTrigger",
];

/// The component types of this build.
pub struct Registry {
    types: Vec<Registered>,
    by_name: HashMap<&'static str, usize>,
}

struct Registered {
    component: &'static dyn Component,
    entry: TypeEntry,
}

static SETTLED: LazyLock<Vec<Settled>> =
    LazyLock::new(|| sre_engine::builtin::types().iter().map(Settled).collect());

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let settled = SETTLED.iter().map(|settled| settled as &'static dyn Component);
    Registry::of(settled.chain(EXECUTED.iter().copied()))
});

/// The component types of this build.
pub fn registry() -> &'static Registry {
    &REGISTRY
}

impl Registry {
    fn of(components: impl Iterator<Item = &'static dyn Component>) -> Self {
        let types: Vec<_> =
            components.map(|component| Registered { entry: component.entry(), component }).collect();
        let names = |at: usize, spec: &'static ComponentSpec| {
            std::iter::once(spec.name).chain(spec.aliases.iter().copied()).map(move |name| (name, at))
        };
        let by_name = types.iter().enumerate().flat_map(|(at, known)| names(at, known.entry.spec)).collect();
        Self { types, by_name }
    }

    fn get(&self, type_name: &str) -> Option<&Registered> {
        self.by_name.get(type_name).and_then(|at| self.types.get(*at))
    }

    /// The component of a type, by name or alias.
    pub fn component(&self, type_name: &str) -> Option<&'static dyn Component> {
        self.get(type_name).map(|known| known.component)
    }

    /// The declaration of a type, by name or alias.
    pub fn spec(&self, type_name: &str) -> Option<&'static ComponentSpec> {
        self.get(type_name).map(|known| known.entry.spec)
    }

    /// True if the type is built, whatever its name.
    pub fn built(&self, type_name: &str) -> bool {
        self.by_name.contains_key(type_name)
    }

    /// The declarations of all types, in the order of the registry.
    pub fn specs(&self) -> impl Iterator<Item = &'static ComponentSpec> {
        self.types.iter().map(|known| known.entry.spec)
    }
}

impl Types for Registry {
    fn lookup(&self, type_name: &str) -> Option<&TypeEntry> {
        self.get(type_name).map(|known| &known.entry)
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.by_name.keys().copied().collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_of_the_reference_or_our_own() {
        let reference: HashSet<&str> = REFERENCE_TYPES.into_iter().collect();
        assert_eq!(reference.len(), REFERENCE_TYPES.len());
        let declared: usize = registry().specs().map(|spec| 1 + spec.aliases.len()).sum();
        assert_eq!(declared, registry().by_name.len(), "two types share a name");
        for name in registry().names() {
            assert!(reference.contains(name) != OWN_TYPES.contains(&name), "{name}");
        }
    }

    #[test]
    fn every_type_of_the_reference_is_built() {
        for name in REFERENCE_TYPES {
            assert!(registry().built(name), "{name}");
        }
    }

    #[test]
    fn every_type_documents_itself() {
        for spec in registry().specs() {
            assert!(!spec.description.is_empty(), "{}", spec.name);
            for scope in spec.scopes {
                assert!(scope.starts_with("sre."), "{}: {scope}", spec.name);
            }
        }
    }
}

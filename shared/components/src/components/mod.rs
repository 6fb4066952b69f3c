//! The component types, one file each.

pub mod agent_plugin;
pub mod api_call;
pub mod approval;
pub mod async_job;
pub mod await_jobs;
pub mod call_skill;
pub mod classifier;
pub mod code;
pub mod condition;
pub mod document_extractor;
pub mod ecma_sandbox;
pub mod enc_dec;
pub mod fail;
pub mod file_store;
pub mod gen_ai_llm;
pub mod hash;
pub mod host;
pub mod hugging_face;
pub mod image_generator;
pub mod json_filter;
mod llm;
pub mod llm_assistant;
pub mod logic;
#[cfg(feature = "mcp")]
pub mod mcp_client;
pub mod memory;
pub mod merge;
pub mod multimodal_llm;
pub mod open_api;
pub mod prompt_generator;
pub mod rag;
pub mod serverless_code;
pub mod settled;
pub mod sign;
pub mod sleep;
pub mod structured_output;
mod talk;
pub mod template;
pub mod timestamp;
pub mod transform;
pub mod triggers;
pub mod vision_llm;
pub mod web_scrape;
pub mod web_search;
pub mod zapier_action;

use sre_engine::value::Value;

/// What the reference's runtime calls a value in its type errors.
pub(crate) fn received(value: Option<&Value>) -> String {
    match value {
        None => "undefined".to_owned(),
        Some(Value::Null) => "null".to_owned(),
        Some(Value::Bool(flag)) => format!("type boolean ({flag})"),
        Some(Value::Number(number)) => format!("type number ({})", sre_engine::value::number_text(number)),
        Some(Value::String(text)) => {
            // Long texts are cut, as in the reference.
            let shown: String = text.chars().take(25).collect();
            let more = if text.chars().count() > 28 { "..." } else { "" };
            let shown = if more.is_empty() { text.as_ref() } else { shown.as_str() };
            format!("type string ('{shown}{more}')")
        }
        Some(Value::Array(_)) => "an instance of Array".to_owned(),
        Some(Value::Object(_) | Value::Binary(_)) => "an instance of Object".to_owned(),
    }
}

/// The type error for something that is neither text nor bytes.
pub(crate) fn not_data(value: Option<&Value>) -> String {
    format!(
        "The \"data\" argument must be of type string or an instance of Buffer, TypedArray, or DataView. \
         Received {}",
        received(value)
    )
}

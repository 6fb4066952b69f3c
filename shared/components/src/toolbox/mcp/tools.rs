//! Tools and results of MCP servers as models see them.

use std::collections::HashSet;

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents, Tool};
use serde_json::{Value, json};

use crate::toolbox::names::unique;
use crate::toolbox::{ToolAnswer, ToolSpec};

/// Tools that one server may list.
const MOST: usize = 500;
/// What all of them may take in a model's window.
const ALL_BYTES: usize = 512 << 10;
/// The longest description.
const DESCRIPTION: usize = 4_096;

/// A tool and the server's name for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named {
    pub server_name: String,
    pub spec: ToolSpec,
}

/// Tools with names that every provider takes, each once.
pub(super) fn specs(tools: &[Tool]) -> Result<Vec<Named>, String> {
    if tools.len() > MOST {
        return Err(format!("the server lists {} tools, and {MOST} is the most", tools.len()));
    }
    let mut taken = HashSet::new();
    let mut bytes = 0;
    let mut named = Vec::with_capacity(tools.len());
    for tool in tools {
        let parameters = schema(tool);
        let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
        let description: String = description.chars().take(DESCRIPTION).collect();
        bytes += parameters.to_string().len() + description.len();
        if bytes > ALL_BYTES {
            return Err(format!(
                "the server's tools take more than {ALL_BYTES} bytes: allow only some of them"
            ));
        }
        let hints = tool.annotations.as_ref();
        let is = |hint: Option<bool>| hint.unwrap_or(false);
        let spec = ToolSpec {
            name: unique(&tool.name, &mut taken),
            description,
            parameters,
            // Hints are only believed where an engine died and nobody knows better.
            repeatable: hints.is_some_and(|hints| is(hints.read_only_hint) || is(hints.idempotent_hint)),
        };
        named.push(Named { server_name: tool.name.to_string(), spec });
    }
    Ok(named)
}

/// The whole schema as the server gave it; an object, because providers take no other.
fn schema(tool: &Tool) -> Value {
    let mut schema = tool.input_schema.as_ref().clone();
    schema.entry("type").or_insert_with(|| json!("object"));
    schema.entry("properties").or_insert_with(|| json!({}));
    Value::Object(schema)
}

/// What a model reads of a result: texts, and of everything else what it is.
pub(super) fn answer(result: &CallToolResult) -> ToolAnswer {
    let mut parts: Vec<String> = result.content.iter().map(text).collect();
    if parts.iter().all(String::is_empty)
        && let Some(structured) = &result.structured_content
    {
        parts = vec![structured.to_string()];
    }
    let text = parts.join("\n");
    match result.is_error {
        Some(true) if text.is_empty() => ToolAnswer::failure("the tool failed and says no more"),
        failed => ToolAnswer { text, failed: failed.unwrap_or(false) },
    }
}

fn text(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => data(&image.mime_type, &image.data),
        ContentBlock::Audio(audio) => data(&audio.mime_type, &audio.data),
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            ResourceContents::BlobResourceContents { mime_type, blob, .. } => {
                data(mime_type.as_deref().unwrap_or("application/octet-stream"), blob)
            }
            newer => serde_json::to_string(newer).unwrap_or_default(),
        },
        ContentBlock::ResourceLink(link) => format!("[{}: {}]", link.name, link.uri),
        newer => serde_json::to_string(newer).unwrap_or_default(),
    }
}

fn data(mime_type: &str, base64: &str) -> String {
    format!("[{mime_type}, {} bytes]", base64.trim_end_matches('=').len() * 3 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(json: Value) -> Tool {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn d35_schemas_are_whole_and_one_without_properties_is_no_crash() {
        let nested = json!({"type": "object", "required": ["o"], "properties": {"o": {"type": "object",
            "description": "what", "properties": {"e": {"enum": ["a", "b"]}}}, "n": {"type": "array",
            "items": {"type": "number"}}}});
        let tools = [
            tool(json!({"name": "files/read", "description": "reads", "inputSchema": nested})),
            tool(json!({"name": "files.read", "inputSchema": {"type": "object"},
                "annotations": {"readOnlyHint": true}})),
        ];
        let named = specs(&tools).unwrap();
        assert_eq!(named[0].spec.parameters, nested);
        assert_eq!(
            (named[0].spec.name.as_str(), named[1].spec.name.as_str()),
            ("files_read", "files_read_2")
        );
        assert_eq!(named[1].server_name, "files.read");
        assert_eq!(named[1].spec.parameters, json!({"type": "object", "properties": {}}));
        assert!(named[1].spec.repeatable && !named[0].spec.repeatable);
    }

    #[test]
    fn too_many_tools_are_refused() {
        let one = json!({"name": "t", "description": "x".repeat(4096), "inputSchema": {"type": "object"}});
        let tools: Vec<Tool> = (0..200).map(|_| tool(one.clone())).collect();
        assert!(specs(&tools).unwrap_err().contains("bytes"));
        let tools: Vec<Tool> =
            (0..501).map(|_| tool(json!({"name": "t", "inputSchema": {"type": "object"}}))).collect();
        assert!(specs(&tools).unwrap_err().contains("501 tools"));
    }

    #[test]
    fn d35_a_failure_is_told_and_every_kind_of_content_is_text() {
        let result = |json: Value| answer(&serde_json::from_value(json).unwrap());
        let failed = result(json!({"content": [{"type": "text", "text": "no"}], "isError": true}));
        assert_eq!((failed.text.as_str(), failed.failed), ("no", true));
        assert!(result(json!({"content": [], "isError": true})).failed);
        let mixed = result(json!({"content": [{"type": "text", "text": "a"},
            {"type": "image", "data": "AAAA", "mimeType": "image/png"},
            {"type": "resource", "resource": {"uri": "x:y", "text": "b"}}]}));
        assert_eq!(mixed.text, "a\n[image/png, 3 bytes]\nb");
        let structured = result(json!({"content": [], "structuredContent": {"n": 1}}));
        assert_eq!(structured.text, r#"{"n":1}"#);
    }
}

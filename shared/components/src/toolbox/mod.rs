//! Tools that a component itself gives a model: the operations of an OpenAPI document, the tools of an MCP server.
//! The loop in which the model calls them is a turn of a conversation, like every other; only who answers a call
//! differs.

pub(crate) mod headers;
#[cfg(feature = "mcp")]
pub mod mcp;
pub(crate) mod names;
pub mod openapi;

use async_trait::async_trait;
use serde_json::{Map as Json, Value as JsonValue};

use crate::context::Call;

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Its name for the model.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON Schema of its arguments, an object.
    pub parameters: JsonValue,
    /// Calling it twice does what calling it once does: it may be called again when nobody knows whether it was.
    pub repeatable: bool,
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolAnswer {
    /// What the model reads.
    pub text: String,
    /// It failed.
    pub failed: bool,
}

impl ToolAnswer {
    /// A failure in these words.
    pub fn failure(message: impl Into<String>) -> Self {
        Self { text: serde_json::json!({ "error": message.into() }).to_string(), failed: true }
    }

    /// An answer.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), failed: false }
    }
}

/// A call of a tool.
#[derive(Clone, Copy, Debug)]
pub struct Used<'a> {
    /// The tool.
    pub name: &'a str,
    /// Its arguments.
    pub arguments: &'a Json<String, JsonValue>,
    /// Makes a repetition of this call recognisable.
    pub key: &'a str,
}

/// What a toolbox says of itself, for the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What it is called; may be empty.
    pub name: String,
    /// What it is for: the instructions where the author gave none.
    pub description: String,
}

/// A component that has tools.
#[async_trait]
pub trait Toolbox: Send + Sync {
    /// Finds out which tools there are. `call` is the activation that asked for the talk.
    ///
    /// # Errors
    /// What is wrong, for the author.
    async fn open(&self, call: Call<'_>) -> Result<Box<dyn OpenToolbox>, String>;
}

/// Tools as long as one talk needs them.
#[async_trait]
pub trait OpenToolbox: Send + Sync {
    /// What it is.
    fn about(&self) -> About;

    /// The tools.
    fn tools(&self) -> &[ToolSpec];

    /// Calls a tool. A failure is an answer, too: the model reads it.
    async fn call(&self, call: Call<'_>, used: Used<'_>) -> ToolAnswer;

    /// Ends what was opened. Always called, also when the talk failed.
    async fn close(&self);
}

/// Which tools an author lets a model call: names between commas or line breaks; empty lets it call all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<String>);

impl AllowList {
    /// Reads the setting.
    pub fn parse(text: &str) -> Self {
        let names = text.split([',', '\n']).map(str::trim).filter(|name| !name.is_empty());
        Self(names.map(str::to_owned).collect())
    }

    /// Whether a tool may be called.
    pub fn allows(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|known| known == name)
    }

    /// A name that no tool has, for the author: a list that allows nothing by mistake is worth an error.
    pub fn unknown<'a>(&'a self, tools: &[&str]) -> Option<&'a str> {
        self.0.iter().map(String::as_str).find(|name| !tools.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_allows_all_and_another_what_it_names() {
        assert!(AllowList::parse(" \n").allows("x"));
        let list = AllowList::parse("add, look\nfind");
        assert!(list.allows("find") && list.allows("add") && !list.allows("drop"));
        assert_eq!(list.unknown(&["add", "look"]), Some("find"));
    }
}

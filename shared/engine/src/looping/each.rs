//! A body that runs once per element: ForEach one after the other, Map several at a time.

use std::sync::Arc;

use super::leaves::Format;
use super::{Leaves, Problem, count, object, whole};
use crate::data::permissive_json;
use crate::data::typing::split_commas;
use crate::node::Node;
use crate::value::Value;

/// Elements of a Map that are under way at a time, unless it says otherwise, and at most.
pub(crate) const USUAL: u64 = 10;
pub(crate) const MOST: u64 = 1000;

/// A loop over elements.
#[derive(Debug)]
pub(crate) struct Each {
    pub at_a_time: usize,
    /// A failure ends it.
    pub stops: bool,
    pub format: Format,
    /// It is a Map: elements do not wait for each other, so all of them start in the same round.
    pub is_map: bool,
    /// What the body finds an element under.
    pub offered: &'static str,
}

/// What one element came to.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub results: Vec<Value>,
    pub errors: Vec<Value>,
    pub failed: bool,
}

impl Each {
    pub fn for_each(node: &Node) -> Self {
        Self {
            at_a_time: 1,
            stops: false,
            format: Format::of(node, Format::Full),
            is_map: false,
            offered: "Loop",
        }
    }

    /// What a trigger collected.
    pub fn payloads() -> Self {
        Self { at_a_time: 1, stops: false, format: Format::Minimal, is_map: false, offered: "Payload" }
    }

    pub fn map(node: &Node) -> Self {
        Self {
            at_a_time: whole(node, "concurrency", USUAL, MOST).max(1) as usize,
            stops: node.text_setting("onError") == Some("stop"),
            format: Format::of(node, Format::Value),
            is_map: true,
            offered: "Item",
        }
    }

    /// What the leaves of an element contribute.
    pub fn element(&self, index: u32, leaves: &Leaves<'_>) -> Element {
        let mut element = Element::default();
        leaves.contribute(self.format, &mut element.results);
        if self.is_map {
            let error = |it: Problem| {
                object([
                    ("index", count(index as usize)),
                    ("message", Value::from(it.message)),
                    ("component", Value::String(it.component)),
                ])
            };
            element.errors = leaves.problems().map(error).collect();
            element.failed = !element.errors.is_empty();
        }
        element
    }

    /// Its output after all elements.
    pub fn ended(&self, results: Vec<Value>, errors: Vec<Value>) -> Value {
        let results = Value::array(results);
        if self.is_map {
            object([("Result", results), ("Errors", Value::array(errors))])
        } else {
            object([("Result", results)])
        }
    }

    /// Its output where an element's failure ended it: what came before, and why.
    pub fn stopped(&self, index: u32, results: Vec<Value>, errors: Vec<Value>) -> Value {
        let message = errors.last().and_then(|error| error.get("message")).map(Value::to_text);
        let why = format!("element {index}: {}", message.unwrap_or_default());
        object([
            ("_error", Value::from(why)),
            ("Result", Value::array(results)),
            ("Errors", Value::array(errors)),
        ])
    }
}

/// The elements of an input: a list, a JSON list as text, text split on commas, or the value alone.
pub(crate) fn elements(input: Option<&Value>) -> Arc<Vec<Value>> {
    let list = match input {
        None => return Arc::default(),
        Some(Value::Array(items)) => return items.clone(),
        Some(Value::String(text)) if text.trim_start().starts_with('[') => {
            permissive_json::parse(text).unwrap_or_else(|| split_commas(text))
        }
        Some(Value::String(text)) => split_commas(text),
        Some(other) => Value::array(vec![other.clone()]),
    };
    match list {
        Value::Array(items) => items,
        other => Arc::new(vec![other]),
    }
}

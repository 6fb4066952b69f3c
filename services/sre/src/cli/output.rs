//! How answers are shown: tables for people, JSON for scripts. The one place that prints answers.

use std::io::{self, Write as _};

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::args::Format;

/// Shows answers in one format.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
}

impl Output {
    /// Shows in this format.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether a script reads it.
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Shows rows under columns; as JSON a list of objects with the columns as keys.
    pub fn rows(self, columns: &[&str], rows: Vec<Vec<Value>>) {
        if self.is_json() {
            let objects: Vec<Value> = rows
                .into_iter()
                .map(|row| Value::Object(columns.iter().map(|c| (*c).to_owned()).zip(row).collect()))
                .collect();
            return self.json(&Value::Array(objects));
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(columns.iter().map(|c| c.to_uppercase()));
        for row in rows {
            table.add_row(row.iter().map(cell));
        }
        let text = table.to_string();
        // A line ends where its text ends: columns are padded, the last one needs no padding.
        text.lines().for_each(|row| line(row.trim_end()));
    }

    /// Shows one thing: names and values under each other; as JSON an object.
    pub fn record(self, fields: Vec<(&str, Value)>) {
        if self.is_json() {
            let object = fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            return self.json(&Value::Object(object));
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in fields {
            line(&format!("{name:width$}  {}", cell(&value)));
        }
    }

    /// Shows a JSON value as it is.
    pub fn json(self, value: &Value) {
        let text = if self.is_json() { value.to_string() } else { format!("{value:#}") };
        line(&text);
    }

    /// Says that something was done; as JSON `{"done": ...}`.
    pub fn done(self, text: &str) {
        if self.is_json() { self.json(&json!({ "done": text })) } else { line(text) }
    }

    /// A line for people alone.
    pub fn note(self, text: &str) {
        if !self.is_json() {
            line(text);
        }
    }
}

/// Writes a line to standard output. A reader that went away is not an error.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

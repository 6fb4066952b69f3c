//! What each parameter becomes at each service: one line for each cell of the table in the specification's 2.1.

use std::fmt::Write as _;

use serde_json::Value;

use super::*;
use crate::inference::error::InferenceError;
use crate::inference::providers::google::{self, Flavour};
use crate::inference::providers::openai_tests::compare;
use crate::inference::providers::openai_tests::parameters::{CELLS, more};
use crate::inference::providers::wire::Delivery;
use crate::inference::providers::{anthropic, bedrock};

fn body(column: Column, call: &Call) -> Result<Value, InferenceError> {
    match column.format {
        Format::Messages if column.name == "vertex-claude" => {
            google::vertex::claude::body(call, Delivery::Stream)
        }
        Format::Messages => anthropic::body(call, Delivery::Stream),
        Format::Converse => bedrock::body(call),
        _ if column.name == "vertex" => google::body(call, Flavour::Vertex),
        _ => google::body(call, Flavour::GoogleAi),
    }
}

#[test]
fn every_cell_is_as_written_down() {
    let mut text = String::new();
    for column in COLUMNS {
        let mut call = column.call(None);
        call.request.max_tokens = Some(8_192);
        let base = body(column, &call).unwrap();
        let _ = writeln!(text, "== {}\nbase: {base}", column.name);
        for (name, set) in CELLS {
            let mut call = call.clone();
            set(&mut call.request);
            let _ = match body(column, &call) {
                Err(error) => writeln!(text, "{name}: refused: {error}"),
                Ok(body) => match more(&base, &body) {
                    fields if fields.is_empty() => writeln!(text, "{name}: -"),
                    fields => writeln!(text, "{name}: {}", Value::from(fields)),
                },
            };
        }
        text.push('\n');
    }
    compare("parameters-clouds.txt", &text);
}

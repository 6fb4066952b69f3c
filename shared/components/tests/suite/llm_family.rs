//! The components that call models, beside GenAILLM's and PromptGenerator's workflows.

mod assistant;
mod classifier;
mod files;
mod images;
mod parameters;
mod structured;
mod window;

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::context::Suite;
use crate::driver::{lone, result_of};

/// A suite whose `scripted` models answer with these texts.
fn suite(answers: &[&str]) -> Arc<Suite> {
    let suite = Suite::new(&[]);
    suite.scene.answers.lock().extend(answers.iter().map(|answer| (*answer).to_owned()));
    suite
}

/// One component with inputs of these types, which get the members of the body.
async fn run(
    suite: &Arc<Suite>,
    type_name: &str,
    settings: Json,
    inputs: &[(&str, &str)],
    outputs: &[(&str, bool)],
    body: Json,
) -> Json {
    let inputs: Json =
        inputs.iter().map(|(name, kind)| json!({"name": name, "type": kind, "optional": true})).collect();
    let outputs: Json = outputs
        .iter()
        .map(
            |(name, native)| json!({"name": name, "default": native, "description": format!("about {name}")}),
        )
        .collect();
    result_of(suite, &lone(type_name, settings, inputs, outputs), body).await
}

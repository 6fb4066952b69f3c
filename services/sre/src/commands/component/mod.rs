//! `sre component`: component types that are served out of process.

mod register;
mod target;
mod test;

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::agent::v1::{Component as Type, ListComponentsRequest};
use sre_proto::component::v1::Description;

use crate::cli::args::{Component, Global};
use crate::cli::output::Output;
use crate::client::Client;

const COLUMNS: [&str; 6] = ["type", "version", "effect", "team", "endpoints", "description"];

/// Runs the command.
pub async fn run(global: &Global, command: Component) -> Result<()> {
    let output = Output::new(global.format());
    match command {
        Component::List => list(global, output).await,
        Component::Describe(target) => {
            let description = target::describe(&target::connect(global, &target)?).await?;
            output.record(described(&description));
            Ok(())
        }
        Component::Test(arguments) => test::run(global, output, arguments).await,
        Component::Register(arguments) => register::register(global, output, arguments).await,
        Component::Remove { name, version } => register::remove(global, output, &name, version).await,
        Component::Share { name, with, level } => register::share(global, output, &name, &with, &level).await,
    }
}

async fn list(global: &Global, output: Output) -> Result<()> {
    let client = Client::connect(global).await?;
    let answer = client.components().list_components(ListComponentsRequest::default()).await?.into_inner();
    let rows = answer.components.into_iter().filter_map(row).collect();
    output.rows(&COLUMNS, rows);
    Ok(())
}

/// None for types of the suite.
fn row(found: Type) -> Option<Vec<Value>> {
    let registration = found.registration.as_ref()?;
    let default = registration
        .versions
        .iter()
        .find(|it| it.description.as_ref().is_some_and(|it| it.version == registration.default_version));
    let endpoints = default.map(|it| it.endpoints.join(", ")).unwrap_or_default();
    let team =
        registration.name.strip_prefix("teams/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let effect = found.effect().as_str_name().trim_start_matches("EFFECT_").to_lowercase();
    Some(vec![
        json!(found.name.trim_start_matches("components/")),
        json!(registration.default_version),
        json!(effect),
        json!(team),
        json!(endpoints),
        json!(found.description),
    ])
}

fn described(it: &Description) -> Vec<(&'static str, Value)> {
    let names = |names: Vec<&str>| json!(names.join(", "));
    let effect = it.effect().as_str_name().trim_start_matches("EFFECT_").to_lowercase();
    vec![
        ("type", json!(it.r#type)),
        ("version", json!(it.version)),
        ("description", json!(it.description)),
        ("effect", json!(effect)),
        ("settings", names(it.settings.iter().map(|it| it.name.as_str()).collect())),
        ("inputs", names(it.inputs.iter().map(|it| it.name.as_str()).collect())),
        ("outputs", names(it.outputs.iter().map(|it| it.name.as_str()).collect())),
        ("scopes", names(it.scopes.iter().map(String::as_str).collect())),
        ("idempotent", json!(it.idempotent)),
        ("examples", json!(it.examples.len())),
    ]
}

//! `sre runs steps`: what a run's components did.

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::gateway::v1::{ListStepsRequest, Step};

use super::parse;
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

/// Largest page a service gives.
const PAGE: i32 = 1000;
/// An output in a table is cut here: the whole is in `--json`.
const SHOWN_CHARACTERS: usize = 60;

/// Shows the steps.
pub async fn run(output: Output, client: &Client, name: String) -> Result<()> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListStepsRequest { name: name.clone(), page_size: PAGE, page_token };
        let page = client.runs().list_steps(request).await?.into_inner();
        rows.extend(page.steps.iter().map(|step| row(output, step)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.rows(&["sequence", "activation", "component", "type", "ended", "error", "output"], rows);
    Ok(())
}

fn row(output: Output, step: &Step) -> Vec<Value> {
    let whole = parse(&step.output_json);
    let shown = if output.is_json() { whole } else { json!(cut(&whole.to_string())) };
    vec![
        json!(step.sequence),
        json!(step.activation),
        json!(step.component),
        json!(step.r#type),
        json!(dates::text(step.end_time.as_ref())),
        json!(step.error),
        shown,
    ]
}

/// The beginning of a text, on one line.
fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(SHOWN_CHARACTERS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_outputs_are_cut_for_people_alone() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"é".repeat(100)).chars().count(), SHOWN_CHARACTERS);
        let step =
            Step { output_json: json!({ "a": "x".repeat(200) }).to_string().into(), ..Step::default() };
        let shown = |format| row(Output::new(format), &step).pop();
        assert_eq!(shown(crate::cli::args::Format::Json), Some(json!({ "a": "x".repeat(200) })));
        assert!(shown(crate::cli::args::Format::Table).unwrap().as_str().unwrap().ends_with('…'));
    }
}

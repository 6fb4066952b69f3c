//! `sre runs trace`: a run's span tree.

use std::collections::HashMap;

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::observability::v1::{GetTraceRequest, Trace, TraceSpan};

use crate::cli::output::Output;
use crate::client::Client;
use crate::commands::usage::dollars;
use crate::dates;

/// Shows the tree.
pub async fn run(output: Output, client: &Client, name: String) -> Result<()> {
    let trace = client.traces().get_trace(GetTraceRequest { name }).await?.into_inner();
    output.rows(
        &["span", "title", "started", "ms", "state", "input tokens", "output tokens", "usd"],
        rows(output, &trace),
    );
    let sums = format!(
        "{} in, {} out, {} usd{}{}",
        trace.input_tokens,
        trace.output_tokens,
        dollars(trace.cost_micros),
        if trace.trace_id.is_empty() { String::new() } else { format!(", trace {}", trace.trace_id) },
        if trace.truncated { ", and more spans than are shown" } else { "" },
    );
    output.note(&sums);
    Ok(())
}

fn rows(output: Output, trace: &Trace) -> Vec<Vec<Value>> {
    // A parent comes before its children.
    let mut depths: HashMap<&str, usize> = HashMap::new();
    let mut rows = Vec::with_capacity(trace.spans.len());
    for span in &trace.spans {
        let depth = depths.get(span.parent_id.as_str()).map_or(0, |depth| depth + 1);
        depths.insert(&span.id, depth);
        rows.push(row(output, span, depth));
    }
    rows
}

fn row(output: Output, span: &TraceSpan, depth: usize) -> Vec<Value> {
    let state = match (span.running, span.failed) {
        (true, _) => "running",
        (false, true) => "failed",
        (false, false) => "ok",
    };
    let name =
        if output.is_json() { span.name.clone() } else { format!("{}{}", "  ".repeat(depth), span.name) };
    let number = |number: i64| if number == 0 && !output.is_json() { Value::Null } else { json!(number) };
    let money = if span.cost_micros == 0 { Value::Null } else { json!(dollars(span.cost_micros)) };
    vec![
        json!(name),
        json!(span.title),
        json!(dates::text(span.start_time.as_ref())),
        json!(format!("{:.3}", span.duration_micros as f64 / 1e3)),
        json!(state),
        number(span.input_tokens),
        number(span.output_tokens),
        money,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Format;

    #[test]
    fn children_are_indented_below_their_parents() {
        let span = |id: &str, parent: &str| TraceSpan {
            id: id.into(),
            parent_id: parent.into(),
            name: id.into(),
            ..TraceSpan::default()
        };
        let trace = Trace {
            spans: vec![span("run", ""), span("A@1", "run"), span("llm", "A@1")],
            ..Trace::default()
        };
        let names: Vec<Value> =
            rows(Output::new(Format::Table), &trace).into_iter().map(|row| row[0].clone()).collect();
        assert_eq!(names, [json!("run"), json!("  A@1"), json!("    llm")]);
    }
}

//! `sre usage`: what a team used.

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::observability::v1::{QueryUsageRequest, UsageGrouping, UsageRow};

use crate::cli::args::{Global, UsageBy, UsageOf};
use crate::cli::output::Output;
use crate::client::Client;

/// Largest page a service gives.
const PAGE: usize = 1000;

/// Shows sums.
pub async fn run(global: &Global, arguments: UsageOf) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    let (group_by, key) = match arguments.by {
        UsageBy::Team => (UsageGrouping::Team, "team"),
        UsageBy::Agent => (UsageGrouping::Agent, "agent"),
        UsageBy::User => (UsageGrouping::User, "user"),
        UsageBy::Model => (UsageGrouping::Model, "model"),
        UsageBy::Run => (UsageGrouping::Run, "run"),
    };
    let mut rows = Vec::new();
    let mut page_token = String::new();
    while rows.len() < arguments.limit {
        let size = (arguments.limit - rows.len()).min(PAGE);
        let request = QueryUsageRequest {
            parent: client.team_name(),
            group_by: group_by.into(),
            start_time: arguments.since,
            end_time: arguments.until,
            agent: arguments.agent.clone(),
            page_size: i32::try_from(size).unwrap_or(i32::MAX),
            page_token,
        };
        let page = client.usage().query_usage(request).await?.into_inner();
        rows.extend(page.rows.iter().map(|sums| row(output, sums)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let columns = [
        key,
        "runs",
        "executions",
        "seconds",
        "model calls",
        "input tokens",
        "output tokens",
        "cached",
        "thinking",
        "usd",
        "byte hours",
        "unmetered",
        "service calls",
        "credits",
    ];
    output.rows(&columns, rows);
    Ok(())
}

fn row(output: Output, sums: &UsageRow) -> Vec<Value> {
    let key = if sums.key.is_empty() { "-" } else { &sums.key };
    let seconds = sums.component_micros as f64 / 1e6;
    vec![
        json!(key),
        json!(sums.runs),
        json!(sums.executions),
        if output.is_json() { json!(seconds) } else { json!(format!("{seconds:.3}")) },
        json!(sums.model_calls),
        json!(sums.input_tokens),
        json!(sums.output_tokens),
        json!(sums.cached_input_tokens),
        json!(sums.reasoning_tokens),
        json!(dollars(sums.cost_micros)),
        json!(sums.storage_byte_hours),
        json!(sums.unmetered_calls),
        json!(sums.service_calls),
        json!(sums.service_credits),
    ]
}

/// Millionths of a dollar as dollars, exactly.
pub fn dollars(micros: i64) -> String {
    let micros = micros.unsigned_abs();
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_exactly() {
        assert_eq!(
            (dollars(0), dollars(7), dollars(12_500_003)),
            ("0.000000".into(), "0.000007".into(), "12.500003".into())
        );
    }
}

//! `sre audit list` and `sre audit export`.

use std::path::Path;

use anyhow::Result;
use prost_types::Timestamp;
use serde_json::{Value, json};
use sre_proto::security::v1::{AuditRecord, Decision, ListRecordsRequest};

use super::Lines;
use crate::cli::args::{AuditDecision, AuditFilter};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

const PAGE: i32 = 1000;
/// Pages that may come without a record before a list gives up looking: each is a part of the log.
const EMPTY_PAGES: usize = 10_000;

/// Shows records in a table.
pub async fn list(output: Output, client: &Client, filter: &AuditFilter, limit: usize) -> Result<()> {
    let mut rows = Vec::new();
    each(client, filter, Some(limit), |record| {
        rows.push(row(&record));
        Ok(())
    })
    .await?;
    let columns = ["time", "decision", "method", "resource", "subject", "peer", "reason", "team"];
    output.rows(&columns, rows);
    Ok(())
}

/// Writes records as lines of JSON.
pub async fn export(
    output: Output,
    client: &Client,
    filter: &AuditFilter,
    file: Option<&Path>,
) -> Result<()> {
    let mut lines = Lines::to(file)?;
    let mut count = 0_u64;
    each(client, filter, None, |record| {
        count += 1;
        lines.write(&whole(&record).to_string())
    })
    .await?;
    lines.finish()?;
    if let Some(file) = file {
        output.done(&format!("{count} records are in {}", file.display()));
    }
    Ok(())
}

async fn each(
    client: &Client,
    filter: &AuditFilter,
    limit: Option<usize>,
    mut take: impl FnMut(AuditRecord) -> Result<()>,
) -> Result<()> {
    let mut request = request(client, filter)?;
    let (mut left, mut empty) = (limit.unwrap_or(usize::MAX), 0);
    while left > 0 {
        request.page_size = i32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let answer = client.audit().list_records(request.clone()).await?.into_inner();
        empty = if answer.records.is_empty() { empty + 1 } else { 0 };
        left = left.saturating_sub(answer.records.len());
        answer.records.into_iter().try_for_each(&mut take)?;
        if answer.next_page_token.is_empty() {
            break;
        }
        if empty > EMPTY_PAGES {
            return Err(Failure::failed("nothing was found for a long time: narrow it down with --since"));
        }
        request.page_token = answer.next_page_token;
    }
    Ok(())
}

fn request(client: &Client, filter: &AuditFilter) -> Result<ListRecordsRequest> {
    let decision = match filter.decision {
        None => Decision::Unspecified,
        Some(AuditDecision::Allowed) => Decision::Allowed,
        Some(AuditDecision::Denied) => Decision::Denied,
    };
    Ok(ListRecordsRequest {
        parent: if filter.all_teams { "deployment".to_owned() } else { client.team_name() },
        page_size: PAGE,
        page_token: String::new(),
        start_time: filter.since.as_deref().map(time).transpose()?,
        end_time: filter.until.as_deref().map(time).transpose()?,
        principal: filter.principal.clone(),
        service: filter.service.clone(),
        method: filter.method.clone(),
        resource: filter.resource.clone(),
        decision: decision.into(),
    })
}

fn time(text: &str) -> Result<Timestamp> {
    dates::parse(text)
        .ok_or_else(|| Failure::usage(format!("{text:?} is no time: write for example 2026-11-29T10:00:00Z")))
}

fn row(record: &AuditRecord) -> Vec<Value> {
    vec![
        json!(dates::text(record.time.as_ref())),
        json!(decision(record)),
        json!(record.method.trim_start_matches('/')),
        json!(record.resource),
        json!(record.subject),
        json!(record.peer),
        json!(record.reason),
        json!(record.team),
    ]
}

/// Everything that a record says, digests in hexadecimal.
fn whole(record: &AuditRecord) -> Value {
    json!({
        "writer": record.writer,
        "sequence": record.sequence,
        "time": dates::text(record.time.as_ref()),
        "method": record.method.trim_start_matches('/'),
        "resource": record.resource,
        "subject": record.subject,
        "peer": record.peer,
        "chain": record.chain,
        "team": record.team,
        "decision": decision(record),
        "reason": record.reason,
        "trace_id": record.trace_id,
        "token_id": record.token_id,
        "previous_digest": hex::encode(&record.previous_digest),
        "digest": hex::encode(&record.digest),
    })
}

fn decision(record: &AuditRecord) -> String {
    record.decision().as_str_name().trim_start_matches("DECISION_").to_lowercase()
}

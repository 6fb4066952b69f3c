//! `sre audit verify`.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::security::v1::{Finding, VerifyRecordsRequest, VerifyRecordsResponse};

use super::checkpoints;
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

/// Verifies the log, and fails where something is wrong with it.
pub async fn run(output: Output, client: &Client, witness: Option<&Path>) -> Result<()> {
    let witnesses = witness.map(checkpoints::read).transpose()?.unwrap_or_default();
    let mut parts = client.audit().verify_records(VerifyRecordsRequest { witnesses }).await?.into_inner();
    let (mut findings, mut last) = (Vec::new(), VerifyRecordsResponse::default());
    while let Some(part) = parts.message().await? {
        findings.extend(part.findings.iter().map(row));
        last = part;
    }
    if !last.complete {
        return Err(Failure::unavailable("the verification was cut off: try again"));
    }
    let count = findings.len();
    if output.is_json() {
        output.json(&summary(&last, findings));
    } else {
        if count > 0 {
            output.rows(&COLUMNS, findings);
        }
        output.note(&format!(
            "{} records of {} writers and {} checkpoints were verified; {} records are not covered yet",
            last.records, last.writers, last.checkpoints, last.unsigned_records
        ));
        output.note(&format!("the log is sealed since {}", dates::text(last.sealed_time.as_ref())));
    }
    if count > 0 {
        let more = match last.findings_left_out {
            0 => String::new(),
            left => format!(" and {left} more"),
        };
        return Err(Failure::failed(format!(
            "the audit log is not whole: {count} findings{more}. Keep the store as it is, and compare it with a backup"
        )));
    }
    Ok(())
}

const COLUMNS: [&str; 4] = ["fault", "writer", "sequence", "message"];

fn row(finding: &Finding) -> Vec<Value> {
    let fault = finding.fault().as_str_name().trim_start_matches("FAULT_").to_lowercase().replace('_', " ");
    vec![json!(fault), json!(finding.writer), json!(finding.sequence), json!(finding.message)]
}

fn summary(last: &VerifyRecordsResponse, findings: Vec<Vec<Value>>) -> Value {
    let findings: Vec<Value> = findings
        .into_iter()
        .map(|row| Value::Object(COLUMNS.iter().map(|column| (*column).to_owned()).zip(row).collect()))
        .collect();
    json!({
        "whole": findings.is_empty(),
        "records": last.records,
        "writers": last.writers,
        "checkpoints": last.checkpoints,
        "unsigned_records": last.unsigned_records,
        "sealed": dates::text(last.sealed_time.as_ref()),
        "findings": findings,
        "findings_left_out": last.findings_left_out,
    })
}

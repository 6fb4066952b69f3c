//! `sre agents check`: what is wrong with agent files, before anybody runs them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::agent::v1::{Issue, Severity, ValidateAgentRequest};

use crate::cli::args::Global;
use crate::cli::exit::Failure;
use crate::cli::output::{Output, complain};
use crate::client::Client;
use crate::{ready_file, settings};

use super::agents::read_document;

const COLUMNS: [&str; 6] = ["file", "severity", "component", "field", "message", "hint"];

/// What is wrong at one place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    is_error: bool,
    component: String,
    field: String,
    message: String,
    hint: String,
}

/// Checks files: here, and where a suite runs, there too, since it knows secrets and models.
pub async fn run(global: &Global, output: Output, files: &[PathBuf]) -> Result<()> {
    let suite = suite(global).await?;
    let (mut rows, mut errors, mut warnings) = (Vec::new(), 0, 0);
    for file in files {
        for finding in findings(suite.as_ref(), file).await? {
            if finding.is_error {
                errors += 1;
            } else {
                warnings += 1;
            }
            rows.push(row(file, finding));
        }
    }
    if output.is_json() || !rows.is_empty() {
        output.rows(&COLUMNS, rows);
    }
    if errors > 0 {
        return Err(Failure::failed(format!("{errors} errors, {warnings} warnings")));
    }
    output.note(&format!("{} files checked: no errors, {warnings} warnings", files.len()));
    if suite.is_none() {
        output.note("no suite runs here: secrets and models were not looked for");
    }
    Ok(())
}

/// A client where a suite runs or one is named.
async fn suite(global: &Global) -> Result<Option<Client>> {
    if global.address.is_some() || ready_file::is_live(&settings::load(global, Vec::new())?.data_dir) {
        return Client::connect(global).await.map(Some);
    }
    Ok(None)
}

async fn findings(suite: Option<&Client>, file: &Path) -> Result<Vec<Finding>> {
    let document = match read_document(file) {
        Ok(document) => document,
        Err(error) => return Ok(vec![unreadable(&error)]),
    };
    let mut found: Vec<Finding> =
        sre_engine::check(&document, sre_components::registry()).into_iter().map(Finding::from).collect();
    if let Some(client) = suite {
        let request = ValidateAgentRequest {
            parent: client.team_name(),
            document_json: serde_json::to_vec(&document)?.into(),
        };
        match client.agents().validate_agent(request).await {
            Ok(answer) => {
                let more = answer.into_inner().issues.into_iter().map(Finding::from);
                more.for_each(|finding| {
                    if !found.contains(&finding) {
                        found.push(finding);
                    }
                });
            }
            // What was found here is worth showing without it.
            Err(status) => complain(&format!(
                "warning: the suite could not check {}: {}",
                file.display(),
                status.message()
            )),
        }
    }
    Ok(found)
}

fn unreadable(error: &anyhow::Error) -> Finding {
    Finding {
        is_error: true,
        component: String::new(),
        field: String::new(),
        message: format!("{error:#}"),
        hint: "an agent file is one JSON object".to_owned(),
    }
}

fn row(file: &Path, finding: Finding) -> Vec<Value> {
    vec![
        json!(file.display().to_string()),
        json!(if finding.is_error { "error" } else { "warning" }),
        json!(finding.component),
        json!(finding.field),
        json!(finding.message),
        json!(finding.hint),
    ]
}

impl From<sre_engine::Issue> for Finding {
    fn from(issue: sre_engine::Issue) -> Self {
        Self {
            is_error: issue.is_error(),
            component: issue.component.unwrap_or_default(),
            field: issue.field.unwrap_or_default(),
            message: issue.message,
            hint: issue.hint.unwrap_or_default(),
        }
    }
}

impl From<Issue> for Finding {
    fn from(issue: Issue) -> Self {
        Self {
            is_error: issue.severity() == Severity::Error,
            component: issue.component,
            field: issue.field,
            message: issue.message,
            hint: issue.hint,
        }
    }
}

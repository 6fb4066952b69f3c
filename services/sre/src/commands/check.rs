//! `sre agents check`: what is wrong with agent files, before anybody runs them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use sre_engine::Environment;
use sre_proto::agent::v1::{Issue, Severity, ValidateAgentRequest};
use sre_proto::llm::v1::ListModelsRequest;
use sre_proto::security::v1::ListSecretsRequest;

use crate::cli::args::Global;
use crate::cli::exit::{self, Failure};
use crate::cli::output::{Output, complain};
use crate::client::Client;
use crate::{ready_file, settings};

use super::agents::read_document;

/// Largest page a service gives.
const PAGE: i32 = 1000;
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

/// A suite, with what agents of the team find in it. `None` is what the caller may not see.
struct Suite {
    client: Client,
    secrets: Option<BTreeSet<String>>,
    models: Option<BTreeSet<String>>,
}

impl Environment for Suite {
    fn secret_exists(&self, key: &str) -> Option<bool> {
        Some(self.secrets.as_ref()?.contains(key))
    }

    fn model_exists(&self, name: &str) -> Option<bool> {
        Some(self.models.as_ref()?.contains(&name.to_lowercase()))
    }
}

/// The suite that runs here, or the one that is named.
async fn suite(global: &Global) -> Result<Option<Suite>> {
    if global.address.is_none() && !ready_file::is_live(&settings::load(global, Vec::new())?.data_dir) {
        return Ok(None);
    }
    let client = Client::connect(global).await?;
    let secrets = known("secrets", secrets(&client).await);
    let models = known("models", models(&client).await);
    Ok(Some(Suite { client, secrets, models }))
}

fn known(what: &str, found: Result<BTreeSet<String>>) -> Option<BTreeSet<String>> {
    match found {
        Ok(found) => Some(found),
        // What can be found without it is worth showing.
        Err(error) => {
            complain(&format!(
                "warning: the {what} of the suite were not looked for: {}",
                exit::text(&error)
            ));
            None
        }
    }
}

async fn secrets(client: &Client) -> Result<BTreeSet<String>> {
    let (mut names, mut page_token) = (BTreeSet::new(), String::new());
    loop {
        let parent = client.team_name();
        let request =
            ListSecretsRequest { parent, page_size: PAGE, page_token, ..ListSecretsRequest::default() };
        let page = client.vault().list_secrets(request).await?.into_inner();
        names.extend(page.secrets.iter().map(|secret| last(&secret.name).to_owned()));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(names);
        }
    }
}

/// The names of models, in small letters: a name that differs only in case is found.
async fn models(client: &Client) -> Result<BTreeSet<String>> {
    let models = client.models().list_models(ListModelsRequest::default()).await?.into_inner().models;
    Ok(models.iter().map(|model| entry(&model.name).to_lowercase()).collect())
}

/// The entry of `models/{entry}`, which may hold slashes.
fn entry(name: &str) -> &str {
    name.strip_prefix("models/").unwrap_or(name)
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

async fn findings(suite: Option<&Suite>, file: &Path) -> Result<Vec<Finding>> {
    let document = match read_document(file) {
        Ok(document) => document,
        Err(error) => return Ok(vec![unreadable(&error)]),
    };
    let registry = sre_components::registry();
    let Some(suite) = suite else {
        return Ok(sre_engine::check(&document, registry).into_iter().map(Finding::from).collect());
    };
    let mut found: Vec<Finding> =
        sre_engine::check_in(&document, registry, suite).into_iter().map(Finding::from).collect();
    let request = ValidateAgentRequest {
        parent: suite.client.team_name(),
        document_json: serde_json::to_vec(&document)?.into(),
    };
    match suite.client.agents().validate_agent(request).await {
        // The suite may know more types, or be of another release.
        Ok(answer) => {
            for finding in answer.into_inner().issues.into_iter().map(Finding::from) {
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
        Err(status) => {
            let message = status.message();
            complain(&format!("warning: the suite could not check {}: {message}", file.display()));
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

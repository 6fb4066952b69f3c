//! `sre import DIR`: takes over a `.smyth` folder of the reference.

mod datasources;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use sre_proto::security::v1::{
    CreateTeamRequest, Member, PutSecretRequest, Secret, SetMemberRequest, SetSettingRequest, Setting, Team,
    TeamRole,
};
use sre_proto::types::v1::{Candidate, Role};
use tonic::Code;

use super::{agents, import_files, import_values, up};
use crate::cli::args::{Global, Import};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;
use crate::settings;

/// Where the reference keeps its vault, in the order it looks.
const VAULTS: [&str; 3] = ["vault.json", "vault/vault.json", ".sre/vault.json"];
/// Where accounts are kept.
const ACCOUNTS: [&str; 2] = ["account.json", "teams.json"];

/// What was taken over.
#[derive(Debug, Default)]
pub struct Imported {
    /// Teams that were created or found.
    pub teams: usize,
    /// Secrets.
    pub secrets: usize,
    /// Agents.
    pub agents: usize,
    /// Model files.
    pub models: usize,
    /// Whose rights can be recognised in the access lists of files.
    pub known: Vec<sre_identity::Candidate>,
    /// Datasources.
    pub datasources: usize,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Import) -> Result<()> {
    let output = Output::new(global.format());
    let folder = &arguments.folder;
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{} is no folder: name a .smyth folder", folder.display())));
    }
    let config = settings::load(global, Vec::new())?;
    let client = Client::connect(global).await?;
    let mut imported =
        Imported { models: models(folder, &config.data_dir.join("models"))?, ..Imported::default() };
    state(&client, folder, &mut imported).await?;
    for file in up::agent_files(folder)? {
        agents::store(&client, &file, None).await?;
        imported.agents += 1;
        imported.known.extend(
            file.file_stem().and_then(|id| sre_identity::Candidate::agent(&id.to_string_lossy()).ok()),
        );
    }
    let values = import_values::run(&client, folder).await?;
    let files = import_files::run(&client, folder, &imported.known).await?;
    imported.datasources = datasources::import(&client, folder, &arguments.embedding_model).await?;
    output.record(vec![
        ("teams", json!(imported.teams)),
        ("secrets", json!(imported.secrets)),
        ("models", json!(imported.models)),
        ("agents", json!(imported.agents)),
        ("files", json!(files.imported)),
        ("values", json!(values.imported)),
        ("datasources", json!(imported.datasources)),
    ]);
    if values.there > 0 {
        output.note(&format!("{} values were there already and are left as they are", values.there));
    }
    for left in &values.left {
        output.note(&format!("left: {left}"));
    }
    if files.there > 0 {
        output.note(&format!("{} files were there already and are left as they are", files.there));
    }
    for left in &files.left {
        output.note(&format!("left: {left}"));
    }
    if files.unknown > 0 {
        output.note(&format!(
            "{} entries of access lists name nobody that was imported: they give nothing",
            files.unknown
        ));
    }
    if imported.models > 0 {
        output.note("models are read from the data folder at the next start");
    }
    Ok(())
}

/// Takes over accounts and vault.
pub async fn state(client: &Client, folder: &Path, imported: &mut Imported) -> Result<()> {
    for (team, entry) in first(folder, &ACCOUNTS)?.unwrap_or_default() {
        account(client, &team, &entry).await.with_context(|| format!("team {team}"))?;
        let users = entry.get("users").and_then(Value::as_object).into_iter().flat_map(Map::keys);
        imported.known.extend(users.filter_map(|user| sre_identity::Candidate::user(user).ok()));
        imported.known.extend(sre_identity::Candidate::team(&team).ok());
        imported.teams += 1;
    }
    for (team, keys) in first(folder, &VAULTS)?.unwrap_or_default() {
        let keys = keys.as_object().cloned().unwrap_or_default();
        ensure_team(client, &team).await?;
        for (key, value) in keys {
            let Some(value) = value.as_str() else {
                return Err(Failure::failed(format!(
                    "vault key {key} of team {team} is no text: make it one"
                )));
            };
            let value = from_environment(value)?;
            let secret = Secret { name: format!("teams/{team}/secrets/{key}"), ..Secret::default() };
            let request =
                PutSecretRequest { secret: Some(secret), value: value.into(), ..PutSecretRequest::default() };
            client
                .vault()
                .put_secret(request)
                .await
                .with_context(|| format!("vault key {key} of team {team}"))?;
            imported.secrets += 1;
        }
    }
    Ok(())
}

/// The first of these files that is there, as an object.
fn first(folder: &Path, names: &[&str]) -> Result<Option<Map<String, Value>>> {
    let Some(file) = names.iter().map(|name| folder.join(name)).find(|file| file.exists()) else {
        return Ok(None);
    };
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let object = serde_json::from_str(&text)
        .map_err(|e| Failure::failed(format!("{} is not a JSON object: {e}", file.display())))?;
    Ok(Some(object))
}

async fn ensure_team(client: &Client, team: &str) -> Result<()> {
    let request = CreateTeamRequest { team_id: team.to_owned(), team: Some(Team::default()) };
    match client.account().create_team(request).await {
        Err(status) if status.code() != Code::AlreadyExists => {
            Err(status).with_context(|| format!("team {team}"))
        }
        _ => Ok(()),
    }
}

async fn account(client: &Client, team: &str, entry: &Value) -> Result<()> {
    ensure_team(client, team).await?;
    let members = |kind: &str| entry.get(kind).and_then(Value::as_object).cloned().unwrap_or_default();
    for (user, about) in members("users") {
        // The importer stays what it is: it is the admin of what it imports.
        if user != sre_service::first_start::DEV_USER {
            let member = Member {
                candidate: Some(Candidate { role: Role::User.into(), id: user.clone() }),
                role: TeamRole::Member.into(),
                home: false,
            };
            let request = SetMemberRequest { parent: format!("teams/{team}"), member: Some(member) };
            client.account().set_member(request).await.with_context(|| format!("user {user}"))?;
        }
        set_all(client, &format!("users/{user}"), about.get("settings")).await?;
    }
    set_all(client, &format!("teams/{team}"), entry.get("settings")).await
}

async fn set_all(client: &Client, owner: &str, settings: Option<&Value>) -> Result<()> {
    for (key, value) in settings.and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let setting = Setting { name: format!("{owner}/settings/{key}"), value, ..Setting::default() };
        let request = SetSettingRequest { setting: Some(setting) };
        client.account().set_setting(request).await.with_context(|| format!("setting {key} of {owner}"))?;
    }
    Ok(())
}

/// `$env(NAME)` in the operator's own file; an unset variable is an error, never a secret.
fn from_environment(value: &str) -> Result<String> {
    let mut text = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("$env(") {
        let Some(length) = rest[start..].find(')') else { break };
        let name = &rest[start + 5..start + length];
        text.push_str(&rest[..start]);
        let found = std::env::var(name).map_err(|_| {
            Failure::usage(format!("vault.json names $env({name}), which is not set: set it"))
        })?;
        text.push_str(&found);
        rest = &rest[start + length + 1..];
    }
    text.push_str(rest);
    Ok(text)
}

/// Copies model files to where the suite reads them.
fn models(folder: &Path, to: &Path) -> Result<usize> {
    let mut files: Vec<PathBuf> = Vec::new();
    if folder.join("models.json").is_file() {
        files.push(folder.join("models.json"));
    }
    if folder.join("models").is_dir() {
        for entry in fs::read_dir(folder.join("models"))? {
            let file = entry?.path();
            if file.extension().is_some_and(|e| e == "json") {
                files.push(file);
            }
        }
    }
    for file in &files {
        fs::create_dir_all(to)?;
        let name = file.file_name().unwrap_or_default();
        fs::copy(file, to.join(name)).with_context(|| file.display().to_string())?;
    }
    Ok(files.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unset_variable_never_becomes_a_secret() {
        assert_eq!(from_environment("plain $env and $env(").unwrap(), "plain $env and $env(");
        assert!(from_environment("x$env(SRE_SURELY_NOT_SET)").is_err());
        let home = std::env::var("PATH").unwrap();
        assert_eq!(from_environment("a$env(PATH)b").unwrap(), format!("a{home}b"));
    }
}

//! `sre vault`: secrets of a team, and the keys that seal them.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sre_proto::security::v1::{
    DeleteSecretRequest, GrantSecretRequest, ListSecretGrantsRequest, ListSecretVersionsRequest,
    ListSecretsRequest, PutSecretRequest, RevokeSecretGrantRequest, RotateVaultKeysRequest, Secret,
};
use zeroize::Zeroizing;

use crate::cli::args::{Global, Vault};
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

/// The vault takes 64 KiB; what is longer is refused there with its own words.
const MAX_READ: u64 = 1 << 20;
const PAGE: i32 = 1000;

/// Runs the command.
pub async fn run(global: &Global, command: Vault) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    let team = client.team_name();
    let named = |key: &str| format!("{team}/secrets/{key}");
    match command {
        Vault::List { instance } => list(&client, &output, instance).await,
        Vault::Put { secret, file } => {
            let value = read(file.as_deref())?;
            let name = named(&secret.key);
            let request = PutSecretRequest {
                secret: Some(Secret { name, ..Secret::default() }),
                value: value.to_vec().into(),
                instance: secret.instance,
            };
            let made = client.vault().put_secret(request).await?.into_inner();
            output.done(&format!("{} has version {}", made.name, made.version));
            Ok(())
        }
        Vault::Versions { secret } => versions(&client, &output, named(&secret.key), secret.instance).await,
        Vault::Delete { secret } => {
            let name = named(&secret.key);
            let request = DeleteSecretRequest { name: name.clone(), instance: secret.instance };
            client.vault().delete_secret(request).await?;
            output.done(&format!("{name} is deleted"));
            Ok(())
        }
        Vault::Grant { key, grantee } => {
            let request = GrantSecretRequest { name: named(&key), grantee: grantee.name() };
            let made = client.vault().grant_secret(request).await?.into_inner();
            output.done(&format!("{} is granted to {}", made.name, made.grantee));
            Ok(())
        }
        Vault::Revoke { key, grantee } => {
            let request = RevokeSecretGrantRequest { name: named(&key), grantee: grantee.name() };
            client.vault().revoke_secret_grant(request).await?;
            output.done(&format!("{key} is not granted to {} any more", grantee.name()));
            Ok(())
        }
        Vault::Grants => grants(&client, &output).await,
        Vault::Rotate { keep_keys, forget_old } => {
            let request = RotateVaultKeysRequest { keep_keys, forget_old_keys: forget_old };
            let answer = client.vault().rotate_vault_keys(request).await?.into_inner();
            let row = |key: &sre_proto::security::v1::VaultKey| {
                vec![json!(key.name), json!(key.key_id), json!(key.old_key_ids.len())]
            };
            output.rows(&["key", "seals with", "older keys"], answer.keys.iter().map(row).collect());
            output.note(&format!("{} keys of secrets were sealed anew", answer.resealed));
            Ok(())
        }
    }
}

/// The value, without a copy that outlives the call in this process.
fn read(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>> {
    let mut value = Zeroizing::new(Vec::new());
    match file {
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
            file.take(MAX_READ).read_to_end(&mut value).with_context(|| path.display().to_string())?;
        }
        None => {
            std::io::stdin().lock().take(MAX_READ).read_to_end(&mut value).context("standard input")?;
            let text = value.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            if let Some(length) = text.map(<[u8]>::len) {
                value.truncate(length);
            }
        }
    }
    Ok(value)
}

async fn list(client: &Client, output: &Output, instance: String) -> Result<()> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let parent = client.team_name();
        let request = ListSecretsRequest { parent, page_size: PAGE, page_token, instance: instance.clone() };
        let page = client.vault().list_secrets(request).await?.into_inner();
        rows.extend(page.secrets.iter().map(row));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.rows(&["key", "version", "updated", "by", "source"], rows);
    Ok(())
}

fn row(secret: &Secret) -> Vec<Value> {
    let key = secret.name.split_once("/secrets/").map_or(secret.name.as_str(), |(_, key)| key);
    vec![
        json!(key),
        json!(secret.version),
        json!(dates::text(secret.update_time.as_ref())),
        json!(secret.updater),
        json!(secret.source),
    ]
}

async fn versions(client: &Client, output: &Output, name: String, instance: String) -> Result<()> {
    let request =
        ListSecretVersionsRequest { name, page_size: PAGE, instance, ..ListSecretVersionsRequest::default() };
    let versions = client.vault().list_secret_versions(request).await?.into_inner().versions;
    let rows = versions.iter().map(|version| {
        vec![json!(version.version), json!(dates::text(version.create_time.as_ref())), json!(version.creator)]
    });
    output.rows(&["version", "set", "by"], rows.collect());
    Ok(())
}

async fn grants(client: &Client, output: &Output) -> Result<()> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListSecretGrantsRequest { parent: client.team_name(), page_size: PAGE, page_token };
        let page = client.vault().list_secret_grants(request).await?.into_inner();
        rows.extend(page.grants.iter().map(|grant| {
            vec![
                json!(grant.name),
                json!(grant.grantee),
                json!(dates::text(grant.create_time.as_ref())),
                json!(grant.creator),
            ]
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.rows(&["secret", "granted to", "since", "by"], rows);
    Ok(())
}

//! `sre oauth`: has a person grant an agent access to an account.

mod redirect;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use sre_components::egress;
use sre_components::oauth::code::{Application, Grant};
use sre_components::oauth::record::Record;
use sre_proto::security::v1::{
    AccessSecretsRequest, CheckManagedSecretRequest, DeleteManagedSecretRequest, SetManagedSecretRequest,
};
use zeroize::Zeroizing;

use crate::cli::args::{Connection, Global, Login, OAuth};
use crate::cli::output::{self, Output};
use crate::client::Client;
use crate::dates;

/// Runs the command.
pub async fn run(global: &Global, command: OAuth) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    match command {
        OAuth::Login(arguments) => login(&client, output, *arguments).await,
        OAuth::Status { connection } => {
            let name = name(&client, &connection);
            let request = CheckManagedSecretRequest { name: name.clone(), ..Default::default() };
            let found = client.managed_vault().check_managed_secret(request).await?.into_inner();
            output.record(vec![
                ("connection", json!(name)),
                ("tokens", json!(found.exists)),
                ("version", json!(found.version)),
                ("until", json!(dates::text(found.expire_time.as_ref()))),
            ]);
            Ok(())
        }
        OAuth::Forget { connection } => {
            let name = name(&client, &connection);
            let request = DeleteManagedSecretRequest { name: name.clone(), ..Default::default() };
            client.managed_vault().delete_managed_secret(request).await?;
            output.done(&format!("{name} is forgotten"));
            Ok(())
        }
    }
}

fn name(client: &Client, connection: &Connection) -> String {
    format!("{}/managedSecrets/{}", client.agent_name(&connection.agent), connection.connection)
}

async fn login(client: &Client, output: Output, arguments: Login) -> Result<()> {
    let secret = match &arguments.client_secret_key {
        Some(key) => secret(client, key).await?,
        None => Zeroizing::new(String::new()),
    };
    let application = Application {
        authorize_url: arguments.authorize_url.clone(),
        token_url: arguments.token_url.clone(),
        client_id: arguments.client_id.clone(),
        client_secret: secret.to_string(),
        scope: arguments.scope.clone(),
    };
    let door = redirect::Door::open(arguments.port).await?;
    let grant = Grant::new(door.address());
    output::complain(&format!(
        "open this address, and grant access there:\n\n  {}\n",
        grant.url(&application)
    ));
    let patience = Duration::from_secs(arguments.patience);
    let code = door.code(&grant, patience).await?;
    let mut record = record(&arguments);
    // What the person names on the command line is theirs to reach.
    let everywhere = egress::Policy::new(&["0.0.0.0/0", "::/0"])?;
    let http =
        egress::Client::new(everywhere, egress::Limits::default()).context("the outbound HTTP client")?;
    if let Err(message) = grant.redeem(&http, &application, code, &mut record).await {
        bail!(message);
    }
    let name = name(client, &arguments.connection);
    let value = record.to_bytes().to_vec().into();
    let request = SetManagedSecretRequest { name: name.clone(), value, ..Default::default() };
    client.managed_vault().set_managed_secret(request).await?;
    output.done(&format!("{name} has tokens"));
    Ok(())
}

/// The record without tokens. The secret stays in the team's vault: the record names it.
fn record(arguments: &Login) -> Record {
    let key = arguments.client_secret_key.as_deref();
    let members = [
        ("type", "oauth2".to_owned()),
        ("service", arguments.service.clone()),
        ("authorizationURL", arguments.authorize_url.to_string()),
        ("tokenURL", arguments.token_url.to_string()),
        ("clientID", arguments.client_id.clone()),
        ("clientSecret", key.map(|key| format!("{{{{KEY({key})}}}}")).unwrap_or_default()),
        ("scope", arguments.scope.clone()),
    ];
    let settings: Map<String, Value> =
        members.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    Record::new(settings, "")
}

async fn secret(client: &Client, key: &str) -> Result<Zeroizing<String>> {
    let request =
        AccessSecretsRequest { parent: client.team_name(), keys: vec![key.to_owned()], ..Default::default() };
    let found = client.vault().access_secrets(request).await?.into_inner().secrets;
    let Some(found) = found.into_iter().next() else {
        bail!("the vault has no key {key}: `sre vault put {key}`")
    };
    let text =
        String::from_utf8(found.value.to_vec()).with_context(|| format!("vault key {key} is not text"))?;
    Ok(Zeroizing::new(text))
}

//! `sre certs`: an authority and certificates for deployments that bring none.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;
use sre_identity::{Kind, Principal};
use sre_proto::security::v1::RotateKeyRequest;
use sre_service::first_start::authority::Step;
use sre_service::first_start::{DEV_USER, Identities};
use sre_service::{Config, Profile, Role};

use crate::cli::args::{Certs, Global};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;
use crate::settings;

/// Runs the command.
pub async fn run(global: &Global, command: Certs) -> Result<()> {
    let output = Output::new(global.format());
    match command {
        Certs::Renew => {
            identities(global, None, Vec::new(), None)?.renew_all()?;
            output.done("every role has a new certificate");
        }
        Certs::RotateAuthority { step } => {
            let parsed: Step = step.parse().map_err(|error| Failure::usage(format!("{error}")))?;
            identities(global, None, Vec::new(), None)?.rotate_authority(parsed)?;
            output.done(match parsed {
                Step::Stage => "the next authority is trusted: activate it when every role has reloaded",
                Step::Activate => "the new authority issues: retire the old one when every role has reloaded",
                Step::Retire => "the old authority is not trusted any more",
            });
        }
        Certs::RotateSigningKey => {
            let client = Client::connect(global).await?;
            let key = client.identity().rotate_key(RotateKeyRequest {}).await?.into_inner();
            output.record(vec![("key", json!(key.key_id))]);
        }
        Certs::Init { out, names } => {
            let identities = identities(global, out, names, None)?;
            identities.prepare(&Role::ALL)?;
            output.record(vec![
                ("folder", json!(identities.folder().display().to_string())),
                ("bundle", json!(identities.bundle().display().to_string())),
                ("services", json!(Role::ALL.map(Role::name).join(", "))),
                ("user", json!(DEV_USER)),
            ]);
        }
        Certs::Issue { principal, hours, out } => {
            let Some((kind, name)) = principal.split_once('/') else {
                return Err(Failure::usage(format!(
                    "{principal:?}: write kind/name, for example user/alice"
                )));
            };
            let kind: Kind = kind.parse().map_err(|_| {
                Failure::usage(format!("{kind:?} is no kind of principal: use user, agent, team or service"))
            })?;
            let principal = Principal::new(kind, name).map_err(|e| Failure::usage(e.to_string()))?;
            let identities = identities(global, out, Vec::new(), Some(hours))?;
            let (cert, key) = identities.issue_to_files(&principal)?;
            output.record(vec![
                ("principal", json!(principal.to_string())),
                ("cert", json!(cert.display().to_string())),
                ("key", json!(key.display().to_string())),
                ("ca", json!(identities.bundle().display().to_string())),
            ]);
        }
    }
    Ok(())
}

fn identities(
    global: &Global,
    out: Option<PathBuf>,
    names: Vec<String>,
    hours: Option<u32>,
) -> Result<Identities> {
    let mut config: Config = settings::load(global, Vec::new())?;
    // Who asks for certificates by hand wants them made, whatever the profile of the suite.
    config.profile = Profile::Dev;
    if let Some(folder) = out {
        config.certs.dir = std::path::absolute(folder)?;
    }
    config.certs.dns_names.extend(names);
    if let Some(hours) = hours {
        config.certs.lifetime_seconds = u64::from(hours) * 3600;
    }
    Ok(Identities::new(&config.shared()))
}

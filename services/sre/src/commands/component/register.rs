//! Registering types, and who may use them.

use anyhow::Result;
use sre_identity::{Acl, Candidate, Level};
use sre_proto::agent::v1::{
    Component, ComponentVersion, DeleteComponentRequest, GetComponentAclRequest, GetComponentRequest,
    PutComponentVersionRequest, RegisterComponentRequest, SetComponentAclRequest,
};
use sre_proto::types;
use tonic::Code;

use super::target;
use crate::cli::args::{ComponentRegister, Global};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;

pub(super) async fn register(global: &Global, output: Output, arguments: ComponentRegister) -> Result<()> {
    let description = target::describe(&target::connect(global, &arguments.target)?).await?;
    let (name, number) = (description.r#type.clone(), description.version.clone());
    let endpoints = match arguments.endpoints.is_empty() {
        true => vec![arguments.target.target.clone()],
        false => arguments.endpoints,
    };
    let version = ComponentVersion {
        description: Some(description),
        endpoints,
        identity: arguments.target.identity.unwrap_or_default(),
        ..ComponentVersion::default()
    };
    let client = Client::connect(global).await?;
    let known =
        client.components().get_component(GetComponentRequest { name: format!("components/{name}") }).await;
    match known {
        Ok(known) => {
            let name = registered_name(known.into_inner())?;
            let request = PutComponentVersionRequest {
                name,
                version: Some(version),
                make_default: !arguments.keep_default,
            };
            client.components().put_component_version(request).await?;
        }
        Err(status) if status.code() == Code::NotFound => {
            let request = RegisterComponentRequest { parent: client.team_name(), version: Some(version) };
            client.components().register_component(request).await?;
        }
        Err(status) => return Err(status.into()),
    }
    output.done(&format!("{name} {number} is registered: documents name it as the type \"{name}\""));
    Ok(())
}

pub(super) async fn remove(
    global: &Global,
    output: Output,
    name: &str,
    version: Option<String>,
) -> Result<()> {
    let client = Client::connect(global).await?;
    let full = full_name(&client, name).await?;
    let version = version.unwrap_or_default();
    let request = DeleteComponentRequest { name: full, version: version.clone() };
    client.components().delete_component(request).await?;
    output.done(&format!("{name} {version} is removed"));
    Ok(())
}

pub(super) async fn share(
    global: &Global,
    output: Output,
    name: &str,
    with: &str,
    level: &str,
) -> Result<()> {
    let candidate: Candidate =
        with.parse().map_err(|error| Failure::usage(format!("--with {with:?}: {error}")))?;
    let level: Level = level.parse().map_err(|error| Failure::usage(format!("--level: {error}")))?;
    let client = Client::connect(global).await?;
    let name = full_name(&client, name).await?;
    let current =
        client.components().get_component_acl(GetComponentAclRequest { name: name.clone() }).await?;
    let current = current.into_inner();
    let mut acl = Acl::try_from(&current)?;
    match level {
        Level::None => {
            acl.revoke(&candidate)?;
        }
        level => acl.grant(&candidate, &[level])?,
    }
    let acl = types::v1::Acl { etag: current.etag, ..types::v1::Acl::from(&acl) };
    client.components().set_component_acl(SetComponentAclRequest { name, acl: Some(acl) }).await?;
    output.done(&format!(
        "{with} may {} it",
        if level == Level::None { "no longer use" } else { level.as_str() }
    ));
    Ok(())
}

/// `teams/{team}/components/{type}` of a type.
async fn full_name(client: &Client, name: &str) -> Result<String> {
    let request = GetComponentRequest { name: format!("components/{name}") };
    registered_name(client.components().get_component(request).await?.into_inner())
}

fn registered_name(known: Component) -> Result<String> {
    let name = known.registration.map(|it| it.name).unwrap_or_default();
    match name.starts_with("teams/") {
        true => Ok(name),
        false => {
            let whose = if name.is_empty() { "the suite's own" } else { "in the configuration" };
            Err(Failure::usage(format!("{} is {whose}: nothing of it can be changed here", known.name)))
        }
    }
}

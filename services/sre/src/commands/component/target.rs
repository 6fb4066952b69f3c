//! The way to what is served somewhere.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sre_identity::{Kind, Principal};
use sre_proto::component::v1::component_client::ComponentClient;
use sre_proto::component::v1::{DescribeRequest, Description};
use sre_service::connectors::grpc::with_causes;
use sre_service::dial::{self, Channel, Place, Proof};
use sre_service::first_start::Identities;

use crate::cli::args::{Global, Target};
use crate::cli::exit::Failure;
use crate::{client, settings};

const PATIENCE: Duration = Duration::from_secs(10);

/// A channel; the connection is made by the first call.
pub(super) fn connect(global: &Global, target: &Target) -> Result<Channel> {
    let place = Place::parse_or_loopback(&target.target)
        .map_err(|error| Failure::usage(format!("--target: {error:#}")))?;
    let proof = match (&place, &target.identity) {
        (Place::Tcp { .. }, Some(identity)) => {
            let service =
                dial::component_identity(identity).map_err(|error| Failure::usage(format!("--{error:#}")))?;
            Proof::service(&place, &shown(global)?, service)?
        }
        (Place::Tcp { .. }, None) => {
            return Err(Failure::usage("over https say who serves it: --identity service/<name>"));
        }
        _ => Proof::Socket,
    };
    Ok(dial::channel(place, proof))
}

/// What is shown to a server over TLS: the certificate given, or the engine's, whom it serves.
fn shown(global: &Global) -> Result<Arc<sre_identity::SvidSource>> {
    let config = Arc::new(settings::load(global, Vec::new())?);
    if global.cert.is_some() || global.key.is_some() {
        return client::identity(global, &config);
    }
    let engine = Principal::new(Kind::Service, "engine")?;
    let source = Identities::new(&config).source(&engine);
    source.map_err(|e| Failure::usage(format!("{e:#}: or name a certificate with --cert, --key and --ca")))
}

/// What it says it is.
pub(super) async fn describe(channel: &Channel) -> Result<Description> {
    let mut client = ComponentClient::new(channel.clone());
    let answer = tokio::time::timeout(PATIENCE, client.describe(DescribeRequest {})).await;
    let answer = answer.ok().context("the component does not answer: look at its log")?;
    answer.map(tonic::Response::into_inner).map_err(|status| {
        Failure::unavailable(format!("the component does not say what it is: {}", with_causes(&status)))
    })
}

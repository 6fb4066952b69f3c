//! Health v1 and reflection, on every server.

use std::sync::Arc;

use sre_proto::{METHODS, Visibility};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::connectors;
use crate::process::Process;
use crate::readiness::{Readiness, State};
use crate::role::Role;
use crate::routes::Routes;

/// The proto services of a role; for the edge, those it forwards to.
fn services(role: Role) -> Vec<&'static str> {
    let mut names: Vec<&str> = METHODS
        .iter()
        .filter(|row| match role {
            Role::Edge => row.visibility == Visibility::Public,
            role => Role::of_package(row.package) == Some(role),
        })
        .map(|row| row.service)
        .collect();
    names.dedup();
    names
}

/// Adds health and, outside production, reflection of public methods. The returned future follows readiness
/// and the role's backends.
pub(crate) fn add(
    routes: Routes,
    role: Role,
    process: &Arc<Process>,
    readiness: Readiness,
) -> anyhow::Result<(Routes, impl Future<Output = ()> + Send + 'static)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut routes = routes.add_service(health);
    if !process.config.is_production() {
        routes =
            routes.add_service(reflection(role).build_v1()?).add_service(reflection(role).build_v1alpha()?);
    }
    let backends = connectors::follow(reporter.clone(), role, Arc::clone(process));
    let following = async move {
        tokio::join!(follow(reporter, role, readiness), backends);
    };
    Ok((routes, following))
}

fn reflection(role: Role) -> tonic_reflection::server::Builder<'static> {
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(sre_proto::PUBLIC_DESCRIPTOR_SET)
        .include_reflection_service(false);
    for name in services(role) {
        // Services without a public method are not in the set, and asking for them would fail.
        if METHODS.iter().any(|row| row.service == name && row.visibility == Visibility::Public) {
            builder = builder.with_service_name(name);
        }
    }
    builder
}

async fn follow(reporter: HealthReporter, role: Role, readiness: Readiness) {
    let mut states = readiness.watch();
    let names = services(role);
    loop {
        let serving = match *states.borrow_and_update() {
            State::Ready => ServingStatus::Serving,
            State::Starting | State::Draining => ServingStatus::NotServing,
        };
        reporter.set_service_status("", serving).await;
        for name in &names {
            reporter.set_service_status(*name, serving).await;
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

//! The start of a process's roles.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use sre_identity::layer::{Refusal, RefusalObserver};
use sre_identity::{SvidSource, TokenVerifier};
use sre_proto::AuditMode;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Renewal, RoleStart, Running};
use crate::accounts::Accounts;
use crate::audit::{self, AuditSink};
use crate::authorizer::Authorizer;
use crate::config::Config;
use crate::connectors;
use crate::host::{Host, Inner};
use crate::limits::Limiter;
use crate::link::Link;
use crate::process::{Process, Sockets};
use crate::readiness::{Readiness, ReadyGuard};
use crate::role::Role;
use crate::server::health;
use crate::server::listener::{self, RoleListener};
use crate::server::role_server::RoleServer;
use crate::{admin, endpoints, keys, telemetry};

/// A role while it starts.
struct Starting {
    start: RoleStart,
    host: Host,
    verifier: TokenVerifier,
    guard: ReadyGuard,
}

/// Starts roles with identities that are given.
pub(crate) async fn start(
    roles: Vec<RoleStart>,
    config: Arc<Config>,
    sources: Vec<(Role, Arc<SvidSource>)>,
    renewal: Option<Renewal>,
    telemetry: telemetry::Guard,
    sockets: Sockets,
) -> anyhow::Result<Running> {
    let names: Vec<Role> = roles.iter().map(|start| start.role).collect();
    let process = Process::new(Arc::clone(&config), &names, sockets);
    let mut running = Running::new(Arc::clone(&process), telemetry);
    let started = start_all(&process, &mut running, roles, sources, renewal).await;
    match started {
        Ok(()) => Ok(running),
        Err(error) => {
            running.shutdown().await;
            Err(error)
        }
    }
}

async fn start_all(
    process: &Arc<Process>,
    running: &mut Running,
    roles: Vec<RoleStart>,
    sources: Vec<(Role, Arc<SvidSource>)>,
    renewal: Option<Renewal>,
) -> anyhow::Result<()> {
    let config = &process.config;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("data_dir {} cannot be created", config.data_dir.display()))?;
    for service in config.connectors.without_effect() {
        tracing::warn!(service, "an entry of connectors changes nothing: this service has one, built in");
    }
    let mut starting = Vec::new();
    for start in roles {
        let role = start.role;
        let source = sources.iter().find(|(known, _)| *known == role).map(|(_, source)| Arc::clone(source));
        let source = source.with_context(|| format!("{role} has no identity"))?;
        starting.push(role_host(process, start, source));
    }
    for role in &starting {
        running.add_host(role.host.clone());
    }
    match renewal {
        Some(Renewal::Files(identities)) => {
            let look = Arc::clone(&running.certificates);
            process.tasks.spawn("certificates", identities.keep_fresh(sources, look));
        }
        Some(Renewal::Workload(workload)) => {
            process.tasks.spawn("certificates", workload.follow(sources));
        }
        None => {}
    }
    process.tasks.spawn("metrics", telemetry::metrics::upkeep());
    admin_port(process, running).await?;
    // All at once: roles call each other while they start.
    let mut serving = JoinSet::new();
    for role in starting {
        let process = Arc::clone(process);
        serving.spawn(async move {
            let name = role.host.role();
            // Backends have a deadline each, and say better than the role's what is wrong.
            let deadline = process.config.deadlines.start() + connectors::time_to_open(&process.config);
            let served = tokio::time::timeout(deadline, serve(process, role)).await;
            served
                .unwrap_or_else(|_| Err(anyhow::anyhow!("did not start within {deadline:?}")))
                .with_context(|| format!("role {name} cannot start"))
        });
    }
    while let Some(served) = serving.join_next().await {
        let (server, guard) = served??;
        running.add_server(server);
        drop(guard);
    }
    let addresses = process.addresses.lock().clone();
    if !addresses.is_empty() {
        endpoints::write(&config.data_dir, &addresses)
            .with_context(|| endpoints::path(&config.data_dir).display().to_string())?;
    }
    running.ready(config.deadlines.start()).await
}

fn role_host(process: &Arc<Process>, start: RoleStart, identity: Arc<SvidSource>) -> Starting {
    let (role, config) = (start.role, &process.config);
    let links = Role::ALL.map(|to| Link::new(process, &identity, to));
    let security = links[Role::Security.index()].clone();
    let verifier = TokenVerifier::new(identity.patterns().trust_domain());
    let audit = AuditSink::new(role, config.limits.max_audit_queue);
    let admins = &config.security.deployment_admins;
    let accounts = Accounts::new(security.clone(), admins, config.deadlines.membership());
    let limits = Limiter::new(role, config, accounts.clone(), audit.clone());
    let authorizer = Authorizer::new(accounts.clone(), audit.clone(), verifier.clone());
    let readiness = Readiness::default();
    let guard = readiness.guard("start");
    process
        .tasks
        .spawn("keys", keys::refresh(security.clone(), verifier.clone(), config.deadlines.key_refresh()));
    process.tasks.spawn("audit", audit.clone().ship(security.clone()));
    let host = Host {
        inner: Arc::new(Inner {
            process: Arc::clone(process),
            role,
            identity,
            links,
            tokens: crate::Tokens::new(security),
            authorizer,
            accounts,
            audit,
            limits,
            readiness,
        }),
    };
    Starting { start, host, verifier, guard }
}

/// Starts one role: its services, its layers, its listener.
async fn serve(process: Arc<Process>, starting: Starting) -> anyhow::Result<(Arc<RoleServer>, ReadyGuard)> {
    let Starting { start, host, verifier, guard } = starting;
    let role = start.role;
    let listener = listen(&process, role).await?;
    let routes = (start.start)(host.clone()).await?;
    let (routes, follow) = health::add(routes, role, &process, host.inner.readiness.clone())?;
    process.tasks.spawn("health", follow);
    let server = RoleServer::new(
        role,
        &process.config,
        routes,
        &verifier,
        &refusals(host.audit()),
        host.limits(),
        process.shutdown.clone(),
    );
    process.switchboard.connect(role, Arc::clone(&server) as _);
    if let Some(listener) = listener {
        keys::first(&verifier).await;
        process.addresses.lock().insert(role.name().to_owned(), listener.local_addr()?);
        let accepting = RoleListener::new(role, &process, host.identity(), Arc::clone(&server))?;
        process.tasks.spawn_to_end("accept", accepting.accept(listener));
    }
    tracing::debug!(%role, "started");
    Ok((server, guard))
}

/// The role's socket, bound before the role starts: who cannot listen need not try. None where everybody who
/// may call is in this process.
async fn listen(process: &Process, role: Role) -> anyhow::Result<Option<TcpListener>> {
    let config = &process.config;
    let configured = config.listen.of(role);
    let is_whole_suite = Role::ALL.into_iter().all(|role| process.switchboard.is_planned(role));
    let needed = match process.sockets {
        Sockets::AsNeeded => configured.is_some() || role == Role::Edge || !is_whole_suite,
        Sockets::Configured => configured.is_some(),
        Sockets::All => true,
    };
    if !needed {
        return Ok(None);
    }
    let wanted = configured.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let previous = endpoints::previous(&config.data_dir, role.name());
    listener::bind(wanted, previous, role.name()).await.map(Some)
}

async fn admin_port(process: &Arc<Process>, running: &Running) -> anyhow::Result<()> {
    let config = &process.config.admin;
    if !config.enabled {
        return Ok(());
    }
    let listener = listener::bind(config.listen, None, "admin").await?;
    process.addresses.lock().insert(admin_name(running), listener.local_addr()?);
    let roles = Arc::new(running.readiness());
    process.tasks.spawn_to_end("admin", admin::serve(listener, roles, process.shutdown.clone()));
    Ok(())
}

/// `admin`, or with the roles where they are not the whole suite: processes on one machine have one each.
fn admin_name(running: &Running) -> String {
    let roles: Vec<&str> = running.readiness().iter().map(|(role, _)| role.name()).collect();
    match roles.len() {
        count if count == Role::ALL.len() => "admin".to_owned(),
        _ => format!("admin-{}", roles.join("-")),
    }
}

/// Refusals of the layer are audited like those of handlers.
fn refusals(audit: &AuditSink) -> RefusalObserver {
    let audit = audit.clone();
    Arc::new(move |refusal: Refusal| {
        let audited = refusal.policy.is_some_and(|policy| policy.audit != AuditMode::None);
        if audited {
            audit.denied(audit::record(&refusal.path, refusal.peer.as_ref(), Some(refusal.reason)));
        }
    })
}

/// Addresses by role or door.
pub(super) fn addresses(process: &Process) -> BTreeMap<String, SocketAddr> {
    process.addresses.lock().clone()
}

//! What types cannot say about the configuration.

use std::collections::BTreeSet;

use super::team_limits::{TeamLimit, unknown_limit};
use super::{Backend, Config, ConfigError};

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    trust_domain(config)?;
    http(config)?;
    files(config)?;
    endpoints(config)?;
    limits(config)?;
    store(config)?;
    certs(config)?;
    security(config)?;
    compute(config)?;
    egress(config)?;
    web(config)?;
    components(config)?;
    connectors(config)?;
    mcp(config)?;
    if config.is_production() {
        production(config)?;
    }
    Ok(())
}

fn wrong(config: &Config, key: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), origin: config.origin(key), message: message.into() }
}

fn compute(config: &Config) -> Result<(), ConfigError> {
    let compute = &config.compute;
    let within = |key: &str, value: usize, most: usize| match (1..=most).contains(&value) {
        true => Ok(()),
        false => Err(wrong(config, key, format!("{value}: use 1 to {most}"))),
    };
    within("compute.max_workers", compute.max_workers, 1_000)?;
    within("compute.concurrent_per_team", compute.concurrent_per_team, 100)?;
    within("compute.calls_per_worker", compute.calls_per_worker as usize, 100_000)
}

fn egress(config: &Config) -> Result<(), ConfigError> {
    let egress = &config.egress;
    let positive = [
        ("egress.connect_timeout_ms", egress.connect_timeout_ms),
        ("egress.total_timeout_ms", egress.total_timeout_ms),
        ("egress.max_response_bytes", egress.max_response_bytes as u64),
        ("egress.max_expansion", egress.max_expansion as u64),
    ];
    if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(wrong(config, key, "0 allows nothing: use 1 or more"));
    }
    match egress.agents.keys().find(|agent| !agent.contains('/')) {
        Some(agent) => {
            Err(wrong(config, "egress.agents", format!("{agent:?} is no agent: write \"team/agent\"")))
        }
        None => Ok(()),
    }
}

fn web(config: &Config) -> Result<(), ConfigError> {
    let web = &config.web;
    let places = [
        ("web.tavily_url", &web.tavily_url),
        ("web.scrapfly_url", &web.scrapfly_url),
        ("web.huggingface_url", &web.huggingface_url),
        ("web.zapier_url", &web.zapier_url),
        ("web.google_url", &web.google_url),
        ("web.graph_url", &web.graph_url),
    ];
    let is_place = |url: &str| {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' ']))
    };
    match places.iter().find(|(_, url)| !is_place(url)) {
        Some((key, _)) => Err(wrong(config, key, "write an address without query: https://api.example.com")),
        None => Ok(()),
    }
}

fn components(config: &Config) -> Result<(), ConfigError> {
    let components = &config.components;
    let within = |key: &str, value: u64, least: u64, most: u64| match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(wrong(config, key, format!("{value}: use {least} to {most}"))),
    };
    within("components.refresh_ms", components.refresh_ms, 10, 600_000)?;
    within("components.max_input_bytes", components.max_input_bytes as u64, 1_024, 64 << 20)?;
    within("components.max_output_bytes", components.max_output_bytes as u64, 1_024, 64 << 20)?;
    within("components.max_concurrency", components.max_concurrency as u64, 1, 100_000)?;
    within("components.max_attempts", components.max_attempts.into(), 1, 20)?;
    for fixed in &components.fixed {
        if fixed.endpoints.is_empty() {
            return Err(wrong(
                config,
                "components.fixed",
                "a component without endpoints is nowhere: name one",
            ));
        }
        for endpoint in &fixed.endpoints {
            // The operator says where: the folders for sockets are for those who register.
            let place = crate::dial::Place::parse_or_loopback(endpoint);
            place.map_err(|error| wrong(config, "components.fixed", format!("{endpoint:?}: {error:#}")))?;
        }
    }
    Ok(())
}

fn mcp(config: &Config) -> Result<(), ConfigError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    for (name, command) in &config.mcp.commands {
        if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
            let message = format!("{name:?} is no name: use 1 to 64 of A-Z, a-z, 0-9, `_`, `-`");
            return Err(wrong(config, "mcp.commands", message));
        }
        if command.program.is_empty() {
            return Err(wrong(config, "mcp.commands", format!("{name} has no program: set `program`")));
        }
    }
    Ok(())
}

fn trust_domain(config: &Config) -> Result<(), ConfigError> {
    let name = &config.trust_domain;
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > 255 || !name.chars().all(fine) {
        return Err(wrong(
            config,
            "trust_domain",
            format!("{name:?} is no trust domain: use a-z, 0-9, `.`, `-`, `_`"),
        ));
    }
    Ok(())
}

fn http(config: &Config) -> Result<(), ConfigError> {
    if config.http.enabled && config.http.tls.is_none() && !config.http.listen.ip().is_loopback() {
        let message = format!(
            "plain HTTP is served on loopback addresses only, {} is not one: set http.tls.cert and http.tls.key",
            config.http.listen
        );
        return Err(wrong(config, "http.listen", message));
    }
    Ok(())
}

fn files(config: &Config) -> Result<(), ConfigError> {
    let files = &config.files;
    if files.enabled && files.tls.is_none() && !files.listen.ip().is_loopback() {
        let message = format!(
            "plain HTTP is served on loopback addresses only, {} is not one: set files.tls.cert and files.tls.key",
            files.listen
        );
        return Err(wrong(config, "files.listen", message));
    }
    if let Some(url) = &files.base_url {
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', ' '])) {
            return Err(wrong(
                config,
                "files.base_url",
                "write scheme and host alone: https://files.example.com",
            ));
        }
    }
    if !(1..=365).contains(&files.key_days) {
        return Err(wrong(config, "files.key_days", "keys sign for 1 to 365 days"));
    }
    Ok(())
}

fn endpoints(config: &Config) -> Result<(), ConfigError> {
    for (role, addresses) in &config.endpoints.0 {
        let key = format!("endpoints.{role}");
        if addresses.is_empty() {
            return Err(wrong(config, &key, "the list is empty: name an address, or leave the key out"));
        }
        for address in addresses {
            let port = address.rsplit_once(':').and_then(|(host, port)| {
                port.parse::<u16>().ok().filter(|port| *port > 0 && !host.is_empty())
            });
            if port.is_none() || address.contains("://") {
                return Err(wrong(config, &key, format!("{address:?} is not host:port")));
            }
        }
    }
    Ok(())
}

fn limits(config: &Config) -> Result<(), ConfigError> {
    let limits = &config.limits;
    let positive = [
        ("limits.max_concurrent", limits.max_concurrent),
        ("limits.max_streams", limits.max_streams),
        ("limits.max_connections", limits.max_connections),
        ("limits.connections_per_address", limits.connections_per_address),
        ("limits.max_audit_queue", limits.max_audit_queue),
        ("limits.max_message_bytes", limits.max_message_bytes),
    ];
    if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(wrong(config, key, "0 allows nothing: use 1 or more"));
    }
    teams(config)?;
    if limits.max_message_bytes > 4 << 20 {
        return Err(wrong(
            config,
            "limits.max_message_bytes",
            "larger than 4 MiB: larger values are streamed",
        ));
    }
    if config.deadlines.connect_ms.max(config.deadlines.unavailable_ms) >= 1_000 {
        return Err(wrong(
            config,
            "deadlines.connect_ms",
            "connect_ms and unavailable_ms must be below 1000: a dead role is reported within a second",
        ));
    }
    if config.deadlines.membership_ms > 20_000 {
        return Err(wrong(
            config,
            "deadlines.membership_ms",
            "more than 20000: removed members must be refused within 30 seconds",
        ));
    }
    if !(0.0..=1.0).contains(&config.telemetry.sample_ratio) {
        return Err(wrong(config, "telemetry.sample_ratio", "not a share: use 0 to 1"));
    }
    Ok(())
}

fn teams(config: &Config) -> Result<(), ConfigError> {
    let limits = &config.limits;
    let positive = [
        ("limits.team.edge_calls_per_second", limits.team.edge_calls_per_second),
        ("limits.team.calls_per_second", limits.team.calls_per_second),
        ("limits.team.burst_ms", limits.team.burst_ms),
        ("limits.subject.edge_calls_per_second", limits.subject.edge_calls_per_second),
        ("limits.subject.calls_per_second", limits.subject.calls_per_second),
    ];
    if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(wrong(config, key, "0 allows nothing: use 1 or more"));
    }
    if !(1..=100).contains(&limits.team.concurrent_percent) {
        return Err(wrong(config, "limits.team.concurrent_percent", "not a share: use 1 to 100"));
    }
    for (team, set) in &limits.teams {
        if let Err(error) = sre_identity::TeamId::new(team) {
            return Err(wrong(config, "limits.teams", format!("{team:?} is no team: {error}")));
        }
        if let Some(unknown) = set.keys().find(|name| TeamLimit::of_name(name).is_none()) {
            return Err(wrong(config, &format!("limits.teams.{team}"), unknown_limit(unknown)));
        }
    }
    Ok(())
}

fn certs(config: &Config) -> Result<(), ConfigError> {
    let certs = &config.certs;
    let Some(endpoint) = &certs.workload_api else { return Ok(()) };
    if certs.mounted.is_some() || !certs.roles.is_empty() || certs.bundle.is_some() {
        let message = "gives certificates and bundle: leave mounted, roles and bundle out";
        return Err(wrong(config, "certs.workload_api", message));
    }
    // Whoever is on the same network could give us an identity otherwise.
    let is_local = endpoint.starts_with("unix:") || endpoint.starts_with("tcp://127.0.0.1:");
    if !is_local {
        let message = format!("{endpoint:?} is no local socket: write unix:///path or tcp://127.0.0.1:port");
        return Err(wrong(config, "certs.workload_api", message));
    }
    Ok(())
}

fn store(config: &Config) -> Result<(), ConfigError> {
    if config.store.backend == Backend::Postgres && config.store.postgres.is_none() {
        return Err(wrong(config, "store.backend", "postgres needs [store.postgres] with a url or host"));
    }
    if config.journal.backend == Some(Backend::Postgres) && config.store.postgres.is_none() {
        return Err(wrong(config, "journal.backend", "postgres needs [store.postgres] with a url or host"));
    }
    Ok(())
}

fn security(config: &Config) -> Result<(), ConfigError> {
    if !(1..=300).contains(&config.security.token_ttl_seconds) {
        return Err(wrong(config, "security.token_ttl_seconds", "tokens live 1 to 300 seconds"));
    }
    if !(1..=30).contains(&config.security.resume_grant_days) {
        return Err(wrong(config, "security.resume_grant_days", "resume grants live 1 to 30 days"));
    }
    super::issuer::check(&config.security.issuers, config.is_production())
        .map_err(|message| wrong(config, "security.issuers", message))?;
    for admin in &config.security.deployment_admins {
        if admin.parse::<sre_identity::Candidate>().is_err() {
            let message = format!("{admin:?} is no principal: write user/<id> or team/<id>");
            return Err(wrong(config, "security.deployment_admins", message));
        }
    }
    Ok(())
}

fn connectors(config: &Config) -> Result<(), ConfigError> {
    for service in config.connectors.services() {
        let key = format!("connectors.{service}");
        let entries = config.connectors.of(service);
        if !BACKED.iter().chain(&BUILT_IN).any(|known| known.eq_ignore_ascii_case(service)) {
            let near = |name: &str| strsim::jaro_winkler(name, &service.to_ascii_lowercase());
            let nearest = BACKED.iter().max_by(|a, b| near(a).total_cmp(&near(b))).unwrap_or(&"storage");
            let message = format!("no service {service:?} has connectors, did you mean `{nearest}`?");
            return Err(wrong(config, &key, message));
        }
        let mut ids = BTreeSet::new();
        for entry in entries {
            if !is_id(entry.id()) {
                let message =
                    format!("the id {:?} is not 1 to 64 of A-Z, a-z, 0-9, `.`, `-`, `_`", entry.id());
                return Err(wrong(config, &key, message));
            }
            if entry.id() == "default" {
                return Err(wrong(config, &key, "the id `default` is reserved: choose another one"));
            }
            if !ids.insert(entry.id()) {
                return Err(wrong(
                    config,
                    &key,
                    format!("two entries have the id {:?}: give one an Id", entry.id()),
                ));
            }
        }
        if entries.iter().filter(|entry| entry.default).count() > 1 {
            return Err(wrong(config, &key, "more than one entry is the default: keep one"));
        }
        if entries.iter().any(|entry| entry.default && entry.optional) || entries.iter().all(|e| e.optional) {
            let message = "the default cannot be optional: requests that name no instance need it";
            return Err(wrong(config, &key, message));
        }
    }
    Ok(())
}

/// Services with a choice of backends,
const BACKED: [&str; 8] = ["storage", "nkv", "vectordb", "cache", "vault", "managedvault", "code", "budgets"];
/// and those of the reference that have none here: entries are read and change nothing.
pub(super) const BUILT_IN: [&str; 10] = [
    "account",
    "llm",
    "agentdata",
    "cli",
    "router",
    "log",
    "component",
    "modelsprovider",
    "scheduler",
    "telemetry",
];

/// Ids are names in Health, labels of metrics, and fields of requests.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// What a deployment must not have: see the reference's look-alikes of durable services.
fn production(config: &Config) -> Result<(), ConfigError> {
    if config.vault.shared.is_some() {
        return Err(wrong(
            config,
            "vault.shared",
            "shares secrets between teams: not in the production profile",
        ));
    }
    let volatile = ["nkv", "storage", "vectordb", "account", "vault", "managedvault"];
    for service in volatile {
        for entry in config.connectors.of(service) {
            let name = entry.connector.as_str();
            if matches!(entry.canonical(), "memory" | "none") || name == "DummyAccount" {
                let message = format!("{name} keeps nothing: not in the production profile");
                return Err(wrong(config, &format!("connectors.{service}"), message));
            }
            if matches!(service, "vault" | "managedvault") && entry.settings.contains_key("shared") {
                let message = "`shared` shares secrets between teams: not in the production profile";
                return Err(wrong(config, &format!("connectors.{service}"), message));
            }
        }
    }
    Ok(())
}

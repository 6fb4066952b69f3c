//! `sre connectors`: the backends of services, as a suite has them or as they are configured.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::types::v1::{ConnectorInstance, ConnectorState};
use sre_proto::{compute, io, memory, security};
use sre_service::connectors::{Backends, Finding};
use sre_service::{Config, Role};
use tonic::{Code, Status};

use crate::backends::backends;
use crate::cli::args::{Connectors, Global, Which};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, complain};
use crate::client::Client;
use crate::{dates, ready_file, settings};

const COLUMNS: [&str; 7] = ["service", "id", "connector", "default", "state", "probed", "reason"];

/// Runs the command.
pub async fn run(global: &Global, command: Connectors) -> Result<()> {
    let output = Output::new(global.format());
    let config = Arc::new(settings::load(global, Vec::new())?);
    let (which, probe) = match command {
        Connectors::List(which) => (which, false),
        Connectors::Check(which) => (which, true),
    };
    known(&which)?;
    let runs = global.address.is_some() || ready_file::is_live(&config.data_dir);
    let rows = match runs && !which.offline {
        true => of_suite(&Client::connect(global).await?, probe).await?,
        false => of_configuration(&config, &which, probe).await,
    };
    let rows: Vec<Row> = rows.into_iter().filter(|row| row.is_of(&which)).collect();
    if let (Some(id), true) = (&which.id, rows.is_empty()) {
        return Err(Failure::failed(format!("no instance has the id {id:?}: see `sre connectors list`")));
    }
    let sick = rows.iter().filter(|row| row.is_wrong).count();
    output.rows(&COLUMNS, rows.into_iter().map(Row::cells).collect());
    match (probe, sick) {
        (true, 1..) => Err(Failure::failed(format!("{sick} connectors are not well"))),
        _ => Ok(()),
    }
}

/// One line of the answer.
struct Row {
    service: String,
    id: String,
    connector: String,
    is_default: bool,
    state: String,
    probed: String,
    reason: String,
    is_wrong: bool,
}

impl Row {
    fn is_of(&self, which: &Which) -> bool {
        which.service.as_ref().is_none_or(|service| service.eq_ignore_ascii_case(&self.service))
            && which.id.as_ref().is_none_or(|id| *id == self.id)
    }

    fn cells(self) -> Vec<Value> {
        let texts = [self.service, self.id, self.connector];
        let mut cells: Vec<Value> = texts.into_iter().map(|text| json!(text)).collect();
        cells.push(json!(self.is_default));
        cells.extend([self.state, self.probed, self.reason].map(|text| json!(text)));
        cells
    }
}

impl From<ConnectorInstance> for Row {
    fn from(it: ConnectorInstance) -> Self {
        let state = it.state();
        let name = state.as_str_name().trim_start_matches("CONNECTOR_STATE_").to_lowercase();
        Self {
            is_wrong: state != ConnectorState::Ready,
            probed: dates::text(it.probe_time.as_ref()),
            state: name,
            service: it.service,
            id: it.id,
            connector: it.connector,
            is_default: it.is_default,
            reason: it.reason,
        }
    }
}

impl Row {
    /// What the configuration says; `opened`: whether it was tried.
    fn found(it: Finding, opened: bool) -> Self {
        let is_wrong = it.problem.is_some() && !it.needs_service;
        let state = match (it.needs_service, is_wrong, opened) {
            (true, _, _) => "not tried",
            (_, true, true) => "failed",
            (_, true, false) => "wrong",
            (_, false, true) => "ready",
            (_, false, false) => "configured",
        };
        Self {
            service: it.service.to_owned(),
            id: it.id,
            connector: it.connector,
            is_default: it.is_default,
            state: state.to_owned(),
            probed: String::new(),
            reason: it.problem.unwrap_or_default(),
            is_wrong,
        }
    }
}

/// A service that has no connectors is a slip of the pen.
fn known(which: &Which) -> Result<()> {
    let Some(service) = &which.service else { return Ok(()) };
    let names: Vec<&str> = backends().iter().map(|it| it.service()).collect();
    match names.iter().any(|name| name.eq_ignore_ascii_case(service)) {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "--service {service:?}: services with connectors are {}",
            names.join(", ")
        ))),
    }
}

/// What the roles of a suite answer. One that cannot be reached is told beside the others.
async fn of_suite(client: &Client, probe: bool) -> Result<Vec<Row>> {
    let io = client.io_connectors().list_connectors(io::v1::ListConnectorsRequest { probe }).await;
    let memory =
        client.memory_connectors().list_connectors(memory::v1::ListConnectorsRequest { probe }).await;
    let security =
        client.security_connectors().list_connectors(security::v1::ListConnectorsRequest { probe }).await;
    let compute =
        client.compute_connectors().list_connectors(compute::v1::ListConnectorsRequest { probe }).await;
    let answers =
        [(Role::Io, io), (Role::Memory, memory), (Role::Security, security), (Role::Compute, compute)];
    let mut rows = Vec::new();
    for (role, answer) in answers {
        match answer {
            Ok(answer) => rows.extend(answer.into_inner().connectors.into_iter().map(Row::from)),
            Err(status) => rows.push(unreachable(role, status)?),
        }
    }
    Ok(rows)
}

/// A role that is down hides its instances, not those of the others; who may not ask, may ask nobody.
fn unreachable(role: Role, status: Status) -> Result<Row> {
    if !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unimplemented) {
        return Err(status.into());
    }
    Ok(Row {
        service: format!("({role})"),
        id: String::new(),
        connector: String::new(),
        is_default: false,
        state: "unknown".to_owned(),
        probed: String::new(),
        reason: status.message().to_owned(),
        is_wrong: true,
    })
}

async fn of_configuration(config: &Arc<Config>, which: &Which, probe: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for it in backends() {
        if which.service.as_ref().is_some_and(|service| !service.eq_ignore_ascii_case(it.service())) {
            continue;
        }
        let found = match probe {
            true => it.probe(config, which.id.as_deref()).await,
            false => it.check(config),
        };
        rows.extend(found.into_iter().map(|finding| Row::found(finding, probe)));
    }
    if !probe {
        return rows;
    }
    if rows.iter().any(|row| row.state == "not tried") {
        complain("some live in their service and are probed there: start the suite and check again");
    }
    rows
}

/// What is wrong with the connectors of a configuration, one line each: for `sre config check`.
pub fn problems(config: &Arc<Config>) -> Vec<String> {
    let found = backends().into_iter().flat_map(|it: &dyn Backends| it.check(config));
    found
        .filter_map(|it| {
            it.problem.map(|problem| format!("connectors.{} `{}`: {problem}", it.service, it.id))
        })
        .collect()
}

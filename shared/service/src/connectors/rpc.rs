//! The instances of a role as its `Connectors` service answers them.

use futures::future::join_all;
use sre_proto::types::v1::{ConnectorInstance, ConnectorState};

use super::table::{Snapshot, State};
use crate::host::Host;

/// The instances of a role, in order of opening; probed at once where asked for, else as of the last probe.
pub async fn list(host: &Host, probe: bool) -> Vec<ConnectorInstance> {
    let records = host.connectors().of(host.role());
    if probe {
        join_all(records.iter().map(|record| record.probe())).await;
    }
    records.iter().map(|record| record.snapshot().into()).collect()
}

impl From<Snapshot> for ConnectorInstance {
    fn from(it: Snapshot) -> Self {
        let state = match it.state {
            State::Starting => ConnectorState::Starting,
            State::Ready => ConnectorState::Ready,
            State::Degraded(_) => ConnectorState::Degraded,
            State::Failed(_) => ConnectorState::Failed,
            State::Stopping => ConnectorState::Stopping,
            State::Stopped => ConnectorState::Stopped,
        };
        Self {
            service: it.service.to_owned(),
            id: it.id,
            connector: it.connector.to_owned(),
            is_default: it.is_default,
            is_optional: it.is_optional,
            state: state.into(),
            reason: it.state.reason().unwrap_or_default().to_owned(),
            probe_time: it.probed.map(Into::into),
        }
    }
}

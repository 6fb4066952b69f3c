//! The journal as an engine sees it: the memory service under the engine's name.

use std::time::Duration;

use sre_proto::memory::v1::runtime_context_client::RuntimeContextClient;
use sre_proto::memory::v1::{
    ClaimRequest, ClaimedRun, GetRunRequest, JournalRecord, LoadRequest, OpenRunRequest, OpenSessionRequest,
    RunRecord,
};
use tonic::Status;
use tonic::transport::Channel;

use super::Suite;

/// A client of the journal. The memory service must listen, as it does in split mode.
pub struct Journal {
    client: RuntimeContextClient<Channel>,
}

impl Journal {
    /// Of a suite.
    pub fn of(suite: &Suite) -> Self {
        Self { client: RuntimeContextClient::new(suite.channel("service/engine", "memory")) }
    }

    /// A run's row.
    pub async fn run(&self, run_id: &str) -> Result<RunRecord, Status> {
        let request = GetRunRequest { run_id: run_id.to_owned(), ..GetRunRequest::default() };
        Ok(self.client.clone().get_run(request).await?.into_inner())
    }

    /// A run's records.
    pub async fn records(&self, run_id: &str) -> Result<Vec<JournalRecord>, Status> {
        let request = LoadRequest { run_id: run_id.to_owned(), ..LoadRequest::default() };
        let mut pages = self.client.clone().load(request).await?.into_inner();
        let mut records = Vec::new();
        while let Some(page) = pages.message().await? {
            records.extend(page.records);
        }
        Ok(records)
    }

    /// Opens a run that nobody owns.
    pub async fn open(&self, run: RunRecord, records: Vec<JournalRecord>) -> Result<RunRecord, Status> {
        let request = OpenRunRequest { run: Some(run), records, ..OpenRunRequest::default() };
        Ok(self.client.clone().open_run(request).await?.into_inner().run.unwrap_or_default())
    }

    /// Opens a session that lives so long.
    pub async fn session(&self, lives: Duration) -> Result<String, Status> {
        let time_to_live = Some(lives.try_into().unwrap_or_default());
        let request = OpenSessionRequest { time_to_live, host: "a test".into() };
        Ok(self.client.clone().open_session(request).await?.into_inner().id)
    }

    /// Claims for a session what a reader of this record format may.
    pub async fn claim(&self, session: &str, max_record_format: i32) -> Result<Vec<ClaimedRun>, Status> {
        let request = ClaimRequest { session: session.to_owned(), limit: 16, max_record_format };
        Ok(self.client.clone().claim(request).await?.into_inner().runs)
    }
}

/// The id in a run's name.
pub fn run_id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

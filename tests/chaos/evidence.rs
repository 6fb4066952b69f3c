//! What the journal holds, read from the memory service when everything is over.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use sre_proto::memory::v1::runtime_context_client::RuntimeContextClient;
use sre_proto::memory::v1::{JournalRecord, ListRunsRequest, LoadRequest, RecordKind, RunRecord};
use tonic::Status;
use tonic::transport::Channel;

use crate::topology::Suite;

const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: i32 = 500;

/// The journal of one run.
pub struct Journal {
    /// Its row.
    pub run: RunRecord,
    /// Its records.
    pub records: Vec<JournalRecord>,
}

impl Journal {
    /// When a record of this kind about this activation was written first.
    pub fn first(&self, kind: RecordKind, step: &str) -> Option<&JournalRecord> {
        self.records.iter().find(|record| record.kind() == kind && record.step == step)
    }
}

/// When a record was written, by the store's clock, which is this machine's.
pub fn time(record: &JournalRecord) -> SystemTime {
    record.time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The journals of all runs by their id.
pub async fn read(suite: &Suite) -> HashMap<String, Journal> {
    let began = std::time::Instant::now();
    loop {
        match read_once(suite.memory()).await {
            Ok(journals) => return journals,
            // It was killed a moment ago.
            Err(status) => {
                assert!(began.elapsed() < PATIENCE, "the journal cannot be read: {status}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn read_once(memory: Channel) -> Result<HashMap<String, Journal>, Status> {
    let mut client = RuntimeContextClient::new(memory).max_decoding_message_size(16 << 20);
    let mut journals = HashMap::new();
    let mut page_token = String::new();
    loop {
        let request =
            ListRunsRequest { team: "default".into(), page_size: PAGE, page_token, ..Default::default() };
        let page = client.list_runs(request).await?.into_inner();
        for run in page.runs {
            let request = LoadRequest { run_id: run.run_id.clone(), ..LoadRequest::default() };
            let mut pages = client.load(request).await?.into_inner();
            let mut records = Vec::new();
            while let Some(page) = pages.message().await? {
                records.extend(page.records);
            }
            journals.insert(run.run_id.clone(), Journal { run, records });
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(journals);
        }
    }
}

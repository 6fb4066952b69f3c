//! What clients write and read, and the ledger: what was acknowledged is read back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use sre_proto::gateway::v1::RunState;
use sre_proto::io::v1::write_file_request::Part;
use sre_proto::io::v1::{
    GetValueRequest, KeyValue, ReadFileRequest, SetValueRequest, WriteFileHeader, WriteFileRequest,
    read_file_response,
};
use sre_proto::memory::v1::{GetEntryRequest, SetEntryRequest};
use tonic::{Request, Status};

use super::DEADLINE;
use crate::harness::Suite;
use crate::harness::agents::hasher;
use crate::harness::clients::Client;
use crate::harness::load::{Load, Outcome};

const HASHER: &str = "teams/default/agents/hasher";
/// Writers of each kind, and readers.
const WRITERS: usize = 3;
const PAUSE: Duration = Duration::from_millis(40);
/// A call that hangs is left after this, and fails the test.
const HANGS: Duration = Duration::from_secs(20);
/// Reads of the ledger at a time.
const CHECKS: usize = 8;

/// A kind of thing that is written once under a name of its own, and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// A value of Nkv.
    Value,
    /// An entry of the cache.
    Entry,
    /// A file.
    File,
    /// A run, which is started.
    Run,
}

impl Call {
    /// What writing is called in outcomes.
    pub fn writing(self) -> &'static str {
        match self {
            Self::Value => "set a value",
            Self::Entry => "set an entry",
            Self::File => "write a file",
            Self::Run => "start a run",
        }
    }

    /// What reading is called.
    pub fn reading(self) -> &'static str {
        match self {
            Self::Value => "get a value",
            Self::Entry => "get an entry",
            Self::File => "read a file",
            Self::Run => "get a run",
        }
    }

    fn content(number: u64) -> Bytes {
        format!("content of {number} {}", "-".repeat(200)).into()
    }

    /// Writes number `number`, and gives its name.
    async fn write(self, client: &Client, number: u64) -> Result<String, Status> {
        let content = Self::content(number);
        match self {
            Self::Value => {
                let name = format!("teams/default/nkv/outages/keys/{number}");
                let value = KeyValue { name: name.clone(), value: content, ..KeyValue::default() };
                let set = SetValueRequest { value: Some(value), ..SetValueRequest::default() };
                client.nkv().set_value(set).await?;
                Ok(name)
            }
            Self::Entry => {
                let name = format!("teams/default/cache/outages/{number}");
                let set =
                    SetEntryRequest { name: name.clone(), value: content, ..SetEntryRequest::default() };
                client.cache().set_entry(set).await?;
                Ok(name)
            }
            Self::File => {
                let name = format!("teams/default/files/outages/{number}");
                let header = WriteFileHeader { name: name.clone(), ..WriteFileHeader::default() };
                let parts = [Part::Header(header), Part::Data(content)];
                let parts = parts.map(|part| WriteFileRequest { part: Some(part) });
                client.storage().write_file(timed(tokio_stream::iter(parts))).await?;
                Ok(name)
            }
            Self::Run => {
                let input = json!({ "text": number.to_string() });
                Ok(client.start(HASHER, "hash", &input).await?.name)
            }
        }
    }

    /// Reads what was written; false where it is another content or not there.
    async fn read(self, client: &Client, name: &str, number: u64) -> Result<bool, Status> {
        let content = Self::content(number);
        let name = name.to_owned();
        match self {
            Self::Value => {
                let get = GetValueRequest { name, ..GetValueRequest::default() };
                Ok(client.nkv().get_value(get).await?.into_inner().value == content)
            }
            Self::Entry => {
                let get = GetEntryRequest { name, ..GetEntryRequest::default() };
                let got = client.cache().get_entry(get).await?.into_inner();
                Ok(got.found && got.value == content)
            }
            Self::File => {
                let read = ReadFileRequest { name, ..ReadFileRequest::default() };
                let mut stream = client.storage().read_file(timed(read)).await?.into_inner();
                let mut whole = Vec::new();
                while let Some(part) = stream.message().await? {
                    if let Some(read_file_response::Part::Data(data)) = part.part {
                        whole.extend_from_slice(&data);
                    }
                }
                Ok(whole == content)
            }
            Self::Run => client.get_run(&name).await.map(|run| run.name == name),
        }
    }
}

/// A stream has a deadline only where its caller says so.
fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// The calls of a test.
pub struct Calls {
    kinds: Vec<Call>,
    /// One thing of each kind that was written before any trouble, for the readers.
    known: HashMap<Call, (String, u64)>,
    next: Arc<AtomicU64>,
}

impl Calls {
    /// Writes what readers read.
    pub async fn prepare(suite: &Suite, kinds: &[Call]) -> Self {
        let client = suite.client("user/dev");
        client.put(HASHER, &hasher("hasher")).await.unwrap();
        let mut known = HashMap::new();
        for kind in kinds {
            known.insert(*kind, (kind.write(&client, 0).await.unwrap(), 0));
        }
        Self { kinds: kinds.to_vec(), known, next: Arc::new(AtomicU64::new(1)) }
    }

    /// Writers and readers of each kind. What a writer gives is the name and number that were acknowledged.
    pub fn load(&self, suite: &Suite) -> Load {
        let mut load = Load::new();
        for kind in self.kinds.iter().copied() {
            for _ in 0..WRITERS {
                let next = Arc::clone(&self.next);
                load.add(kind.writing(), suite.client("user/dev"), PAUSE, move |client, _| {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    bounded(async move { Ok(json!([kind.write(&client, number).await?, number])) })
                });
            }
            let (name, number) = self.known[&kind].clone();
            load.add(kind.reading(), suite.client("user/dev"), PAUSE, move |client, _| {
                let name = name.clone();
                bounded(async move {
                    let right = kind.read(&client, &name, number).await?;
                    right.then_some(Value::Null).ok_or_else(|| Status::data_loss("another content was read"))
                })
            });
        }
        load
    }

    /// What was acknowledged and cannot be read back.
    pub async fn lost(&self, suite: &Suite, outcomes: &[Outcome]) -> Vec<String> {
        let client = suite.client("user/dev");
        let acknowledged = outcomes.iter().filter_map(|outcome| {
            let kind = self.kinds.iter().find(|kind| kind.writing() == outcome.what)?;
            let entry = outcome.result.as_ref().ok()?;
            Some((*kind, entry[0].as_str()?.to_owned(), entry[1].as_u64()?))
        });
        let acknowledged: Vec<_> = acknowledged.collect();
        let count = acknowledged.len();
        let checks = acknowledged.into_iter().map(|(kind, name, number)| {
            let client = client.clone();
            async move {
                let lost = match kind.read(&client, &name, number).await {
                    Ok(true) => None,
                    Ok(false) => Some("is another".to_owned()),
                    Err(status) => Some(format!("{status:?}")),
                };
                let ended = match (kind, &lost) {
                    (Call::Run, None) => client.reached(&name, &[RunState::Done]).await.state(),
                    _ => RunState::Done,
                };
                assert_eq!(ended, RunState::Done);
                lost.map(|lost| {
                    format!("`{}` of {name} was acknowledged and is lost: {lost}", kind.writing())
                })
            }
        });
        let mut lost: Vec<String> = futures::stream::iter(checks)
            .buffer_unordered(CHECKS)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let all = lost.len();
        lost.truncate(3);
        if all > 0 {
            lost.push(format!("{all} of {count} acknowledged writes are lost"));
        }
        lost
    }
}

/// A call that hangs is told from one that ends.
async fn bounded(call: impl Future<Output = Result<Value, Status>>) -> Result<Value, Status> {
    let late = || Status::internal(format!("the call hangs: no answer for {HANGS:?}"));
    tokio::time::timeout(HANGS, call).await.unwrap_or_else(|_| Err(late()))
}

//! The gRPC face of the log.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use sre_identity::Caller;
use sre_identity::resource::Pattern;
use sre_proto::error::{self, Reason, invalid_argument, with_metadata};
use sre_proto::observability::v1::log_server::Log;
use sre_proto::observability::v1::{
    ListEntriesRequest, ListEntriesResponse, LogEntry, LogLevel, WriteEntriesRequest, WriteEntriesResponse,
};
use sre_service::Host;
use sre_store::{ErrorKind, StoreError};
use tonic::{Code, Request, Response, Status};

use super::{Entries, Entry, Selection};
use crate::clock;

const AGENT: Pattern = Pattern::new("teams/{team}/agents/{agent}");
const MAX_ENTRIES: usize = 1000;
const MAX_MESSAGE_BYTES: usize = 8 * 1024;
const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 1000;
/// A page's messages stay well below what an answer may hold.
const PAGE_BYTES: usize = 2 << 20;

/// Serves `sre.observability.v1.Log`.
#[derive(Debug, Clone)]
pub struct LogService {
    host: Host,
    entries: Entries,
}

impl LogService {
    /// Serves these lines.
    pub fn new(host: Host, entries: Entries) -> Self {
        Self { host, entries }
    }
}

#[tonic::async_trait]
impl Log for LogService {
    /// The layer has let in the engine alone.
    async fn write_entries(
        &self,
        request: Request<WriteEntriesRequest>,
    ) -> Result<Response<WriteEntriesResponse>, Status> {
        let entries = request.into_inner().entries;
        if entries.len() > MAX_ENTRIES {
            return Err(invalid_argument("entries", "1000 at most: write in several calls"));
        }
        let entries: Vec<Entry> = entries.into_iter().map(Entry::from).collect();
        entries.iter().for_each(trace);
        let written = i32::try_from(entries.len()).unwrap_or(i32::MAX);
        self.entries.append(entries, clock::now()).await.map_err(rescue)?;
        Ok(Response::new(WriteEntriesResponse { written }))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let name = AGENT.parse_field("parent", &request.parent)?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let selection = Selection {
            team: name.get("team").to_owned(),
            agent: name.get("agent").to_owned(),
            run: request.run_id.clone(),
        };
        let size = page_size(request.page_size)?;
        let found = self.entries.list(&selection, before(&request.page_token)?, size + 1).await;
        Ok(Response::new(page(found.map_err(rescue)?, size as usize)))
    }
}

/// As many lines as asked for and as fit, and where to go on.
fn page(found: Vec<(i64, Entry)>, size: usize) -> ListEntriesResponse {
    let total = found.len();
    let (mut answer, mut used_bytes, mut last) = (ListEntriesResponse::default(), 0, 0);
    for (id, entry) in found.into_iter().take(size) {
        used_bytes += entry.message.len();
        if used_bytes > PAGE_BYTES {
            break;
        }
        answer.entries.push(LogEntry::from(entry));
        last = id;
    }
    if answer.entries.len() < total {
        answer.next_page_token = last.to_string();
    }
    answer
}

fn page_size(asked: i32) -> Result<u32, Status> {
    match u32::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(invalid_argument("page_size", "must not be negative: leave it out for 50")),
    }
}

fn before(token: &str) -> Result<i64, Status> {
    if token.is_empty() {
        return Ok(i64::MAX);
    }
    token.parse().map_err(|_| invalid_argument("page_token", "is not of this list: start without one"))
}

/// The same line for whoever collects this process's log. An agent's error is none of ours, so the level is a
/// field.
fn trace(entry: &Entry) {
    tracing::info!(
        target: "sre::agent",
        team = entry.team,
        agent = entry.agent,
        run = entry.run,
        component = entry.component,
        level = LogLevel::try_from(entry.level).unwrap_or_default().as_str_name(),
        message = entry.message,
    );
}

impl From<LogEntry> for Entry {
    fn from(line: LogEntry) -> Self {
        let time = line.time.unwrap_or_else(now);
        Self {
            team: line.team,
            agent: line.agent,
            run: line.run_id,
            component: line.component,
            level: LogLevel::try_from(line.level).unwrap_or_default().into(),
            message: shortened(line.message),
            time: (time.seconds, time.nanos),
        }
    }
}

impl From<Entry> for LogEntry {
    fn from(entry: Entry) -> Self {
        Self {
            team: entry.team,
            agent: entry.agent,
            run_id: entry.run,
            component: entry.component,
            level: entry.level,
            message: entry.message,
            time: Some(Timestamp { seconds: entry.time.0, nanos: entry.time.1 }),
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

/// A line that is too long loses its end: a run does not fail for its log.
fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES - '…'.len_utf8()));
        message.push('…');
    }
    message
}

fn rescue(failed: StoreError) -> Status {
    match failed.kind() {
        ErrorKind::Overloaded | ErrorKind::Busy => {
            error::status(Code::ResourceExhausted, Reason::Overloaded, failed.to_string())
        }
        ErrorKind::Closed => {
            let message = "the service is stopping: try again";
            error::status(Code::Unavailable, Reason::BackendUnavailable, message)
        }
        _ => {
            let error_id = sre_proto::ids::new_uuid().to_string();
            tracing::error!(error_id, cause = %failed, "internal error");
            let message = format!("internal error {error_id}: look for this id in the log");
            with_metadata(Code::Internal, Reason::Internal, message, [("error_id", error_id)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_lose_their_end_between_characters() {
        assert_eq!(shortened("short".into()), "short");
        let long = shortened("ü".repeat(MAX_MESSAGE_BYTES));
        assert!(long.len() <= MAX_MESSAGE_BYTES && long.ends_with("ü…"));
    }

    #[test]
    fn a_page_ends_where_an_answer_would_grow_too_large() {
        let line = |id: i64| (id, Entry::from(LogEntry::default()));
        let large = |id| (id, Entry { message: "x".repeat(PAGE_BYTES / 2), ..line(id).1 });
        let answer = page(vec![large(9), large(8), large(7)], 3);
        assert_eq!((answer.entries.len(), answer.next_page_token.as_str()), (2, "8"));
        assert_eq!(page(vec![line(9)], 3).next_page_token, "");
        assert_eq!(page(vec![line(9), line(8)], 1).next_page_token, "9");
    }
}

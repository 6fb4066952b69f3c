//! The gRPC face of the log.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::{Stream, StreamExt as _, stream};
use prost_types::Timestamp;
use sre_identity::Caller;
use sre_identity::resource::Pattern;
use sre_proto::Guarded;
use sre_proto::error::{self, Reason, invalid_argument, with_metadata};
use sre_proto::observability::v1::log_server::Log;
use sre_proto::observability::v1::{
    ListEntriesRequest, ListEntriesResponse, LogEntry, LogFilter, LogLevel, LogRefusal, TailEntriesRequest,
    TailEntriesResponse, WriteEntriesRequest, WriteEntriesResponse,
};
use sre_service::Host;
use sre_service::config::TeamLimit;
use sre_store::{ErrorKind, StoreError};
use tonic::{Code, Request, Response, Status};

use super::rates::{Rates, Verdict};
use super::tail::Tail;
use super::{Entries, Entry, Filter, Found, Selection, Sinks};
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
    sinks: Sinks,
    rates: Arc<Rates>,
}

/// What of a batch is kept.
#[derive(Debug, Default)]
struct Admitted {
    entries: Vec<Entry>,
    written: usize,
    /// By team and agent.
    refusals: BTreeMap<(String, String), LogRefusal>,
    /// How many lines the teams may keep.
    most: HashMap<String, i64>,
}

impl LogService {
    /// Serves these lines.
    pub fn new(host: Host, entries: Entries, sinks: Sinks) -> Self {
        Self { host, entries, sinks, rates: Arc::default() }
    }

    /// Sorts out what is beyond the rates of agents and teams.
    async fn admit(&self, lines: Vec<LogEntry>) -> Result<Admitted, Status> {
        let limits = [TeamLimit::LogLines, TeamLimit::LogLinesPerMinute, TeamLimit::AgentLogLinesPerMinute];
        let mut of_teams: HashMap<String, [u64; 3]> = HashMap::new();
        let mut admitted = Admitted::default();
        for line in lines {
            let of_team = match of_teams.get(&line.team) {
                Some(known) => *known,
                None => {
                    let known = self.host.limits().of_team(&line.team, limits).await?;
                    of_teams.insert(line.team.clone(), known);
                    admitted.most.insert(line.team.clone(), i64::try_from(known[0]).unwrap_or(i64::MAX));
                    known
                }
            };
            admitted.take(&self.rates, Entry::from(line), of_team);
        }
        Ok(admitted)
    }

    /// What a caller may read, and which of it.
    async fn selection<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        parent: &str,
        filter: Option<LogFilter>,
    ) -> Result<Selection, Status> {
        let name = AGENT.parse_field("parent", parent)?;
        let _granted = self.host.authorizer().check(caller, request, None).await?;
        Ok(Selection {
            team: name.get("team").to_owned(),
            agent: name.get("agent").to_owned(),
            filter: Filter::parse(filter)?,
        })
    }
}

impl Admitted {
    fn take(&mut self, rates: &Rates, entry: Entry, [_, of_team, of_agent]: [u64; 3]) {
        let agent = (entry.agent.as_str(), TeamLimit::AgentLogLinesPerMinute, of_agent);
        let team = ("", TeamLimit::LogLinesPerMinute, of_team);
        let mut before = Vec::new();
        for (who, limit, value) in [agent, team] {
            match rates.take(&entry.team, who, value) {
                Verdict::Fits { refused_before: 0 } => {}
                Verdict::Fits { refused_before } => before.push((limit, value, refused_before)),
                Verdict::Refused { first, wait } => {
                    if who.is_empty() {
                        rates.give_back(&entry.team, &entry.agent);
                    }
                    metrics::counter!("sre_log_refused_total", "limit" => limit.name()).increment(1);
                    if first {
                        let words = format!(
                            "the limit {} is used up ({value}): lines are not kept for a while",
                            limit.name()
                        );
                        self.entries.push(notice(&entry, words));
                    }
                    let key = (entry.team.clone(), entry.agent.clone());
                    let refusal = self.refusals.entry(key).or_insert_with(|| LogRefusal {
                        team: entry.team.clone(),
                        agent: entry.agent.clone(),
                        ..LogRefusal::default()
                    });
                    refusal.refused += 1;
                    refusal.limit = limit.name().to_owned();
                    refusal.value = value;
                    refusal.retry_after = prost_types::Duration::try_from(wait).ok();
                    return;
                }
            }
        }
        for (limit, value, refused) in before {
            let words =
                format!("{refused} lines were not kept: the limit {} was used up ({value})", limit.name());
            self.entries.push(notice(&entry, words));
        }
        self.written += 1;
        self.entries.push(entry);
    }
}

/// A line of the log's own among an agent's.
fn notice(beside: &Entry, message: String) -> Entry {
    let component = String::new();
    Entry { message, component, level: LogLevel::Warn.into(), ..beside.clone() }
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
        let Admitted { entries, written, refusals, most } = self.admit(entries).await?;
        self.sinks.take(&entries);
        if !entries.is_empty() {
            metrics::counter!("sre_log_lines_total").increment(entries.len() as u64);
            self.entries.append(entries, most, clock::now()).await.map_err(rescue)?;
        }
        let written = i32::try_from(written).unwrap_or(i32::MAX);
        Ok(Response::new(WriteEntriesResponse { written, refusals: refusals.into_values().collect() }))
    }

    type TailEntriesStream = Pin<Box<dyn Stream<Item = Result<TailEntriesResponse, Status>> + Send>>;

    async fn tail_entries(
        &self,
        request: Request<TailEntriesRequest>,
    ) -> Result<Response<Self::TailEntriesStream>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let filter = request.filter.take();
        let selection = self.selection(&caller, &request, &request.parent, filter).await?;
        let place = match (request.cursor.as_str(), selection.filter.start) {
            ("", Some(_)) => 0,
            ("", None) => self.entries.end().await.map_err(rescue)?,
            (cursor, _) => place("cursor", cursor)?,
        };
        let tail = Tail::new(self.entries.clone(), selection, place, caller, self.host.clone());
        Ok(Response::new(stream::unfold(tail, Tail::step).boxed()))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let filter = request.filter.take();
        let mut selection = self.selection(&caller, &request, &request.parent, filter).await?;
        if selection.filter.run.is_empty() {
            selection.filter.run.clone_from(&request.run_id);
        }
        let size = page_size(request.page_size)?;
        let before = match request.page_token.as_str() {
            "" => i64::MAX,
            token => place("page_token", token)?,
        };
        let found = self.entries.list(&selection, before, size).await.map_err(rescue)?;
        Ok(Response::new(page(found)))
    }
}

/// As many lines as fit, and where to go on.
fn page(found: Found) -> ListEntriesResponse {
    let (mut answer, mut used_bytes, mut last) = (ListEntriesResponse::default(), 0, 0);
    for (id, entry) in found.entries {
        used_bytes += entry.message.len();
        if used_bytes > PAGE_BYTES && last != 0 {
            answer.next_page_token = last.to_string();
            return answer;
        }
        answer.entries.push(LogEntry::from(entry));
        last = id;
    }
    answer.next_page_token = found.looked_to.map(|place| place.to_string()).unwrap_or_default();
    answer
}

fn page_size(asked: i32) -> Result<u32, Status> {
    match u32::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(invalid_argument("page_size", "must not be negative: leave it out for 50")),
    }
}

fn place(field: &'static str, token: &str) -> Result<i64, Status> {
    let place = token.parse().ok().filter(|place: &i64| *place >= 0);
    place.ok_or_else(|| invalid_argument(field, "is not of this list: start without one"))
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

/// What a caller hears of a store that fails.
pub(crate) fn rescue(failed: StoreError) -> Status {
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
        let found = |entries, looked_to| Found { entries, looked_to };
        let answer = page(found(vec![large(9), large(8), large(7)], None));
        assert_eq!((answer.entries.len(), answer.next_page_token.as_str()), (2, "8"));
        assert_eq!(page(found(vec![line(9)], None)).next_page_token, "");
        assert_eq!(page(found(vec![line(9)], Some(4))).next_page_token, "4");
    }
}

//! `GET /runs/{run}/events`: the events of a run as server-sent events. A client that lost its stream goes on
//! after `Last-Event-ID`, at any gateway; one whose run has nothing more to tell gets 204 and stops asking.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{EventCursor, RunEvent, WatchRunRequest};
use sre_service::{ExchangeKey, Host, Role};
use tonic::{Code, Status, Streaming};

use super::answer::{NOSNIFF, Refusal};
use super::sse::{self, Translator};
use super::{admit, agent, bearer, refuse};
use crate::edge::forward::forward_key;

const READ: &str = "sre.gateway.v1.Runs:read";
const LAST_EVENT_ID: &str = "last-event-id";
const SILENCE: Duration = Duration::from_secs(15);
/// A stream that broke is opened again so often in a row before the client has to.
const ATTEMPTS: u32 = 20;
const RETRY: Duration = Duration::from_millis(250);

/// The door.
pub async fn watch(
    State(host): State<Host>,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let key = forward_key(bearer(&headers)?, Role::Engine, vec![READ.to_owned()]);
    let agent = agent(&host, &headers)?;
    let after = match headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or_default()) {
        None | Some("") => None,
        Some(id) => Some(sse::cursor(id).ok_or_else(|| {
            Refusal::new(StatusCode::BAD_REQUEST, "Last-Event-ID is not an id of this stream: leave it out")
        })?),
    };
    let token = host.tokens().exchange(key.clone()).await.map_err(|status| refuse(&status, &agent))?;
    let _place = admit(&host, &token).await.map_err(|status| refuse(&status, &agent))?;
    let name = format!("teams/-/agents/{agent}/runs/{run}");
    let mut watched = Watched::new(host, key, name, after);
    let refused = |status: Status| match status.code() {
        Code::PermissionDenied | Code::NotFound | Code::InvalidArgument => {
            Refusal::new(StatusCode::NOT_FOUND, format!("run '{run}' not found"))
        }
        _ => refuse(&status, &agent),
    };
    watched.open().await.map_err(refused)?;
    if after.is_some() && watched.has_told_all().await.map_err(refused)? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let translator = Translator::new(&agent, &watched.name);
    Ok(response(Telling { watched, translator, frames: VecDeque::from([RETRY_HINT]) }))
}

/// How soon a client comes back, in the protocol's own words.
const RETRY_HINT: Bytes = Bytes::from_static(b"retry: 1000\n\n");

fn response(telling: Telling) -> Response {
    let body = stream::unfold(telling, async |mut telling| {
        let bytes = telling.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), telling))
    });
    event_stream(Body::from_stream(body))
}

/// An answer that is a stream of events.
pub fn event_stream(body: Body) -> Response {
    let headers = [
        NOSNIFF,
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}

struct Telling {
    watched: Watched,
    translator: Translator,
    frames: VecDeque<Bytes>,
}

impl Telling {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.frames.pop_front() {
                return Some(bytes);
            }
            match tokio::time::timeout(SILENCE, self.watched.next()).await {
                Err(_) => return Some(sse::KEEP_ALIVE),
                Ok(Some(event)) => {
                    self.frames.extend(self.translator.frames(event).iter().map(sse::Frame::bytes));
                }
                Ok(None) => return None,
            }
        }
    }
}

/// The events of a run in a caller's name, over as many streams as it takes.
pub struct Watched {
    host: Host,
    key: ExchangeKey,
    name: String,
    after: Option<EventCursor>,
    stream: Option<Streaming<RunEvent>>,
    first: Option<RunEvent>,
    attempts: u32,
    ended: bool,
}

impl Watched {
    /// Not opened yet.
    pub fn new(host: Host, key: ExchangeKey, name: String, after: Option<EventCursor>) -> Self {
        Self { host, key, name, after, stream: None, first: None, attempts: 0, ended: false }
    }

    /// Opens a stream, so that a refusal is heard.
    pub async fn open(&mut self) -> Result<(), Status> {
        let token = self.host.tokens().exchange(self.key.clone()).await?;
        let mut client = RunsClient::new(self.host.link(Role::Engine).with_token(&token));
        let request = WatchRunRequest { name: self.name.clone(), after: self.after };
        match client.watch_run(request).await {
            Ok(answer) => {
                self.stream = Some(answer.into_inner());
                Ok(())
            }
            Err(status) => {
                if status.code() == Code::Unauthenticated {
                    self.host.tokens().forget(&self.key).await;
                }
                Err(status)
            }
        }
    }

    /// Whether there is nothing after the cursor but the end that the client has heard of.
    async fn has_told_all(&mut self) -> Result<bool, Status> {
        let heard = self.after;
        // Where nothing happens for a while, there is more to come.
        let Ok(first) = tokio::time::timeout(RETRY, self.next()).await else { return Ok(false) };
        let over = match &first {
            Some(event) => {
                let place = |cursor: EventCursor| (cursor.sequence, cursor.sub);
                matches!(event.event, Some(Event::RunEnded(_))) && event.cursor.map(place) <= heard.map(place)
            }
            None => false,
        };
        self.first = first;
        Ok(over)
    }

    /// The next event; none after the last one, or where the gateway ends.
    pub async fn next(&mut self) -> Option<RunEvent> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let draining = self.host.draining();
        while !self.ended {
            if let Some(stream) = &mut self.stream {
                let heard = tokio::select! {
                    () = draining.cancelled() => return None,
                    heard = stream.message() => heard,
                };
                match heard {
                    Ok(Some(event)) => {
                        self.attempts = 0;
                        self.after = event.cursor.or(self.after);
                        self.ended = matches!(event.event, Some(Event::RunEnded(_)));
                        return Some(event);
                    }
                    Ok(None) => self.stream = None,
                    Err(status) if worth_repeating(&status) => self.stream = None,
                    Err(status) => {
                        tracing::debug!(%status, run = self.name, "a stream of events ended");
                        return None;
                    }
                }
            }
            self.attempts += 1;
            if self.attempts > ATTEMPTS {
                return None;
            }
            tokio::select! {
                () = draining.cancelled() => return None,
                () = tokio::time::sleep(RETRY) => {}
            }
            if let Err(status) = self.open().await
                && !worth_repeating(&status)
            {
                tracing::debug!(%status, run = self.name, "a stream of events cannot be opened again");
                return None;
            }
        }
        None
    }
}

fn worth_repeating(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unauthenticated | Code::Cancelled | Code::DeadlineExceeded
    )
}

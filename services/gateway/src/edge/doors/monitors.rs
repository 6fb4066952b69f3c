//! Monitors: `GET /agent/{id}/monitor` opens a stream of events whose first one, `init`, names it; a call with
//! `X-MONITOR-ID` sends the events of its run there too. A monitor lives in the gateway that opened it, and only
//! calls of the same caller through that gateway reach it: `GET /runs/{run}/events` works at any gateway.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use parking_lot::Mutex;
use sre_service::{ExchangeKey, Host};
use tokio::sync::mpsc;

use super::answer::Refusal;
use super::events::{Watched, event_stream};
use super::sse::{self, Frame, Translator};

/// Monitors that one gateway keeps open.
const MOST: usize = 1_000;
/// Events that wait for a slow client.
const AHEAD: usize = 256;
const SILENCE: Duration = Duration::from_secs(15);
/// A client that takes nothing for so long is left out.
const PATIENCE: Duration = Duration::from_secs(5);

/// The open ones. Clones share them.
#[derive(Clone, Default)]
pub struct Monitors(Arc<Mutex<HashMap<String, Monitor>>>);

#[derive(Clone)]
struct Monitor {
    agent: String,
    /// Whose it is, as a SPIFFE id.
    root: String,
    events: mpsc::Sender<Bytes>,
}

/// Where the events of a call go.
pub struct Attached(Vec<mpsc::Sender<Bytes>>);

struct Listening {
    monitors: Monitors,
    id: String,
    host: Host,
    events: mpsc::Receiver<Bytes>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.monitors.0.lock().remove(&self.id);
    }
}

impl Monitors {
    /// Opens one for a caller of an agent.
    pub fn open(&self, host: Host, agent: &str, root: &str) -> Result<Response, Refusal> {
        let id = sre_proto::ids::new_uuid().to_string();
        let (events, receiver) = mpsc::channel(AHEAD);
        // The channel is empty: there is room.
        let _ = events.try_send(Frame::text("init", id.clone()).bytes());
        let monitor = Monitor { agent: agent.to_owned(), root: root.to_owned(), events };
        {
            let mut open = self.0.lock();
            if open.len() >= MOST {
                return Err(Refusal::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "this gateway keeps no more monitors: close some",
                ));
            }
            open.insert(id.clone(), monitor);
        }
        let listening = Listening { monitors: self.clone(), id, host, events: receiver };
        let body = stream::unfold(listening, async |mut listening| {
            let draining = listening.host.draining();
            let bytes = tokio::select! {
                () = draining.cancelled() => return None,
                heard = tokio::time::timeout(SILENCE, listening.events.recv()) => match heard {
                    Ok(bytes) => bytes?,
                    Err(_) => sse::KEEP_ALIVE,
                },
            };
            Some((Ok::<_, std::convert::Infallible>(bytes), listening))
        });
        Ok(event_stream(Body::from_stream(body)))
    }

    /// The open ones among `ids` (a comma list) that are this caller's and of this agent; none where there are
    /// none. Others are passed over, as unknown ones are.
    pub fn named(&self, ids: &str, agent: &str, root: &str) -> Option<Attached> {
        let open = self.0.lock();
        let own = |id: &str| open.get(id.trim()).filter(|found| found.agent == agent && found.root == root);
        let found: Vec<_> = ids.split(',').filter_map(own).map(|monitor| monitor.events.clone()).collect();
        (!found.is_empty()).then_some(Attached(found))
    }
}

impl Attached {
    /// Sends the events of a run until its last one, or until nobody listens.
    pub async fn follow(mut self, host: Host, key: ExchangeKey, agent: String, run: String) {
        let mut translator = Translator::new(&agent, &run);
        let mut watched = Watched::new(host, key, run, None);
        while let Some(event) = watched.next().await {
            for frame in translator.frames(event) {
                self.send(frame.bytes()).await;
                if self.0.is_empty() {
                    return;
                }
            }
        }
    }

    async fn send(&mut self, bytes: Bytes) {
        let mut kept = Vec::with_capacity(self.0.len());
        for monitor in self.0.drain(..) {
            if monitor.send_timeout(bytes.clone(), PATIENCE).await.is_ok() {
                kept.push(monitor);
            }
        }
        self.0 = kept;
    }
}

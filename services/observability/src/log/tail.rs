//! Following lines: what is stored after a place, then what comes.

use std::time::Duration;

use sre_identity::Caller;
use sre_proto::observability::v1::{LogEntry, TailEntriesResponse};
use sre_service::Host;
use sre_store::StoreError;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::Status;

use super::{Entries, Entry, Selection};

/// How often it is looked for lines that another process wrote.
const LOOK: Duration = Duration::from_secs(1);
/// Lines of one message.
const BATCH: u32 = 200;
/// Their bytes, more or less.
const BATCH_BYTES: usize = 1 << 20;

/// A stream of an agent's lines.
pub struct Tail {
    entries: Entries,
    selection: Selection,
    place: i64,
    told: i64,
    changes: watch::Receiver<u64>,
    looks: Interval,
    caller: Caller,
    host: Host,
    checks: Interval,
    ended: bool,
}

impl Tail {
    /// The lines after a place.
    pub fn new(entries: Entries, selection: Selection, place: i64, caller: Caller, host: Host) -> Self {
        let every = |period: Duration| {
            let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        Self {
            changes: entries.changes(),
            checks: every(host.config().deadlines.revalidate()),
            looks: every(LOOK),
            entries,
            selection,
            place,
            told: -1,
            caller,
            host,
            ended: false,
        }
    }

    /// The next message; none at the end.
    pub async fn step(mut self) -> Option<(Result<TailEntriesResponse, Status>, Self)> {
        if self.ended {
            return None;
        }
        let draining = self.host.draining();
        loop {
            // What is written from now on wakes it, also where it was read a moment ago.
            self.changes.mark_unchanged();
            match self.read().await {
                Ok(Some(answer)) => return Some((Ok(answer), self)),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Some((Err(super::service::rescue(error)), self));
                }
            }
            tokio::select! {
                () = draining.cancelled() => return None,
                changed = self.changes.changed() => if changed.is_err() { return None },
                _ = self.looks.tick() => {}
                _ = self.checks.tick() => {
                    if let Err(status) = self.host.authorizer().revalidate(&self.caller).await {
                        self.ended = true;
                        return Some((Err(status), self));
                    }
                }
            }
        }
    }

    /// A message, if there are lines, or to say where a follower begins.
    async fn read(&mut self) -> Result<Option<TailEntriesResponse>, StoreError> {
        loop {
            let found = self.entries.follow(&self.selection, self.place, BATCH).await?;
            let (mut lines, mut bytes) = (Vec::new(), 0);
            for (id, entry) in found.entries {
                bytes += entry.message.len();
                if bytes > BATCH_BYTES && !lines.is_empty() {
                    return Ok(Some(self.answer(lines)));
                }
                self.place = id;
                lines.push(entry);
            }
            if lines.is_empty() && self.told >= 0 {
                match found.looked_to {
                    // Many lines, and none that passes: on from there.
                    Some(looked_to) => self.place = looked_to,
                    None => return Ok(None),
                }
                continue;
            }
            return Ok(Some(self.answer(lines)));
        }
    }

    fn answer(&mut self, lines: Vec<Entry>) -> TailEntriesResponse {
        self.told = self.place;
        TailEntriesResponse {
            entries: lines.into_iter().map(LogEntry::from).collect(),
            cursor: self.place.to_string(),
        }
    }
}

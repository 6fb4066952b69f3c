//! What a call holds until it is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sre_proto::observability::v1::UsageEvent;
use sre_proto::observability::v1::usage_event::Use;
use tokio::time::MissedTickBehavior;

use super::budget::Unit;
use super::meters::{Counting, Line, Meters, Millis, Settled};

/// What a call has of one meter.
#[derive(Debug, Clone)]
pub struct HeldLine {
    line: Line,
    epoch: String,
    unit: Unit,
}

impl HeldLine {
    /// What was granted.
    pub fn new(line: Line, epoch: String, unit: Unit) -> Self {
        Self { line, epoch, unit }
    }

    fn places(&self) -> bool {
        matches!(self.line.counting, Counting::Places { .. })
    }
}

/// What was used in the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Calls.
    pub requests: i64,
    /// Tokens.
    pub tokens: i64,
    /// Money.
    pub micros: i64,
}

impl Used {
    /// What events of the ledger add up to. A call that charged nothing was still one.
    pub fn of(events: &[UsageEvent]) -> Self {
        let mut used =
            Self { requests: 1.max(i64::try_from(events.len()).unwrap_or(i64::MAX)), ..Self::default() };
        for event in events {
            if let Some(Use::Model(model)) = &event.r#use {
                used.tokens =
                    used.tokens.saturating_add(model.input_tokens.saturating_add(model.output_tokens));
                used.micros = used.micros.saturating_add(model.cost_micros);
            }
        }
        used
    }
}

/// What a call holds. Dropped without [`Self::settle`], all of it counts as used.
pub struct Held {
    meters: Arc<dyn Meters>,
    leases: Leases,
    holder: String,
    scopes: Vec<(String, Vec<HeldLine>)>,
}

impl Held {
    /// Nothing yet.
    pub fn new(meters: Arc<dyn Meters>, leases: Leases, holder: String) -> Self {
        Self { meters, leases, holder, scopes: Vec::new() }
    }

    /// Who holds it.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// This was granted.
    pub fn take(&mut self, scope: &str, lines: Vec<HeldLine>) {
        self.scopes.push((scope.to_owned(), lines));
    }

    /// Its places are renewed from now on.
    pub fn begin(&self) {
        for (scope, lines) in &self.scopes {
            let keys: Vec<String> =
                lines.iter().filter(|line| line.places()).map(|line| line.line.key.clone()).collect();
            if !keys.is_empty() {
                self.leases.add(&self.holder, scope, keys);
            }
        }
    }

    /// Nothing was used: the call was not made.
    pub async fn give_back(self) {
        self.settle(Used::default()).await;
    }

    /// Puts what was used in place of it. Where that is not possible, what was reserved counts.
    pub async fn settle(self, used: Used) {
        self.leases.remove(&self.holder);
        for (scope, lines) in &self.scopes {
            let settled: Vec<Settled> = lines
                .iter()
                .map(|line| Settled {
                    key: line.line.key.clone(),
                    epoch: line.epoch.clone(),
                    reserved: line.line.amount,
                    actual: match line.unit {
                        Unit::Requests => used.requests,
                        Unit::Tokens => used.tokens,
                        Unit::Micros => used.micros,
                        Unit::Concurrent => 0,
                    },
                    places: line.places(),
                })
                .collect();
            if settled.is_empty() {
                continue;
            }
            if let Err(error) = self.meters.settle(scope, &self.holder, &settled).await {
                tracing::warn!(%error, "a reservation could not be settled: all of it counts as used");
            }
        }
    }
}

type Places = Vec<(String, Vec<String>)>;

/// The places of calls under way. Clones share them.
#[derive(Clone)]
pub struct Leases {
    meters: Arc<dyn Meters>,
    holders: Arc<Mutex<HashMap<String, Places>>>,
}

impl Leases {
    /// Of these meters.
    pub fn new(meters: Arc<dyn Meters>) -> Self {
        Self { meters, holders: Arc::default() }
    }

    fn add(&self, holder: &str, scope: &str, keys: Vec<String>) {
        self.holders.lock().entry(holder.to_owned()).or_default().push((scope.to_owned(), keys));
    }

    fn remove(&self, holder: &str) {
        self.holders.lock().remove(holder);
    }

    /// Renews all of them now and then, until it is dropped.
    pub async fn renew(&self, every: Duration, lease: Millis) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let holders: Vec<(String, Places)> =
                self.holders.lock().iter().map(|(holder, places)| (holder.clone(), places.clone())).collect();
            for (holder, places) in holders {
                for (scope, keys) in places {
                    if let Err(error) = self.meters.renew(&scope, &holder, &keys, lease).await {
                        tracing::warn!(%error, "places of calls could not be renewed");
                        break;
                    }
                }
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever goes without settling is not heard of any more.
        self.leases.remove(&self.holder);
    }
}

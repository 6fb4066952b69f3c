//! The places where models run: how busy each is, and whether it is left alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::Breaker;
use crate::inference::error::InferenceError;
use crate::models::{Resolved, Routing};

/// Places that are remembered; those without calls are forgotten first.
const MOST_PLACES: usize = 8192;
const MINUTE: Duration = Duration::from_secs(60);

/// All places of this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<String, Arc<Place>>>>);

#[derive(Debug, Default)]
struct Place {
    in_flight: AtomicU32,
    breaker: Mutex<Breaker>,
    minute: Mutex<Minute>,
}

/// What a place took in the minute that began then.
#[derive(Debug, Default, Clone, Copy)]
struct Minute {
    began: Option<Instant>,
    requests: u64,
    tokens: u64,
}

impl Minute {
    fn at(&mut self, now: Instant) -> &mut Self {
        if self.began.is_none_or(|began| now.duration_since(began) >= MINUTE) {
            *self = Self { began: Some(now), requests: 0, tokens: 0 };
        }
        self
    }
}

/// A call that is under way at a place; it leaves when this is dropped.
#[derive(Debug)]
pub struct Visit {
    place: Arc<Place>,
    provider: String,
    told: bool,
}

impl Visit {
    /// The place answered, with so many tokens.
    pub fn succeeded(&mut self, tokens: i64) {
        self.told = true;
        self.place.breaker.lock().succeeded();
        let mut minute = self.place.minute.lock();
        minute.at(Instant::now()).tokens += u64::try_from(tokens).unwrap_or_default();
    }

    /// The place failed, and said perhaps for how long it wants to be left alone.
    pub fn failed(&mut self, retry_after: Option<Duration>) {
        self.told = true;
        if self.place.breaker.lock().failed(Instant::now(), retry_after) {
            let provider = self.provider.to_lowercase();
            metrics::counter!("sre_llm_breaker_opened_total", "provider" => provider).increment(1);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.place.in_flight.fetch_sub(1, Ordering::AcqRel);
        if !self.told {
            self.place.breaker.lock().undecided(Instant::now());
        }
    }
}

impl Places {
    /// Chooses where a call goes. One conversation stays with one place, so that what its provider keeps of the
    /// request is of use; places in `tried` come last.
    pub fn choose(
        &self,
        model: &Arc<Resolved>,
        conversation: &str,
        tried: &[String],
    ) -> Result<(Arc<Resolved>, Visit), InferenceError> {
        let now = Instant::now();
        let all = if model.deployments.is_empty() {
            std::slice::from_ref(model)
        } else {
            model.deployments.as_slice()
        };
        let known: Vec<(&Arc<Resolved>, Arc<Place>)> =
            all.iter().map(|there| (there, self.place(&there.place()))).collect();
        let free: Vec<&(&Arc<Resolved>, Arc<Place>)> =
            known.iter().filter(|(there, place)| place.has_room(there, now)).collect();
        let fresh = |(there, _): &&&(&Arc<Resolved>, Arc<Place>)| !tried.contains(&there.deployment);
        let untried: Vec<_> = free.iter().filter(fresh).copied().collect();
        let among = if untried.is_empty() { free } else { untried };
        let weighty: Vec<_> = among.iter().filter(|(there, _)| there.weight > 0).copied().collect();
        let among = if weighty.is_empty() { among } else { weighty };
        let chosen = match (among.as_slice(), conversation, model.routing) {
            ([], ..) => None,
            ([only], ..) => Some(*only),
            (several, "", Routing::Weighted) => by_weight(several),
            (several, "", Routing::LeastInFlight) => several.iter().copied().min_by(|a, b| {
                let load = |(there, place): &(&Arc<Resolved>, Arc<Place>)| {
                    f64::from(place.in_flight.load(Ordering::Acquire) + 1) / f64::from(there.weight.max(1))
                };
                load(a).total_cmp(&load(b))
            }),
            (several, conversation, _) => several
                .iter()
                .copied()
                .max_by(|a, b| affinity(conversation, a.0).total_cmp(&affinity(conversation, b.0))),
        };
        let admitted = chosen.filter(|(_, place)| place.breaker.lock().admit(now));
        let Some((there, place)) = admitted else {
            let free_at = known.iter().map(|(_, place)| place.free_at(now)).min().unwrap_or(now);
            return Err(InferenceError::Resting {
                provider: model.provider.clone(),
                model: model.entry.clone(),
                after: free_at.duration_since(now).max(Duration::from_millis(100)),
            });
        };
        place.in_flight.fetch_add(1, Ordering::AcqRel);
        place.minute.lock().at(now).requests += 1;
        let visit = Visit { place: Arc::clone(place), provider: there.provider.clone(), told: false };
        Ok((Arc::clone(there), visit))
    }

    /// Whether some place that was not tried would take a call now.
    pub fn has_another(&self, model: &Resolved, tried: &[String]) -> bool {
        let now = Instant::now();
        let fresh = model.deployments.iter().filter(|there| !tried.contains(&there.deployment));
        fresh.into_iter().any(|there| self.place(&there.place()).has_room(there, now))
    }

    fn place(&self, name: &str) -> Arc<Place> {
        let mut all = self.0.lock();
        if let Some(place) = all.get(name) {
            return Arc::clone(place);
        }
        if all.len() >= MOST_PLACES {
            all.retain(|_, place| place.in_flight.load(Ordering::Acquire) > 0);
        }
        Arc::clone(all.entry(name.to_owned()).or_default())
    }
}

impl Place {
    fn has_room(&self, there: &Resolved, now: Instant) -> bool {
        let limits = there.limits;
        if limits.concurrency.is_some_and(|most| self.in_flight.load(Ordering::Acquire) >= most) {
            return false;
        }
        if limits.requests_per_minute.is_some() || limits.tokens_per_minute.is_some() {
            let mut minute = self.minute.lock();
            let minute = minute.at(now);
            if limits.requests_per_minute.is_some_and(|most| minute.requests >= most)
                || limits.tokens_per_minute.is_some_and(|most| minute.tokens >= most)
            {
                return false;
            }
        }
        self.breaker.lock().would_admit(now)
    }

    fn free_at(&self, now: Instant) -> Instant {
        let rested = self.breaker.lock().free_at(now);
        let minute = self.minute.lock().began.map_or(now, |began| began + MINUTE);
        if rested > now { rested } else { minute.max(now) }
    }
}

fn by_weight<'a>(
    several: &[&'a (&'a Arc<Resolved>, Arc<Place>)],
) -> Option<&'a (&'a Arc<Resolved>, Arc<Place>)> {
    let weight = |(there, _): &(&Arc<Resolved>, Arc<Place>)| u64::from(there.weight.max(1));
    let whole: u64 = several.iter().map(|one| weight(one)).sum();
    let mut at = rand::random_range(0..whole.max(1));
    for one in several {
        match at.checked_sub(weight(one)) {
            Some(rest) => at = rest,
            None => return Some(one),
        }
    }
    several.last().copied()
}

/// How much a conversation belongs to a place: by its weight, the same at every gateway and whatever other places
/// there are.
fn affinity(conversation: &str, there: &Resolved) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(conversation.as_bytes()).update(&[0]).update(there.deployment.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    #[expect(clippy::cast_precision_loss, reason = "a fraction of 53 bits is even enough")]
    let even = ((u64::from_le_bytes(first) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(there.weight.max(1)) / -even.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::DeploymentLimits;

    fn model(weights: &[u32], routing: Routing, limits: DeploymentLimits) -> Arc<Resolved> {
        let place = |(at, weight): (usize, &u32)| {
            let deployment = format!("d{at}");
            Arc::new(Resolved {
                entry: "m".into(),
                deployment,
                weight: *weight,
                limits,
                ..Resolved::default()
            })
        };
        let deployments = weights.iter().enumerate().map(place).collect();
        Arc::new(Resolved { entry: "m".into(), deployments, routing, ..Resolved::default() })
    }

    fn plain(weights: &[u32], routing: Routing) -> Arc<Resolved> {
        model(weights, routing, DeploymentLimits::default())
    }

    #[tokio::test]
    async fn weights_are_shares_and_zero_is_for_the_last_resort() {
        let (places, model) = (Places::default(), plain(&[3, 1, 0], Routing::Weighted));
        let mut counts = HashMap::<String, usize>::new();
        for _ in 0..4_000 {
            let (there, _visit) = places.choose(&model, "", &[]).unwrap();
            *counts.entry(there.deployment.clone()).or_default() += 1;
        }
        assert!((2_700..3_300).contains(&counts["d0"]) && !counts.contains_key("d2"), "{counts:?}");
        let tried = ["d0".to_owned(), "d1".to_owned()];
        assert_eq!(places.choose(&model, "", &tried).unwrap().0.deployment, "d2");
    }

    #[tokio::test]
    async fn the_least_busy_place_for_its_weight_is_chosen() {
        let (places, model) = (Places::default(), plain(&[2, 1], Routing::LeastInFlight));
        let visits: Vec<_> = (0..6).map(|_| places.choose(&model, "", &[]).unwrap()).collect();
        let at = |name: &str| visits.iter().filter(|(there, _)| there.deployment == name).count();
        assert_eq!((at("d0"), at("d1")), (4, 2));
    }

    #[tokio::test]
    async fn a_conversation_stays_where_it_is_while_its_place_answers() {
        let (places, model) = (Places::default(), plain(&[1, 1, 1], Routing::Weighted));
        let mut used = std::collections::BTreeSet::new();
        for conversation in 0..50 {
            let name = format!("c{conversation}");
            let at = || places.choose(&model, &name, &[]).unwrap().0.deployment.clone();
            let first = at();
            assert!((0..5).all(|_| at() == first));
            let moved = places.choose(&model, &name, std::slice::from_ref(&first)).unwrap().0;
            assert_ne!(moved.deployment, first);
            used.insert(first);
        }
        assert_eq!(used.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_hold_and_places_that_fail_rest() {
        let limits =
            DeploymentLimits { concurrency: Some(1), requests_per_minute: Some(2), ..Default::default() };
        let (places, model) = (Places::default(), model(&[1], Routing::Weighted, limits));
        let held = places.choose(&model, "", &[]).unwrap();
        assert!(matches!(places.choose(&model, "", &[]), Err(InferenceError::Resting { .. })));
        drop(held);
        drop(places.choose(&model, "", &[]).unwrap());
        assert!(places.choose(&model, "", &[]).is_err(), "two a minute");
        tokio::time::advance(MINUTE).await;
        for _ in 0..2 {
            places.choose(&model, "", &[]).unwrap().1.failed(None);
        }
        let model = plain(&[1, 1], Routing::Weighted);
        while let Ok((there, mut visit)) = places.choose(&model, "", &["d1".to_owned()]) {
            if there.deployment == "d1" {
                break;
            }
            visit.failed(None);
        }
        assert_eq!(places.choose(&model, "", &[]).unwrap().0.deployment, "d1", "the other one rests");
        assert!(!places.has_another(&model, &["d1".to_owned()]));
    }
}

//! How often a provider is asked again, and when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::failure::Failure;
use crate::inference::error::InferenceError;
use crate::inference::settings::InferenceSettings;

/// Retries that a provider has at the beginning, and the most that it saves up.
const SAVED: f64 = 20.0;
/// Providers that are told apart; names come from the catalogue, which teams add to.
const MOST_PROVIDERS: usize = 4096;

/// Retries of all providers. Clones share them.
#[derive(Debug, Clone)]
pub struct Retries {
    settings: Arc<InferenceSettings>,
    budgets: Arc<Mutex<HashMap<String, f64>>>,
}

impl Retries {
    /// With these waits and shares.
    pub fn new(settings: &InferenceSettings) -> Self {
        Self { settings: Arc::new(settings.clone()), budgets: Arc::default() }
    }

    /// A call that is no retry: it earns a share of one.
    pub fn earn(&self, provider: &str) {
        let share = self.settings.repeat_share;
        let mut budgets = self.budgets.lock();
        match budgets.get_mut(provider) {
            Some(saved) => *saved = (*saved + share).min(SAVED),
            None => {
                if budgets.len() >= MOST_PROVIDERS {
                    budgets.clear();
                }
                budgets.insert(provider.to_owned(), SAVED);
            }
        }
    }

    /// Takes a retry out of a provider's budget; false where nothing is left: a provider that is down must not get
    /// several times the traffic.
    pub fn spend(&self, provider: &str) -> bool {
        let mut budgets = self.budgets.lock();
        let saved = budgets.entry(provider.to_owned()).or_insert(SAVED);
        let enough = *saved >= 1.0;
        if enough {
            *saved -= 1.0;
        }
        enough
    }

    /// How long to wait before the next attempt, of which `tried` were made; none where there is to be none. A
    /// provider that names a longer wait than `repeat_wait_max` is not asked again.
    pub fn wait(&self, error: &InferenceError, tried: u32) -> Option<Duration> {
        if tried > self.settings.repeats || !Failure::of(error).is_retriable() {
            return None;
        }
        // Nobody was asked, because places rest: waiting for them here would hold the caller for as long as they do.
        if matches!(error, InferenceError::Resting { .. }) {
            return None;
        }
        match error.retry_after() {
            Some(asked) => (asked <= self.settings.repeat_wait_max).then_some(asked),
            None => Some(self.jitter(tried)),
        }
    }

    /// A random time below one that doubles with each attempt, so that callers do not come back together.
    fn jitter(&self, tried: u32) -> Duration {
        let doubled = self.settings.repeat_wait.saturating_mul(2u32.saturating_pow(tried.saturating_sub(1)));
        doubled.min(self.settings.repeat_wait_cap).mul_f64(rand::random_range(0.0..=1.0))
    }

    /// Repeats a step that has no other place to go to. Used where there are no deployments: vectors.
    pub async fn repeat<T, F>(&self, provider: &str, mut step: impl FnMut() -> F) -> Result<T, InferenceError>
    where
        F: Future<Output = Result<T, InferenceError>>,
    {
        self.earn(provider);
        let mut tried = 1;
        loop {
            let error = match step().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(wait) = self.wait(&error, tried).filter(|_| self.spend(provider)) else {
                return Err(error);
            };
            count_retry(provider);
            tracing::debug!(%error, tried, "a provider is asked again");
            tried += 1;
            tokio::time::sleep(wait).await;
        }
    }
}

/// For the metric; providers are names of the catalogue.
pub fn count_retry(provider: &str) {
    metrics::counter!("sre_llm_retries_total", "provider" => provider.to_lowercase()).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::error::Refusal;

    fn refused(status: u16, retry_after: Option<Duration>) -> InferenceError {
        InferenceError::Refused(Box::new(Refusal { status, retry_after, ..Refusal::default() }))
    }

    #[test]
    fn waits_double_up_to_a_cap_and_a_provider_may_name_its_own() {
        let settings = InferenceSettings { repeats: 19, ..InferenceSettings::default() };
        let retries = Retries::new(&settings);
        let busy = refused(503, None);
        for tried in 1..20 {
            let most =
                Duration::from_millis(250).saturating_mul(1 << (tried - 1)).min(Duration::from_secs(8));
            assert!((0..50).all(|_| retries.wait(&busy, tried).unwrap() <= most), "{tried}");
        }
        assert_eq!(retries.wait(&busy, 20), None);
        let named = |seconds| retries.wait(&refused(429, Some(Duration::from_secs(seconds))), 1);
        assert_eq!((named(60), named(61)), (Some(Duration::from_secs(60)), None));
        assert_eq!(retries.wait(&refused(400, None), 1), None);
        assert_eq!(Retries::new(&InferenceSettings::default()).wait(&busy, 3), None, "three attempts");
    }

    #[test]
    fn retries_are_a_tenth_of_the_traffic_once_the_savings_are_gone() {
        let retries = Retries::new(&InferenceSettings::default());
        let mut repeated = 0;
        for _ in 0..1_000 {
            retries.earn("P");
            while retries.spend("P") {
                repeated += 1;
            }
        }
        let most = 1_000 / 10 + 20;
        assert!((most - 2..=most).contains(&repeated), "{repeated}");
        assert!(retries.spend("another"), "each provider has its own");
    }
}

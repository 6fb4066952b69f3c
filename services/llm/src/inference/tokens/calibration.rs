//! How far estimates are from what providers count, for each model.

use moka::sync::Cache;

use crate::models::Resolved;

/// Models of which the factor is kept; the one that was longest not asked for goes first.
const MOST_MODELS: u64 = 1024;
/// A smaller request says little.
const LEAST_TOKENS: i64 = 64;
/// What a new figure weighs beside those before it.
const WEIGHT: f64 = 0.1;
/// Farther than this is no language, but something else that the provider counts.
const NEAREST: f64 = 0.25;
const FARTHEST: f64 = 4.0;

/// The factor of each model.
#[derive(Debug)]
pub struct Calibration(Cache<String, f64>);

impl Default for Calibration {
    fn default() -> Self {
        Self(Cache::new(MOST_MODELS))
    }
}

/// What a model is known by: a team's own model says nothing about another one of the same id.
fn key(model: &Resolved) -> String {
    format!("{}\0{}\0{:?}", model.provider, model.model_id, model.origin)
}

impl Calibration {
    /// What an estimate is multiplied with.
    pub fn factor(&self, model: &Resolved) -> f64 {
        self.0.get(&key(model)).unwrap_or(1.0)
    }

    /// What a provider counted where so many were estimated.
    pub fn learn(&self, model: &Resolved, estimated: i64, counted: i64) {
        if estimated < LEAST_TOKENS || counted <= 0 {
            return;
        }
        let seen = (as_f64(counted) / as_f64(estimated)).clamp(NEAREST, FARTHEST);
        let key = key(model);
        let factor = self.0.get(&key).map_or(seen, |before| before * (1.0 - WEIGHT) + seen * WEIGHT);
        self.0.insert(key, factor);
    }
}

/// An estimate with the model's factor; something is never nothing.
pub fn corrected(estimated: i64, factor: f64) -> i64 {
    let corrected = (as_f64(estimated) * factor).round();
    // Counts are far below what a float holds exactly.
    #[allow(clippy::cast_possible_truncation)]
    let corrected = corrected as i64;
    corrected.max(i64::from(estimated > 0))
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(count: i64) -> f64 {
    count as f64
}

//! What stands between a request and providers that fail: the one layer that repeats, chooses places, leaves those
//! alone that fail, and goes on with another model.

mod breaker;
mod chain;
mod failure;
mod places;
mod retry;

use std::time::Duration;

pub use chain::{Chain, Next};
pub use failure::Failure;
pub use retry::Retries;

use super::settings::InferenceSettings;
use places::Places;

/// What calls of this process know of providers. Clones share it.
#[derive(Debug, Clone)]
pub struct Reliability {
    places: Places,
    retries: Retries,
    attempts: u32,
    longest_wait_before_fallback: Duration,
}

impl Reliability {
    /// With these times and numbers.
    pub fn new(settings: &InferenceSettings) -> Self {
        Self {
            places: Places::default(),
            retries: Retries::new(settings),
            attempts: settings.repeats + 1,
            longest_wait_before_fallback: settings.wait_before_fallback,
        }
    }
}

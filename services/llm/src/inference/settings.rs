//! Limits and times of calls.

use std::sync::Arc;
use std::time::Duration;

use sre_components::egress::Policy;

/// Settings of calls, with the documented defaults.
#[derive(Debug, Clone)]
pub struct InferenceSettings {
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for the first token, or for an answer in one piece, where the caller states none.
    pub first_token_timeout: Duration,
    /// The longest that a caller may state.
    pub first_token_timeout_max: Duration,
    /// The longest silence between two pieces.
    pub silence_timeout: Duration,
    /// The largest body of an answer, and the most that a stream sends.
    pub body_limit_bytes: usize,
    /// The longest text of an answer: it travels in one message.
    pub text_limit_bytes: usize,
    /// Repeats of a call that the provider could not take, before it generated anything.
    pub repeats: u32,
    /// The most that is waited before the first repeat; doubles with each. How long it really is, is random.
    pub repeat_wait: Duration,
    /// and no longer than this, where the provider does not say.
    pub repeat_wait_cap: Duration,
    /// A provider that wants a longer wait is not asked again: its caller decides.
    pub repeat_wait_max: Duration,
    /// Repeats to one provider, as a share of the calls of it.
    pub repeat_share: f64,
    /// Where another model may answer it is asked instead of waiting longer than this.
    pub wait_before_fallback: Duration,
    /// Where addresses of teams may lead.
    pub egress: Arc<Policy>,
}

impl Default for InferenceSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            first_token_timeout: Duration::from_secs(120),
            first_token_timeout_max: Duration::from_secs(3600),
            silence_timeout: Duration::from_secs(60),
            body_limit_bytes: 64 << 20,
            text_limit_bytes: 3 << 20,
            repeats: 2,
            repeat_wait: Duration::from_millis(250),
            repeat_wait_cap: Duration::from_secs(8),
            repeat_wait_max: Duration::from_secs(60),
            repeat_share: 0.1,
            wait_before_fallback: Duration::from_secs(8),
            egress: Arc::default(),
        }
    }
}

//! Limits and times of calls.

use std::time::Duration;

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
    /// The wait before the first repeat; doubles with each.
    pub repeat_wait: Duration,
    /// A provider that wants a longer wait is not asked again: its caller decides.
    pub repeat_wait_max: Duration,
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
            repeat_wait: Duration::from_millis(500),
            repeat_wait_max: Duration::from_secs(10),
        }
    }
}

//! What a call hands on to the calls it makes: its deadline and its trace.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

tokio::task_local! {
    static CURRENT: CallContext;
}

/// The W3C header.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// The W3C header of vendors' additions.
pub(crate) const TRACESTATE: &str = "tracestate";
/// gRPC's deadline header.
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The call that is being handled in this task.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallContext {
    pub(crate) deadline: Option<Instant>,
    pub(crate) traceparent: Option<HeaderValue>,
    pub(crate) tracestate: Option<HeaderValue>,
}

impl CallContext {
    /// What the headers say.
    pub(crate) fn of_headers(headers: &HeaderMap, deadline: Option<Instant>) -> Self {
        Self {
            deadline,
            traceparent: headers.get(TRACEPARENT).cloned(),
            tracestate: headers.get(TRACESTATE).cloned(),
        }
    }

    /// The call of this task, if it handles one.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs the handler of this call.
    pub(crate) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Runs one step of this call's stream.
    pub(crate) fn enter<T>(self, step: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, step)
    }

    /// The trace id, 32 hex digits; empty without a trace.
    pub(crate) fn trace_id(&self) -> &str {
        let text = self.traceparent.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        text.split('-').nth(1).filter(|id| id.len() == 32).unwrap_or_default()
    }
}

/// Reads `grpc-timeout`. A malformed one counts as absent, as gRPC's implementations do.
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3_600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Writes `grpc-timeout` in the finest unit that fits its eight digits.
pub(crate) fn timeout_value(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let text = match (timeout.as_micros(), timeout.as_millis()) {
        (micros, _) if micros <= MOST => format!("{micros}u"),
        (_, millis) if millis <= MOST => format!("{millis}m"),
        _ => format!("{}S", u128::from(timeout.as_secs()).min(MOST)),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_round_trip() {
        for timeout in
            [Duration::ZERO, Duration::from_micros(1500), Duration::from_secs(30), Duration::from_secs(200)]
        {
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static(GRPC_TIMEOUT), timeout_value(timeout))]);
            assert_eq!(timeout_of(&headers), Some(timeout));
        }
    }

    #[test]
    fn malformed_timeouts_are_absent() {
        for text in ["", "5", "s", "5x", "123456789S", "-1S", "é"] {
            let Ok(value) = HeaderValue::from_str(text) else { continue };
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(GRPC_TIMEOUT), value)]);
            assert_eq!(timeout_of(&headers), None, "{text}");
        }
    }
}

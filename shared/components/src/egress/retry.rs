//! When a failed call is made again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::header::RETRY_AFTER;

use super::error::EgressError;
use super::request::Response;

/// The pause before the second attempt; it doubles from one to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause of our own choice; a server may ask for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long to wait after this attempt (the first is 1); `None` if another would not help.
pub(super) fn pause(attempt: u32, result: &Result<Response, EgressError>) -> Option<Duration> {
    match result {
        Err(EgressError::Connect { .. } | EgressError::Broken(_)) => Some(backoff(attempt, rand::random())),
        Ok(response) if matches!(response.status.as_u16(), 429 | 502 | 503 | 504) => {
            let asked = response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let asked = asked.and_then(|text| after(text, Utc::now()));
            Some(asked.unwrap_or_default().max(backoff(attempt, rand::random())))
        }
        _ => None,
    }
}

/// Between half the pause and the whole, so that many who failed together do not come back together.
fn backoff(attempt: u32, chance: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    pause.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// What `Retry-After` says: seconds, or a date.
fn after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    (date.with_timezone(&Utc) - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Result<Response, EgressError> {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, text.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Response { status, headers, body: "".into(), url: "http://h/".parse().unwrap() })
    }

    #[test]
    fn pauses_grow_to_a_limit_and_scatter() {
        assert_eq!(backoff(1, 1.0), Duration::from_millis(200));
        assert_eq!(backoff(1, 0.0), Duration::from_millis(100));
        assert_eq!(backoff(3, 1.0), Duration::from_millis(800));
        assert_eq!(backoff(60, 1.0), LONGEST_PAUSE);
    }

    #[test]
    fn a_server_may_ask_for_time() {
        let now = DateTime::parse_from_rfc2822("Sun, 06 Nov 1994 08:49:07 GMT").unwrap().with_timezone(&Utc);
        assert_eq!(after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:00 GMT", now), None);
        assert_eq!(after("soon", now), None);
        assert!(pause(1, &answer(503, Some("7"))).unwrap() >= Duration::from_secs(7));
    }

    #[test]
    fn only_passing_failures_are_tried_again() {
        for status in [429, 502, 503, 504] {
            assert!(pause(1, &answer(status, None)).is_some(), "{status}");
        }
        for status in [200, 400, 401, 404, 500, 501] {
            assert!(pause(1, &answer(status, None)).is_none(), "{status}");
        }
        let connect = EgressError::Connect { code: "ECONNREFUSED", address: "1.2.3.4:1".into() };
        assert!(pause(1, &Err(connect)).is_some());
        let refused = EgressError::Refused { host: "h".into(), port: 1 };
        for lasting in [refused, EgressError::InvalidUrl, EgressError::TooLarge { limit_bytes: 1 }] {
            assert!(pause(1, &Err(lasting)).is_none());
        }
    }
}

//! How remote stores are called: times, tries, and what may be plain HTTP.

use std::time::Duration;

use object_store::{BackoffConfig, ClientOptions, RetryConfig};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a store may be silent within a request.
const READ: Duration = Duration::from_secs(30);
/// Failed requests are tried again so often, and not after so long.
const TRIES: usize = 5;
const TRY_FOR: Duration = Duration::from_secs(20);

/// Failures of the network and of the server are tried again, with growing random pauses.
pub(super) fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: TRIES,
        retry_timeout: TRY_FOR,
    }
}

/// Large objects take longer than any fixed time, so silence is limited and not the whole.
pub(super) fn options(endpoint: Option<&str>) -> ClientOptions {
    // Plain HTTP is for emulators and gateways that an operator names so.
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(CONNECT)
        .with_read_timeout(READ)
        .with_timeout_disabled()
}

//! Keeps the key set fresh: every few seconds, and at once when a token names an unknown key.

use std::time::Duration;

use sre_identity::TokenVerifier;
use sre_proto::security::v1::GetKeySetRequest;
use sre_proto::security::v1::identity_client::IdentityClient;
use tokio::time::{Instant, sleep, sleep_until};

use crate::link::Link;

/// The least time between two requests, whatever is wanted.
const AT_LEAST: Duration = Duration::from_millis(50);
/// After a failure the next attempt comes sooner than the interval: a role that starts needs its first set.
const AFTER_FAILURE: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a start waits for the first set, and how often it looks.
const FIRST: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

/// Runs until the process ends. Until the first set arrived tokens cannot be verified; calls without tokens
/// can be served.
pub(crate) async fn refresh(security: Link, verifier: TokenVerifier, interval: Duration) {
    let mut failures = 0_u32;
    loop {
        let asked_at = Instant::now();
        let pause = match once(&security, &verifier).await {
            Ok(()) => {
                failures = 0;
                interval
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                // Once an episode, and not for the first moments of a suite that starts.
                if failures == 20 {
                    tracing::warn!(
                        error,
                        "the key set cannot be refreshed: tokens will be refused when it is too old"
                    );
                }
                AFTER_FAILURE.min(interval)
            }
        };
        tokio::select! {
            () = sleep_until(asked_at + pause) => {}
            () = verifier.refresh_wanted() => sleep(AT_LEAST).await,
        }
    }
}

/// Waits for the first set, so that a role that starts again refuses nobody for want of it. Not for long: it may
/// be the token service that is away, and calls without tokens can be served.
pub(crate) async fn first(verifier: &TokenVerifier) {
    let arrived = async {
        while verifier.known_version() == 0 {
            sleep(LOOK).await;
        }
    };
    drop(tokio::time::timeout(FIRST, arrived).await);
}

async fn once(security: &Link, verifier: &TokenVerifier) -> Result<(), String> {
    let mut client = IdentityClient::new(security.clone());
    let mut request = tonic::Request::new(GetKeySetRequest { known_version: verifier.known_version() });
    request.set_timeout(TIMEOUT);
    let keys = client.get_key_set(request).await.map_err(|status| status.message().to_owned())?.into_inner();
    verifier.update(&keys).map_err(|error| error.to_string())
}

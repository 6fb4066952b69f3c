//! What the loop of a run waits for.

use tokio::time::Instant;

use super::journal::queue::AppendError;
use super::journal::run::Flushed;
use super::scope::RunScope;

/// Ready when the append on its way is; never while there is none.
pub async fn written(writing: &mut Option<Flushed>) -> Option<Result<(), AppendError>> {
    match writing {
        Some(flushed) => Some(flushed.await),
        None => std::future::pending().await,
    }
}

/// Ready when what the components wait for changed.
pub async fn waits_changed(scope: &RunScope) {
    match &scope.waits {
        Some(waits) => waits.changed().await,
        None => std::future::pending().await,
    }
}

/// Ready at a moment; never without one.
pub async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

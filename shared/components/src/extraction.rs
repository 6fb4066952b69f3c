//! Reading documents on a thread that may block, few at a time, within a time.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sre_documents::{Document, Limits};
use sre_engine::value::Binary;
use tokio::sync::Semaphore;

use crate::context::{Call, ContextError, Failure};
use crate::wait;

/// How many documents are read at a time in this process: a reader that does not end holds one of these places, and
/// no more.
const AT_A_TIME: usize = 4;
/// What a reader gets beyond its own time before it is given up.
const GRACE: Duration = Duration::from_secs(5);

static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_A_TIME)));

/// Limits for a document that is wanted whole.
pub(crate) fn whole() -> Limits {
    Limits { characters: 10 << 20, pages: 5_000, ..Limits::default() }
}

/// Reads a document.
///
/// # Errors
/// What [`sre_documents::extract`] says; a reader that fails in a way of its own; the end of the run.
pub(crate) async fn extract(
    call: Call<'_>,
    binary: &Binary,
    limits: Limits,
) -> Result<Document, ContextError> {
    let binary = binary.clone();
    let reading = async {
        let closed = |_| ContextError::new(Failure::Unavailable, "documents are not read any more");
        let place = PLACES.clone().acquire_owned().await.map_err(closed)?;
        let read = tokio::task::spawn_blocking(move || {
            let _place = place;
            sre_documents::extract(&binary.data, &binary.name, &binary.mimetype, &limits)
        });
        match tokio::time::timeout(limits.time + GRACE, read).await {
            Ok(Ok(read)) => read.map_err(|error| ContextError::new(Failure::Invalid, error.to_string())),
            // The reader panicked: its message is about itself and helps nobody.
            Ok(Err(_)) => {
                Err(ContextError::new(Failure::Invalid, "the document is damaged: its reader gave up"))
            }
            Err(_) => {
                let waited = limits.time.as_secs();
                Err(ContextError::new(
                    Failure::Timeout,
                    format!("the document was not read within {waited} s"),
                ))
            }
        }
    };
    wait::for_run(call, reading).await
}

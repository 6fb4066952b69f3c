//! Files that an agent publishes.

use std::time::Duration;

use async_trait::async_trait;
use sre_engine::value::Binary;

use super::ContextError;

/// The running agent's own files.
#[async_trait]
pub trait Files: Send + Sync {
    /// Stores bytes at a path below the agent's files, over what is there, and makes a link under which anybody
    /// may fetch them. File and link end together. Repeating it gives another link to the same file.
    ///
    /// # Errors
    /// If storage refuses or cannot be reached, or links are not served.
    async fn publish(
        &self,
        path: &str,
        binary: &Binary,
        time_to_live: Duration,
    ) -> Result<String, ContextError>;
}

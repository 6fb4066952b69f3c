//! The time that ends of entries are told by, as a value: they are exact, so tests must be able to set it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Milliseconds since 1970.
pub type Millis = i64;

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Millis + Send + Sync>);

impl Clock {
    /// The machine's clock, for backends that outlive the process or are shared with others.
    pub fn system() -> Self {
        Self(Arc::new(system_now))
    }

    /// A clock that nobody sets: it begins with the machine's and goes on by itself. For what lives in this
    /// process alone.
    pub fn steady() -> Self {
        let (began, at) = (system_now(), Instant::now());
        Self(Arc::new(move || began.saturating_add(millis(at.elapsed()))))
    }

    /// A clock that `read` tells.
    pub fn from_fn(read: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// A duration in milliseconds; one beyond the range counts as for ever.
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

fn system_now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

//! What happens to a server.

use std::time::Duration;

use crate::harness::outside::Outside;
use crate::harness::proxy::{Fault, Proxy};

/// One trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It ends as by a power cut, and starts again later.
    Crashed,
    /// Its process is held: the system still takes connections and data for it.
    Held,
    /// Everything takes seconds.
    Slow,
    /// It is gone, and nobody told; connections of that time never answer.
    HalfOpen,
    /// Nobody listens.
    Refused,
    /// Connections are reset.
    Reset,
}

impl Trouble {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Crashed, Self::Held, Self::Slow, Self::HalfOpen, Self::Refused, Self::Reset];

    /// Whether no call that needs the server can succeed.
    pub fn is_deadly(self) -> bool {
        self != Self::Slow
    }

    /// Begins it.
    pub async fn begin(self, server: &Outside, proxy: &Proxy) {
        match self {
            Self::Crashed => server.crash().await,
            Self::Held => server.pause().await,
            Self::Slow => {
                proxy.set(Fault::Slow { delay: Duration::from_millis(1_500), bytes_per_second: 20_000 });
            }
            Self::HalfOpen => proxy.set(Fault::HalfOpen),
            Self::Refused => proxy.set(Fault::Refuse),
            Self::Reset => proxy.set(Fault::Reset),
        }
    }

    /// Ends it.
    pub async fn end(self, server: &Outside, proxy: &Proxy) {
        match self {
            Self::Crashed => server.start_again().await,
            Self::Held => server.resume().await,
            Self::Slow | Self::HalfOpen | Self::Refused | Self::Reset => proxy.set(Fault::None),
        }
    }
}

//! Who renews a token: one at a time, whichever engine it runs on. The lock is a secret beside the tokens that is
//! made only where it is not there, and that is forgotten by itself where its holder died.

use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::context::managed::ManagedSecrets;
use crate::context::{Context, ContextError, Failure};

/// How long a holder may take. Longer than a call of a token endpoint.
const HELD: Duration = Duration::from_secs(30);
/// How long others wait for it at most.
const PATIENCE: Duration = Duration::from_secs(40);
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// The lock, held.
pub(super) struct Held<'a> {
    vault: &'a dyn ManagedSecrets,
    key: String,
    until: Instant,
}

/// Waits for the lock of a record.
pub(super) async fn acquire<'a>(context: &'a dyn Context, record: &str) -> Result<Held<'a>, ContextError> {
    let (vault, key) = (context.managed(), format!("{record}.lock"));
    let give_up = context.deadline().min(Instant::now() + PATIENCE);
    let mut look = FIRST_LOOK;
    loop {
        let until = Instant::now() + HELD;
        if vault.replace(&key, 0, Zeroizing::new(b"renewing".to_vec()), Some(HELD)).await? {
            return Ok(Held { vault, key, until });
        }
        if Instant::now() + look > give_up {
            return Err(ContextError::new(
                Failure::Timeout,
                "another run renews this token and does not end",
            ));
        }
        let cancelled = context.cancelled();
        tokio::select! {
            () = tokio::time::sleep(look.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => {}
            () = cancelled.cancelled() => return Err(ContextError::new(Failure::Cancelled, "Agent killed")),
        }
        look = (look * 2).min(LAST_LOOK);
    }
}

impl Held<'_> {
    /// Lets the next one in. What was held too long may be somebody else's by now, and is left.
    pub async fn release(self) {
        if Instant::now() < self.until && self.vault.forget(&self.key).await.is_err() {
            tracing::debug!("the lock of a token is left to end by itself");
        }
    }
}

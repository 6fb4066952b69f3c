//! The handle that services hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{Cmd, ErrorKind, FromRedisValue, ServerErrorKind};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::dial::{Connection, Dialer};
use crate::error::{Verdict, is_full, judge};
use crate::{RedisError, RedisSettings};

/// Pause before a call that could not be sent is tried again, and how long a failed dial counts for others.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether repeating a call changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only reads: a call whose connection was lost is made again.
    Read,
    /// It changes something: a call whose outcome is not known is an error, [`RedisError::NoAnswer`].
    Write,
}

/// A Redis. Clones share its connections.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    settings: RedisSettings,
    name: String,
    slots: Vec<Slot>,
    next: AtomicUsize,
    in_flight: Semaphore,
}

/// A place for one connection.
#[derive(Default)]
struct Slot {
    live: ArcSwapOption<Live>,
    /// Held while a connection is made; keeps how the last attempt ended, so that those who waited for it share
    /// its failure instead of dialling one after the other.
    dialing: Mutex<Option<(Instant, RedisError)>>,
}

struct Live(Connection);

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Redis {
    /// A handle that connects with its first call.
    pub fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        let dialer = Dialer::new(settings)?;
        Ok(Self(Arc::new(Inner {
            name: dialer.name(),
            dialer,
            slots: (0..settings.connections).map(|_| Slot::default()).collect(),
            next: AtomicUsize::new(0),
            in_flight: Semaphore::new(settings.max_in_flight),
            settings: settings.clone(),
        })))
    }

    /// Connects and asks the server whether it is there.
    pub async fn open(settings: &RedisSettings) -> Result<Self, RedisError> {
        let redis = Self::new(settings)?;
        redis.ping().await?;
        Ok(redis)
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.0.settings.prefix
    }

    /// Addresses, for messages; nothing secret.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Asks the server whether it is there.
    pub async fn ping(&self) -> Result<(), RedisError> {
        self.query(&redis::cmd("PING"), Effect::Read).await
    }

    /// What the server says of itself, of each node of a cluster.
    pub async fn info(&self, section: &str) -> Result<Vec<String>, RedisError> {
        let answer: redis::Value = self.query(redis::cmd("INFO").arg(section), Effect::Read).await?;
        let texts = match answer {
            redis::Value::Map(nodes) => nodes.into_iter().map(|(_, text)| text).collect(),
            text => vec![text],
        };
        Ok(texts.into_iter().filter_map(|text| redis::from_redis_value::<String>(text).ok()).collect())
    }

    /// Runs one command.
    pub async fn query<T: FromRedisValue>(&self, cmd: &Cmd, effect: Effect) -> Result<T, RedisError> {
        self.call(cmd, None, effect).await
    }

    /// Gives the connections up; a later call makes new ones.
    pub fn close(&self) {
        for slot in &self.0.slots {
            slot.live.store(None);
        }
    }

    /// Runs a command, and where it is a script the server does not know, teaches it first.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        cmd: &Cmd,
        script: Option<&str>,
        effect: Effect,
    ) -> Result<T, RedisError> {
        let timeout = self.0.settings.command_timeout();
        match tokio::time::timeout(timeout, self.attempts(cmd, script, effect)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(RedisError::NoAnswer {
                server: self.0.name.clone(),
                message: format!("no answer within {} ms", timeout.as_millis()),
            }),
        }
    }

    async fn attempts<T: FromRedisValue>(
        &self,
        cmd: &Cmd,
        script: Option<&str>,
        effect: Effect,
    ) -> Result<T, RedisError> {
        let give_up = Instant::now() + self.0.settings.retry();
        let Ok(waited) = tokio::time::timeout_at(give_up, self.0.in_flight.acquire()).await else {
            return Err(RedisError::Overloaded { server: self.0.name.clone() });
        };
        let _place = waited.map_err(|_closed| RedisError::Overloaded { server: self.0.name.clone() })?;
        let slot = self.slot();
        loop {
            let verdict = match self.connect(slot).await {
                Err(error @ RedisError::Unavailable { .. }) => Verdict::Again(error),
                Err(error) => return Err(error),
                Ok(live) => {
                    let mut connection = live.0.clone();
                    match exchange(&mut connection, cmd, script).await {
                        Ok(answer) => return Ok(answer),
                        Err(error) if is_full(&error) => {
                            return Err(RedisError::Full { server: self.0.name.clone() });
                        }
                        Err(error) => {
                            let verdict = judge(&error, &self.0.name);
                            if !matches!(verdict, Verdict::Final(_)) {
                                slot.drop_connection(&live);
                            }
                            verdict
                        }
                    }
                }
            };
            let (error, again) = match verdict {
                Verdict::Final(error) => return Err(error),
                Verdict::Again(error) => (error, true),
                Verdict::Lost(error) => (error, effect == Effect::Read),
            };
            if !again || Instant::now() + PAUSE >= give_up {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn slot(&self) -> &Slot {
        let next = self.0.next.fetch_add(1, Ordering::Relaxed);
        &self.0.slots[next % self.0.slots.len()]
    }

    /// The slot's connection, made where there is none. One caller makes it, the others wait for that.
    async fn connect(&self, slot: &Slot) -> Result<Arc<Live>, RedisError> {
        if let Some(live) = slot.live.load_full() {
            return Ok(live);
        }
        let mut last = slot.dialing.lock().await;
        if let Some(live) = slot.live.load_full() {
            return Ok(live);
        }
        if let Some((at, error)) = last.as_ref()
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        let unavailable = |message: String| RedisError::Unavailable { server: self.0.name.clone(), message };
        let timeout = self.0.settings.connect_timeout();
        let dialled = match tokio::time::timeout(timeout, self.0.dialer.dial()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(match judge(&error, &self.0.name) {
                // A wrong password does not get right by itself.
                Verdict::Final(error) => error,
                Verdict::Again(_) | Verdict::Lost(_) => unavailable(error.to_string()),
            }),
            Err(_elapsed) => Err(unavailable(format!("no connection within {} ms", timeout.as_millis()))),
        };
        match dialled {
            Ok(connection) => {
                *last = None;
                let live = Arc::new(Live(connection));
                slot.live.store(Some(Arc::clone(&live)));
                Ok(live)
            }
            Err(error) => {
                *last = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

impl Slot {
    /// Calls under way on it may still end; new ones get another. One that was replaced already stays.
    fn drop_connection(&self, lost: &Arc<Live>) {
        let current = self.live.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, lost)) {
            self.live.compare_and_swap(&current, None);
        }
    }
}

async fn exchange<T: FromRedisValue>(
    connection: &mut Connection,
    cmd: &Cmd,
    script: Option<&str>,
) -> redis::RedisResult<T> {
    match (connection.query(cmd).await, script) {
        (Err(error), Some(body)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(body);
            connection.query::<redis::Value>(&load).await?;
            connection.query(cmd).await
        }
        (answer, _) => answer,
    }
}

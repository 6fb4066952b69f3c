//! Counts in Redis, which replicas share. A window is a hash with the fields `u` (used) and `e` (epoch) that goes when
//! it ends; places are a sorted set of holders by the end of their leases. Each call is one script over keys of one
//! hash tag, `<prefix>:b:{<scope>}:<key>`, by the server's own clock.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use sre_redis::{Effect, Redis, RedisError, RedisSettings, Script, cmd};
use sre_service::connectors::{Connector, Opening, Unhealthy};

use super::{Counting, Line, MeterError, Meters, Millis, Settled, Verdict};

static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("reserve.lua")));
static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("settle.lua")));
static SEED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("seed.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("renew.lua")));

/// What the scripts are told in place of no limit: numbers of Lua are whole up to 2^53.
const NO_LIMIT: i64 = 1 << 53;

#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
struct Settings {
    /// Where the server is.
    #[serde(flatten)]
    redis: RedisSettings,
}

/// Checks the settings without connecting.
pub(super) fn check(opening: &Opening) -> anyhow::Result<()> {
    let settings: Settings = opening.settings()?;
    Ok(settings.redis.check()?)
}

/// Opens an instance.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn Meters>> {
    let settings: Settings = opening.settings()?;
    Ok(Arc::new(RedisMeters::new(Redis::open(&settings.redis).await?)))
}

/// Counts in Redis. Clones share the connections.
#[derive(Debug, Clone)]
pub struct RedisMeters {
    redis: Redis,
}

impl RedisMeters {
    /// Counts in a server.
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    fn key(&self, scope: &str, key: &str) -> String {
        format!("{}:b:{{{scope}}}:{key}", self.redis.prefix())
    }
}

fn failed(error: RedisError) -> MeterError {
    MeterError::Unavailable(error.to_string())
}

#[async_trait]
impl Connector for RedisMeters {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.redis.ping().await.map_err(Unhealthy::new)
    }

    async fn close(&self) {
        self.redis.close();
    }
}

#[async_trait]
impl Meters for RedisMeters {
    async fn reserve(&self, scope: &str, holder: &str, lines: &[Line]) -> Result<Verdict, MeterError> {
        let keys: Vec<String> = lines.iter().map(|line| self.key(scope, &line.key)).collect();
        let mut call = RESERVE.keys(&keys).arg(holder).arg(sre_proto::ids::new_uuid().to_string());
        for line in lines {
            let (kind, until) = match line.counting {
                Counting::Window { ends, seeded: true } => ("s", ends),
                Counting::Window { ends, seeded: false } => ("w", ends),
                Counting::Places { lease } => ("p", lease),
            };
            call =
                call.arg(kind).arg(line.limit.unwrap_or(NO_LIMIT).min(NO_LIMIT)).arg(line.amount).arg(until);
        }
        // A reservation of which nobody knows whether it was made counts as used: the safe side.
        let answer: Vec<String> = call.run(&self.redis, Effect::Write).await.map_err(failed)?;
        let unclear = || MeterError::Unavailable("Redis answered something else than counts".to_owned());
        let (kind, rest) = answer.split_first().ok_or_else(unclear)?;
        let number = |text: &String| text.parse::<i64>().map_err(|_| unclear());
        let place = |text: &String| usize::try_from(number(text)?).map_err(|_| unclear());
        match (kind.as_str(), rest) {
            ("G", epochs) if epochs.len() == lines.len() => Ok(Verdict::Granted(epochs.to_vec())),
            ("R", [line, used]) => Ok(Verdict::Refused { line: place(line)?, used: number(used)? }),
            ("U", missing) => Ok(Verdict::Unseeded(missing.iter().map(place).collect::<Result<_, _>>()?)),
            _ => Err(unclear()),
        }
    }

    async fn settle(&self, scope: &str, holder: &str, lines: &[Settled]) -> Result<(), MeterError> {
        let keys: Vec<String> = lines.iter().map(|line| self.key(scope, &line.key)).collect();
        let mut call = SETTLE.keys(&keys).arg(holder);
        for line in lines {
            let kind = if line.places { "p" } else { "w" };
            call = call.arg(kind).arg(&line.epoch).arg(line.reserved).arg(line.actual);
        }
        call.run::<i64>(&self.redis, Effect::Write).await.map(drop).map_err(failed)
    }

    async fn seed(&self, scope: &str, key: &str, used: i64, ends: Millis) -> Result<(), MeterError> {
        let call = SEED.keys(&[self.key(scope, key)]);
        let epoch = sre_proto::ids::new_uuid().to_string();
        let call = call.arg(used).arg(ends).arg(epoch);
        call.run::<i64>(&self.redis, Effect::Write).await.map(drop).map_err(failed)
    }

    async fn renew(
        &self,
        scope: &str,
        holder: &str,
        keys: &[String],
        lease: Millis,
    ) -> Result<(), MeterError> {
        let keys: Vec<String> = keys.iter().map(|key| self.key(scope, key)).collect();
        let call = RENEW.keys(&keys).arg(holder).arg(lease);
        call.run::<i64>(&self.redis, Effect::Write).await.map(drop).map_err(failed)
    }

    async fn used(&self, scope: &str, key: &str, places: bool) -> Result<Option<i64>, MeterError> {
        let key = self.key(scope, key);
        if places {
            let held: i64 = self.redis.query(cmd("ZCARD").arg(key), Effect::Read).await.map_err(failed)?;
            return Ok(Some(held));
        }
        self.redis.query(cmd("HGET").arg(key).arg("u"), Effect::Read).await.map_err(failed)
    }
}

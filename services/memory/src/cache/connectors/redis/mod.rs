//! Entries in Redis, one hash each: `<prefix>:c:{<scope>}:<key>` with the fields `v` (value), `a` (access list), `m`
//! (notes), `e` (end) and `t` (version). A change is one script. An access list is a field of its entry, so it
//! cannot outlive it, whatever the server throws out.

mod legacy;

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use bytes::Bytes;
use sre_redis::{Effect, Redis, RedisError, RedisSettings, Script, cmd};
use sre_service::connectors::{Connector, Opening, Unhealthy};

use self::legacy::Legacy;
use super::CacheStore;
use crate::cache::clock::{Clock, Millis};
use crate::cache::error::CacheError;
use crate::cache::name::EntryName;
use crate::cache::record::{Change, Condition, Guard, Head, Notes, Outcome, Record, Seen};

#[cfg(test)]
pub(super) use self::legacy::Settings as LegacySettings;

static UPDATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("update.lua")));

/// What an operator says.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
struct Settings {
    /// Where the server is.
    #[serde(flatten)]
    redis: RedisSettings,
    /// Entries of the reference, read where there is none of ours.
    legacy: Option<legacy::Settings>,
}

/// Checks the settings without connecting.
pub(super) fn check(opening: &Opening) -> anyhow::Result<()> {
    let settings: Settings = opening.settings()?;
    settings.redis.check()?;
    settings.legacy.as_ref().map_or(Ok(()), legacy::Settings::check)
}

/// Opens an instance.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn CacheStore>> {
    let settings: Settings = opening.settings()?;
    let redis = Redis::open(&settings.redis).await?;
    let entries = RedisEntries::new(redis, Clock::system());
    Ok(Arc::new(match settings.legacy {
        Some(legacy) => entries.with_legacy(legacy),
        None => entries,
    }))
}

/// Entries in Redis. Clones share the connections.
#[derive(Clone, Debug)]
pub struct RedisEntries {
    redis: Redis,
    clock: Clock,
    legacy: Option<Legacy>,
}

/// The fields of a record but the value: access list, notes, end, version.
type Fields = (Option<String>, Option<String>, Option<String>, Option<String>);

impl RedisEntries {
    /// Entries in a server.
    pub fn new(redis: Redis, clock: Clock) -> Self {
        Self { redis, clock, legacy: None }
    }

    /// The same with the reference's entries behind.
    #[must_use]
    pub(crate) fn with_legacy(self, settings: legacy::Settings) -> Self {
        Self { legacy: Some(Legacy::new(settings)), ..self }
    }

    fn key(&self, name: &EntryName) -> String {
        format!("{}:c:{{{}}}:{}", self.redis.prefix(), name.scope(), name.key())
    }

    fn live(&self, fields: Fields, size_bytes: u64) -> Result<Option<Head>, CacheError> {
        let (Some(list), Some(notes), Some(end), Some(version)) = fields else { return Ok(None) };
        let head = head(list, &notes, &end, &version, size_bytes)?;
        Ok(Some(head).filter(|head| head.is_live(self.clock.now())))
    }
}

#[async_trait]
impl Connector for RedisEntries {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.redis.ping().await.map_err(Unhealthy::new)
    }

    async fn close(&self) {
        self.redis.close();
    }
}

#[async_trait]
impl CacheStore for RedisEntries {
    fn now(&self) -> Millis {
        self.clock.now()
    }

    async fn look(&self, name: &EntryName) -> Result<Option<Arc<Record>>, CacheError> {
        let fields = cmd("HMGET").arg(self.key(name)).arg(&["a", "m", "e", "t", "v"]).to_owned();
        let (list, notes, end, version, value): (_, _, _, _, Option<Vec<u8>>) =
            self.redis.query(&fields, Effect::Read).await?;
        let value = Bytes::from(value.unwrap_or_default());
        match self.live((list, notes, end, version), value.len() as u64)? {
            Some(head) => Ok(Some(Arc::new(Record { head, value }))),
            None => match &self.legacy {
                Some(legacy) => legacy.look(&self.redis, name, self.clock.now()).await,
                None => Ok(None),
            },
        }
    }

    async fn head(&self, name: &EntryName) -> Result<Option<Head>, CacheError> {
        static HEAD: LazyLock<Script> = LazyLock::new(|| {
            Script::new(
                "local head = redis.call('HMGET', KEYS[1], 'a', 'm', 'e', 't')
                 head[5] = redis.call('HSTRLEN', KEYS[1], 'v')
                 return head",
            )
        });
        let call = HEAD.keys(&[self.key(name)]);
        let (list, notes, end, version, size): (_, _, _, _, u64) =
            call.run(&self.redis, Effect::Read).await?;
        match (self.live((list, notes, end, version), size)?, &self.legacy) {
            (None, Some(legacy)) => {
                let found = legacy.look(&self.redis, name, self.clock.now()).await?;
                Ok(found.map(|record| record.head.clone()))
            }
            (head, _) => Ok(head),
        }
    }

    async fn update(&self, name: &EntryName, seen: &Seen, change: Change) -> Result<Outcome, CacheError> {
        // An entry of the reference is none of ours: what is made of it is new.
        let ours = seen.0.as_ref().filter(|guard| !legacy::is_legacy(guard));
        let was_legacy = seen.0.is_some() && ours.is_none();
        let word = ours.map_or_else(|| "absent".to_owned(), |guard| format!("={}", guard.text()));
        let is_set = matches!(change, Change::Set { .. });
        if was_legacy && !matches!(change, Change::Set { .. } | Change::Delete) {
            return Err(CacheError::ReadOnly);
        }
        let call = UPDATE.keys(&[self.key(name)]).arg(self.clock.now()).arg(word);
        let call = match change {
            Change::Set { value, etag, expires_ms, notes, guard, condition } => call
                .arg("set")
                .arg(&value[..])
                .arg(format!("{etag:032x}"))
                .arg(end(expires_ms))
                .arg(json(&notes)?)
                .arg(guard.text())
                .arg(match condition {
                    Condition::Always => "always".to_owned(),
                    // What is behind counts as there.
                    Condition::IfAbsent if was_legacy => return Ok(Outcome::Unheld),
                    Condition::IfPresent if was_legacy => "always".to_owned(),
                    Condition::IfAbsent => "absent".to_owned(),
                    Condition::IfPresent => "present".to_owned(),
                    Condition::IfMatch(etag) => format!("={etag:032x}"),
                }),
            Change::Increment { delta, etag, expires_ms, guard } => {
                call.arg("add").arg(delta).arg(format!("{etag:032x}")).arg(end(expires_ms)).arg(guard.text())
            }
            Change::Delete => call.arg("delete"),
            Change::Take => call.arg("take"),
            Change::Touch { expires_ms } => call.arg("touch").arg(end(expires_ms)),
            Change::SetGuard(guard) => call.arg("list").arg(guard.text()),
            Change::SetNotes { from, to } => call.arg("notes").arg(json(&from)?).arg(json(&to)?),
        };
        let told: Vec<Option<Vec<u8>>> = call.run(&self.redis, Effect::Write).await?;
        let mut outcome = outcome(told)?;
        if let (true, Some(legacy)) = (was_legacy, &self.legacy)
            && matches!((is_set, &outcome), (true, Outcome::Done) | (false, Outcome::Absent))
        {
            legacy.remove(&self.redis, name).await?;
            outcome = Outcome::Done;
        }
        Ok(outcome)
    }
}

fn outcome(told: Vec<Option<Vec<u8>>>) -> Result<Outcome, CacheError> {
    let mut parts = told.into_iter();
    let mut text = || {
        let bytes = parts.next().flatten().ok_or_else(|| broken("a script gave too little"))?;
        Ok::<_, CacheError>(bytes)
    };
    let word = text()?;
    Ok(match &word[..] {
        b"done" => Outcome::Done,
        b"moved" => Outcome::Moved,
        b"absent" => Outcome::Absent,
        b"unheld" => Outcome::Unheld,
        b"word" => Outcome::NoNumber,
        b"overflow" => Outcome::Overflow,
        b"sum" => {
            let sum = crate::cache::record::number(&text()?);
            Outcome::Sum(sum.ok_or_else(|| broken("a sum is no number"))?)
        }
        b"taken" => {
            let value = Bytes::from(text()?);
            let mut string = || String::from_utf8(text()?).map_err(|_| broken("a field is no text"));
            let (list, notes, end, version) = (string()?, string()?, string()?, string()?);
            let head = head(list, &notes, &end, &version, value.len() as u64)?;
            Outcome::Taken(Record { head, value })
        }
        _ => return Err(broken("a script answers what it never should")),
    })
}

fn head(list: String, notes: &str, end: &str, version: &str, size_bytes: u64) -> Result<Head, CacheError> {
    let expires_ms = match end {
        "" => None,
        end => Some(end.parse().map_err(|_| broken("an end is no number"))?),
    };
    let notes: Notes = serde_json::from_str(notes).map_err(|_| broken("notes cannot be read"))?;
    let etag = u128::from_str_radix(version, 16).map_err(|_| broken("a version cannot be read"))?;
    Ok(Head { etag, expires_ms, size_bytes, notes: Arc::new(notes), guard: Guard::from_text(list) })
}

fn end(expires_ms: Option<Millis>) -> String {
    expires_ms.map(|end| end.to_string()).unwrap_or_default()
}

fn json(notes: &Notes) -> Result<String, CacheError> {
    serde_json::to_string(notes).map_err(|error| CacheError::Broken(error.to_string()))
}

fn broken(what: &str) -> CacheError {
    CacheError::Broken(format!("the record of an entry in redis is damaged: {what}"))
}

impl From<RedisError> for CacheError {
    fn from(failed: RedisError) -> Self {
        let message = failed.to_string();
        match failed {
            RedisError::Unavailable { .. } => Self::Unavailable(message),
            RedisError::NoAnswer { .. } => Self::Uncertain(message),
            RedisError::Overloaded { .. } => Self::Overloaded,
            RedisError::Full { .. } => Self::Full(message),
            RedisError::Settings(_) | RedisError::Refused { .. } => Self::Broken(message),
        }
    }
}

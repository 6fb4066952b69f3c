//! Namespaces in Redis. Every change is one script, so list, condition, value, end and books hold together; the
//! access list is beside the values, in a server that may throw nothing out.
//!
//! Keys, all with the hash tag of their team, so that a team is on one node of a cluster:
//!
//! - `<prefix>:nkv:{team}:lists`: hash, namespace to access list; `names`: sorted set of the namespaces
//! - `v:<namespace>`: hash, key to record; `k:<namespace>`: sorted set of the keys
//! - `ends`: sorted set, "namespace, line feed, key" by end; `books`: hash, what the team holds
//! - `dropped`: hash, mark to namespace, whose values wait for the sweeper under `x:<mark>`
//!
//! Durability is the server's: see `docs/operations.md` for `appendfsync` and replicas.

mod scripts;
mod sweep;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use moka::sync::Cache;
use sre_redis::{Effect, Redis, RedisError, RedisSettings, cmd};
use sre_service::connectors::{Connector, Opening, Unhealthy};

use super::NkvStore;
use crate::basis::{Basis, Condition, Recorder};
use crate::clock::Clock;
use crate::error::IoError;
use crate::nkv::PAGE_BYTES;
use crate::nkv::model::{Found, Names, Namespace, Page, Range, Set, ValueRow};
use crate::nkv::name::{KeyName, NamespaceName};

/// The most keys that one page looks at: a script keeps everybody else waiting.
const MOST_LOOKED_AT: usize = 5_000;
/// Teams that are known to be registered for the sweeper.
const TEAMS_REMEMBERED: u64 = 100_000;

/// Checks the settings without connecting.
pub(super) fn check(opening: &Opening) -> anyhow::Result<()> {
    Ok(opening.settings::<RedisSettings>()?.check()?)
}

/// Opens an instance.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn NkvStore>> {
    let redis = Redis::open(&opening.settings()?).await?;
    check_memory(&redis).await?;
    Ok(Arc::new(RedisValues::new(redis, Clock::system())))
}

/// Values and access lists are no cache: a server that throws them out when it is full is refused.
async fn check_memory(redis: &Redis) -> anyhow::Result<()> {
    for info in redis.info("memory").await? {
        let policy = field(&info, "maxmemory_policy").unwrap_or("noeviction");
        let is_bounded = field(&info, "maxmemory").is_some_and(|bytes| bytes != "0");
        anyhow::ensure!(
            !is_bounded || !policy.starts_with("allkeys"),
            "{} throws out any key when it is full (maxmemory-policy {policy}), and access lists with them: set \
             maxmemory-policy noeviction",
            redis.name()
        );
    }
    for info in redis.info("persistence").await? {
        if field(&info, "aof_enabled") == Some("0") {
            tracing::warn!(
                server = redis.name(),
                "values are kept in a redis without an append-only file: a crash takes back what it acknowledged; \
                 set appendonly yes"
            );
        }
    }
    Ok(())
}

fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Namespaces in Redis. Clones share the connections.
#[derive(Clone, Debug)]
pub struct RedisValues {
    redis: Redis,
    clock: Clock,
    registered: Cache<String, ()>,
}

/// The keys of a team and of one of its namespaces.
struct Keys {
    base: String,
}

impl Keys {
    fn of(redis: &Redis, team: &str) -> Self {
        Self { base: format!("{}:nkv:{{{team}}}", redis.prefix()) }
    }

    fn own(&self, what: &str) -> String {
        format!("{}:{what}", self.base)
    }

    fn values(&self, namespace: &str) -> String {
        format!("{}:v:{namespace}", self.base)
    }

    fn keys(&self, namespace: &str) -> String {
        format!("{}:k:{namespace}", self.base)
    }

    /// Where the values and keys of a dropped namespace wait.
    fn dropped(&self, mark: &str) -> [String; 2] {
        [format!("{}:x:{mark}:v", self.base), format!("{}:x:{mark}:k", self.base)]
    }
}

impl RedisValues {
    /// Namespaces in a server.
    pub fn new(redis: Redis, clock: Clock) -> Self {
        Self { redis, clock, registered: Cache::new(TEAMS_REMEMBERED) }
    }

    fn keys(&self, team: &str) -> Keys {
        Keys::of(&self.redis, team)
    }

    fn teams(&self) -> String {
        format!("{}:nkv:teams", self.redis.prefix())
    }

    /// Tells the sweeper of a team before it holds anything.
    async fn register(&self, team: &str) -> Result<(), IoError> {
        if self.registered.contains_key(team) {
            return Ok(());
        }
        let _: i64 = self.redis.query(cmd("SADD").arg(self.teams()).arg(team), Effect::Write).await?;
        self.registered.insert(team.to_owned(), ());
        Ok(())
    }
}

#[async_trait]
impl Connector for RedisValues {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.redis.ping().await.map_err(Unhealthy::new)
    }

    async fn close(&self) {
        self.redis.close();
    }
}

#[async_trait]
impl NkvStore for RedisValues {
    async fn find(&self, name: &NamespaceName) -> Result<Option<Namespace>, IoError> {
        let lists = self.keys(&name.team).own("lists");
        let list: Option<String> =
            self.redis.query(cmd("HGET").arg(lists).arg(&name.namespace), Effect::Read).await?;
        Ok(list.map(namespace))
    }

    async fn get(&self, name: &KeyName) -> Result<Found, IoError> {
        let keys = self.keys(&name.parent.team);
        let of = &name.parent.namespace;
        let call = scripts::GET.keys(&[keys.own("lists"), keys.values(of)]).arg(of).arg(&name.key);
        let (list, record): (Option<String>, Option<Vec<u8>>) = call.run(&self.redis, Effect::Read).await?;
        let row = record.map(|record| decode(&name.key, record)).transpose()?;
        let now = self.clock.now();
        Ok((list.map(namespace), row.filter(|row| row.is_live(now))))
    }

    async fn list(&self, name: &NamespaceName, range: &Range) -> Result<(Option<Namespace>, Page), IoError> {
        let keys = self.keys(&name.team);
        let of = &name.namespace;
        let call = scripts::LIST
            .keys(&[keys.own("lists"), keys.values(of), keys.keys(of)])
            .arg(of)
            .arg(&range.prefix)
            .arg(&range.after)
            .arg(range.limit)
            .arg(PAGE_BYTES)
            .arg(self.clock.now())
            .arg(MOST_LOOKED_AT);
        let answer: Vec<Option<Vec<u8>>> = call.run(&self.redis, Effect::Read).await?;
        let mut parts = answer.into_iter();
        let Some(list) = parts.next().flatten() else { return Ok((None, Page::default())) };
        let next = parts.next().flatten().map(text).transpose()?.filter(|next| !next.is_empty());
        let mut values = Vec::new();
        while let (Some(Some(key)), Some(Some(record))) = (parts.next(), parts.next()) {
            values.push(decode(&text(key)?, record)?);
        }
        Ok((Some(namespace(text(list)?)), Page { values, next }))
    }

    async fn namespaces(&self, team: &str, after: &str, limit: usize) -> Result<Names, IoError> {
        let keys = self.keys(team);
        let call = scripts::NAMES
            .keys(&[keys.own("lists"), keys.own("names")])
            .arg(after)
            .arg(limit.saturating_add(1));
        let answer: Vec<String> = call.run(&self.redis, Effect::Read).await?;
        let mut namespaces = Vec::new();
        let mut parts = answer.into_iter();
        while let (Some(name), Some(list)) = (parts.next(), parts.next()) {
            namespaces.push((name, namespace(list)));
        }
        let has_more = namespaces.len() > limit;
        namespaces.truncate(limit);
        Ok(Names { namespaces, has_more })
    }

    async fn set(&self, set: Set, record: Recorder) -> Result<ValueRow, IoError> {
        let name = set.name.clone();
        let (team, of) = (&name.parent.team, &name.parent.namespace);
        self.register(team).await?;
        let (now, quota) = (self.clock.now(), set.quota);
        let (basis, condition) = (word(&set.basis), condition(&set.condition));
        let list_when_new = set.list_when_new.clone();
        let row = set.row(now);
        let keys = self.keys(team);
        let touched = [
            keys.own("lists"),
            keys.own("names"),
            keys.values(of),
            keys.keys(of),
            keys.own("ends"),
            keys.own("books"),
        ];
        let call = scripts::SET
            .keys(&touched)
            .arg(of)
            .arg(&name.key)
            .arg(basis)
            .arg(list_when_new)
            .arg(condition)
            .arg(now)
            .arg(row.expires_ms.map(|end| end.to_string()).unwrap_or_default())
            .arg(encode(&row))
            .arg(quota.items)
            .arg(quota.bytes);
        let told: String = call.run(&self.redis, Effect::Write).await?;
        judge(&told, || name.to_string(), team)?;
        // Its audit record is queued now: Redis has no outbox.
        drop(record);
        Ok(row)
    }

    async fn delete(
        &self,
        name: &KeyName,
        basis: Basis,
        over: Condition,
        record: Recorder,
    ) -> Result<(), IoError> {
        let keys = self.keys(&name.parent.team);
        let of = &name.parent.namespace;
        let touched =
            [keys.own("lists"), keys.values(of), keys.keys(of), keys.own("ends"), keys.own("books")];
        let call = scripts::DELETE
            .keys(&touched)
            .arg(of)
            .arg(&name.key)
            .arg(word(&basis))
            .arg(condition(&over))
            .arg(self.clock.now());
        let told: String = call.run(&self.redis, Effect::Write).await?;
        judge(&told, || name.to_string(), &name.parent.team)?;
        drop(record);
        Ok(())
    }

    async fn delete_namespace(
        &self,
        name: &NamespaceName,
        basis: Basis,
        record: Recorder,
    ) -> Result<(), IoError> {
        let keys = self.keys(&name.team);
        let of = &name.namespace;
        let mark = sre_proto::ids::new_uuid().simple().to_string();
        let [values, names] = keys.dropped(&mark);
        let touched = [
            keys.own("lists"),
            keys.own("names"),
            keys.values(of),
            keys.keys(of),
            keys.own("dropped"),
            values,
            names,
        ];
        let call = scripts::DROP.keys(&touched).arg(of).arg(word(&basis)).arg(mark);
        let told: String = call.run(&self.redis, Effect::Write).await?;
        judge(&told, || name.to_string(), &name.team)?;
        drop(record);
        Ok(())
    }

    async fn set_list(
        &self,
        name: &NamespaceName,
        basis: Basis,
        list: String,
        record: Recorder,
    ) -> Result<(), IoError> {
        let lists = self.keys(&name.team).own("lists");
        let call = scripts::ACL.keys(&[lists]).arg(&name.namespace).arg(word(&basis)).arg(list);
        let told: String = call.run(&self.redis, Effect::Write).await?;
        judge(&told, || name.to_string(), &name.team)?;
        drop(record);
        Ok(())
    }

    async fn sweep(&self) -> Result<u64, IoError> {
        let mut gone = 0;
        let mut cursor = "0".to_owned();
        loop {
            let scan = cmd("SSCAN").arg(self.teams()).arg(&cursor).arg("COUNT").arg(100).to_owned();
            let (next, teams): (String, Vec<String>) = self.redis.query(&scan, Effect::Read).await?;
            for team in teams {
                gone += sweep::team(&self.redis, &self.keys(&team), self.clock.now()).await?;
            }
            if next == "0" {
                return Ok(gone);
            }
            cursor = next;
        }
    }

    async fn used(&self, team: &str) -> Result<(i64, i64), IoError> {
        let books = self.keys(team).own("books");
        let (items, bytes): (Option<i64>, Option<i64>) =
            self.redis.query(cmd("HMGET").arg(books).arg("items").arg("bytes"), Effect::Read).await?;
        Ok((items.unwrap_or(0), bytes.unwrap_or(0)))
    }
}

fn namespace(list: String) -> Namespace {
    Namespace { list: list.into() }
}

/// A decision's basis, as the scripts compare it.
fn word(basis: &Basis) -> String {
    basis.list().map_or_else(|| "absent".to_owned(), |list| format!("={list}"))
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Always => "always".to_owned(),
        Condition::IfAbsent => "absent".to_owned(),
        Condition::IfMatch(etag) => format!("={etag}"),
    }
}

fn judge(told: &str, name: impl Fn() -> String, team: &str) -> Result<(), IoError> {
    match told {
        "done" => Ok(()),
        "moved" => Err(IoError::AclChanged),
        "none" => Err(IoError::NotFound(name())),
        "exists" => Err(IoError::Exists),
        "other" => Err(IoError::OtherVersion),
        "quota" => Err(IoError::Quota { team: team.to_owned(), what: "values" }),
        other => Err(IoError::Broken(format!("a script of namespaces answers {other:?}"))),
    }
}

/// `etag;updated;expires;type`, a line feed, and the value. None of the four can hold a semicolon but the last,
/// and none a line feed.
fn encode(row: &ValueRow) -> Vec<u8> {
    let end = row.expires_ms.map(|end| end.to_string()).unwrap_or_default();
    let mut record = format!("{};{};{end};{}\n", row.etag, row.updated_ms, row.content_type).into_bytes();
    record.extend_from_slice(&row.value);
    record
}

fn decode(key: &str, record: Vec<u8>) -> Result<ValueRow, IoError> {
    let broken = || IoError::Broken(format!("the record of key {key:?} cannot be read"));
    let record = Bytes::from(record);
    let head_bytes = record.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
    let head = std::str::from_utf8(&record[..head_bytes]).map_err(|_| broken())?;
    let mut parts = head.splitn(4, ';');
    let (Some(etag), Some(updated), Some(expires), Some(content_type)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(broken());
    };
    let expires_ms = match expires {
        "" => None,
        end => Some(end.parse().map_err(|_| broken())?),
    };
    Ok(ValueRow {
        key: key.to_owned(),
        value: record.slice(head_bytes + 1..),
        content_type: content_type.to_owned(),
        etag: etag.to_owned(),
        updated_ms: updated.parse().map_err(|_| broken())?,
        expires_ms,
    })
}

fn text(bytes: Vec<u8>) -> Result<String, IoError> {
    String::from_utf8(bytes).map_err(|_| IoError::Broken("a key in redis is no text".to_owned()))
}

impl From<RedisError> for IoError {
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

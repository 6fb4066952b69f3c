//! Conversations and their messages, in the journal's file.

use async_trait::async_trait;
use bytes::Bytes;
use sre_store::rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::rows::{key, uuid};
use super::{Result, SqliteJournal};
use crate::llm_context::{
    Conversation, ConversationAppend, ConversationFilter, ConversationId, Conversations, Entered, Message,
    NewConversation, NewMessage,
};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::time::UnixMs;

/// A page ends behind this many bytes, so that it fits into a message,
const PAGE_BYTES: usize = 1024 * 1024;
/// and after this many messages.
const PAGE_MESSAGES: i64 = 1000;

/// The turn that holds it is the first of the line that goes on.
const COLUMNS: &str = "c.partition, c.id, c.team, c.agent, c.owner, c.title, c.acl, c.settings, c.version, \
     c.created_ms, c.updated_ms, \
     (select t.partition from turn_line t join run r on r.partition = t.partition and r.id = t.run \
      where t.conversation = c.row and r.ended_ms is null order by t.place limit 1), \
     (select t.run from turn_line t join run r on r.partition = t.partition and r.id = t.run \
      where t.conversation = c.row and r.ended_ms is null order by t.place limit 1)";

type Sql<T> = sre_store::rusqlite::Result<T>;

fn conversation(row: &Row<'_>) -> Sql<Conversation> {
    let bytes = |index: usize| row.get::<_, Vec<u8>>(index).map(Bytes::from);
    let active = match (row.get::<_, Option<u8>>(11)?, uuid(row, 12)?) {
        (Some(partition), Some(uuid)) => Some(RunId { partition, uuid }),
        _ => None,
    };
    Ok(Conversation {
        head: NewConversation {
            id: RunId { partition: row.get(0)?, uuid: uuid(row, 1)?.unwrap_or_default() },
            team: row.get(2)?,
            agent: row.get(3)?,
            owner: row.get(4)?,
            title: row.get(5)?,
            acl: bytes(6)?,
            settings: bytes(7)?,
        },
        version: row.get(8)?,
        created: UnixMs(row.get(9)?),
        updated: UnixMs(row.get(10)?),
        active,
    })
}

fn get(conn: &Connection, id: ConversationId) -> Result<Conversation> {
    conn.prepare_cached(&format!(
        "select {COLUMNS} from conversation c where c.partition = ?1 and c.id = ?2"
    ))?
    .query_row(params![id.partition, key(&id.uuid)], conversation)
    .optional()?
    .ok_or(JournalError::ConversationNotFound)
}

/// The row's key and its number of messages.
fn locate(conn: &Connection, id: ConversationId) -> Result<(i64, i64)> {
    conn.prepare_cached("select row, version from conversation where partition = ?1 and id = ?2")?
        .query_row(params![id.partition, key(&id.uuid)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or(JournalError::ConversationNotFound)
}

fn insert(conn: &Connection, now: UnixMs, new: &NewConversation) -> Result<()> {
    conn.prepare_cached(
        "insert into conversation (partition, id, team, agent, owner, title, acl, settings, created_ms, updated_ms) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9) on conflict do nothing",
    )?
    .execute(params![
        new.id.partition,
        key(&new.id.uuid),
        new.team,
        new.agent,
        new.owner,
        new.title,
        &new.acl[..],
        &new.settings[..],
        now.0,
    ])?;
    Ok(())
}

/// Adds what a turn's record brings, in the record's transaction. Where the conversation was deleted it goes nowhere.
pub(super) fn add(conn: &Connection, now: UnixMs, added: &ConversationAppend) -> Result<()> {
    match locate(conn, added.conversation) {
        Ok((row, version)) => write(conn, now, row, version, &added.messages).map(|_| ()),
        Err(JournalError::ConversationNotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

fn write(conn: &Connection, now: UnixMs, row: i64, version: i64, messages: &[NewMessage]) -> Result<i64> {
    let mut insert = conn.prepare_cached(
        "insert into message (conversation, seq, role, json, run, run_partition, at_ms) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut last = version;
    for message in messages {
        last += 1;
        let run = message.run.map(|run| (run.partition, key(&run.uuid).to_vec()));
        let (partition, run) = run.unzip();
        insert.execute(params![row, last, message.role, &message.json[..], run, partition, now.0])?;
    }
    conn.prepare_cached("update conversation set version = ?2, updated_ms = ?3 where row = ?1")?
        .execute(params![row, last, now.0])?;
    Ok(last)
}

fn enter(conn: &Connection, id: ConversationId, run: RunId) -> Result<Entered> {
    let (row, version) = locate(conn, id)?;
    let mine = params![row, run.partition, key(&run.uuid)];
    conn.prepare_cached(
        "insert into turn_line (conversation, partition, run) values (?1, ?2, ?3) on conflict do nothing",
    )?
    .execute(mine)?;
    conn.prepare_cached(
        "delete from turn_line where conversation = ?1 and not (partition = ?2 and run = ?3) and not exists \
         (select 1 from run r where r.partition = turn_line.partition and r.id = turn_line.run and r.ended_ms is null)",
    )?
    .execute(mine)?;
    let before = conn
        .prepare_cached(
            "select partition, run from turn_line where conversation = ?1 and place < \
             (select place from turn_line where conversation = ?1 and partition = ?2 and run = ?3) \
             order by place desc limit 1",
        )?
        .query_row(mine, |row| Ok(RunId { partition: row.get(0)?, uuid: uuid(row, 1)?.unwrap_or_default() }))
        .optional()?;
    Ok(Entered { before, version })
}

fn message(row: &Row<'_>) -> Sql<Message> {
    let run = match (row.get::<_, Option<u8>>(4)?, uuid(row, 3)?) {
        (Some(partition), Some(uuid)) => Some(RunId { partition, uuid }),
        _ => None,
    };
    Ok(Message {
        sequence: row.get(0)?,
        time: UnixMs(row.get(5)?),
        content: NewMessage { role: row.get(1)?, json: Bytes::from(row.get::<_, Vec<u8>>(2)?), run },
    })
}

#[async_trait]
impl Conversations for SqliteJournal {
    async fn create(&self, new: NewConversation) -> Result<Conversation> {
        self.write(move |tx| {
            insert(tx.conn, tx.now, &new)?;
            get(tx.conn, new.id)
        })
        .await
    }

    async fn get(&self, id: ConversationId) -> Result<Conversation> {
        self.query(move |conn| get(conn, id)).await
    }

    async fn list(&self, filter: ConversationFilter) -> Result<Vec<Conversation>> {
        self.query(move |conn| {
            let mut conditions = vec!["c.team = ? and c.agent = ?"];
            let mut values: Vec<&dyn ToSql> = vec![&filter.team, &filter.agent];
            if let Some(owner) = &filter.owner {
                conditions.push("c.owner = ?");
                values.push(owner);
            }
            let before = filter.before.map(|id| (id.partition, key(&id.uuid).to_vec()));
            if let Some((partition, id)) = &before {
                conditions.push("(c.partition, c.id) < (?, ?)");
                values.push(partition);
                values.push(id);
            }
            values.push(&filter.limit);
            let sql = format!(
                "select {COLUMNS} from conversation c where {} order by c.partition desc, c.id desc limit ?",
                conditions.join(" and ")
            );
            let mut select = conn.prepare_cached(&sql)?;
            let found = select.query_map(&values[..], conversation)?;
            Ok(found.collect::<Sql<_>>()?)
        })
        .await
    }

    async fn update(
        &self,
        id: ConversationId,
        title: Option<String>,
        settings: Option<Bytes>,
    ) -> Result<Conversation> {
        self.write(move |tx| {
            let (row, _) = locate(tx.conn, id)?;
            tx.conn
                .prepare_cached(
                    "update conversation set title = coalesce(?2, title), settings = coalesce(?3, settings) \
                     where row = ?1",
                )?
                .execute(params![row, title, settings.as_deref()])?;
            get(tx.conn, id)
        })
        .await
    }

    async fn delete(&self, id: ConversationId) -> Result<()> {
        self.write(move |tx| {
            let (row, _) = locate(tx.conn, id)?;
            for sql in [
                "delete from message where conversation = ?1",
                "delete from turn_line where conversation = ?1",
                "delete from conversation where row = ?1",
            ] {
                tx.conn.prepare_cached(sql)?.execute([row])?;
            }
            Ok(())
        })
        .await
    }

    async fn enter(&self, id: ConversationId, run: RunId) -> Result<Entered> {
        self.write(move |tx| enter(tx.conn, id, run)).await
    }

    async fn append(&self, id: ConversationId, expected: i64, messages: Vec<NewMessage>) -> Result<i64> {
        self.write(move |tx| {
            let (row, version) = locate(tx.conn, id)?;
            if get(tx.conn, id)?.active.is_some() {
                return Err(JournalError::ConversationHeld);
            }
            if version != expected {
                return Err(JournalError::ConversationMoved { version });
            }
            write(tx.conn, tx.now, row, version, &messages)
        })
        .await
    }

    async fn read(&self, id: ConversationId, after: i64) -> Result<Vec<Message>> {
        self.query(move |conn| {
            let (row, _) = locate(conn, id)?;
            let mut select = conn.prepare_cached(
                "select seq, role, json, run, run_partition, at_ms from message \
                 where conversation = ?1 and seq > ?2 order by seq limit ?3",
            )?;
            let mut found = Vec::new();
            let mut bytes = 0;
            for message in select.query_map([row, after, PAGE_MESSAGES], message)? {
                let message = message?;
                bytes += message.content.json.len();
                found.push(message);
                if bytes >= PAGE_BYTES {
                    break;
                }
            }
            Ok(found)
        })
        .await
    }

    async fn before_newest(&self, id: ConversationId, bytes: i64) -> Result<i64> {
        self.query(move |conn| {
            let (row, version) = locate(conn, id)?;
            let mut before = version;
            let mut select = conn.prepare_cached(
                "select seq, length(json) from message where conversation = ?1 order by seq desc",
            )?;
            let mut left = bytes;
            let mut rows = select.query([row])?;
            while let Some(found) = rows.next()? {
                let (sequence, size): (i64, i64) = (found.get(0)?, found.get(1)?);
                left -= size;
                if left < 0 && sequence < version {
                    break;
                }
                before = sequence - 1;
            }
            Ok(before)
        })
        .await
    }

    async fn fork(&self, id: ConversationId, version: i64, new: NewConversation) -> Result<Conversation> {
        self.write(move |tx| {
            let (from, _) = locate(tx.conn, id)?;
            insert(tx.conn, tx.now, &new)?;
            let (to, _) = locate(tx.conn, new.id)?;
            let copied = tx
                .conn
                .prepare_cached(
                    "insert into message (conversation, seq, role, json, run, run_partition, at_ms) \
                     select ?2, seq, role, json, run, run_partition, at_ms from message \
                     where conversation = ?1 and seq <= ?3",
                )?
                .execute([from, to, version])?;
            tx.conn
                .prepare_cached("update conversation set version = ?2 where row = ?1")?
                .execute(params![to, i64::try_from(copied).unwrap_or_default()])?;
            get(tx.conn, new.id)
        })
        .await
    }
}

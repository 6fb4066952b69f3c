//! Conversations and their messages, in the journal's database. Whoever adds to a conversation, or to its line, holds
//! its row.

use async_trait::async_trait;
use bytes::Bytes;
use sre_store::pg::PgClient;
use sre_store::pg::tokio_postgres::Row;
use uuid::Uuid;

use super::rows::{Param, begin, commit, get, number, partition, query, run_id};
use super::{PostgresJournal, Result, transact};
use crate::llm_context::{
    Conversation, ConversationAppend, ConversationFilter, ConversationId, Conversations, Entered, Message,
    NewConversation, NewMessage,
};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::time::UnixMs;

/// A page ends behind this many bytes, so that it fits into a message,
const PAGE_BYTES: i64 = 1024 * 1024;
/// and after this many messages.
const PAGE_MESSAGES: i64 = 1000;

/// The turn that holds it is the first of the line that goes on.
const COLUMNS: &str = "c.partition, c.id, c.team, c.agent, c.owner, c.title, c.acl, c.settings, c.version, \
     c.created_ms, c.updated_ms, h.partition, h.run";
const TABLES: &str = "conversation c left join lateral (select t.partition, t.run from turn_line t \
     join live l on l.id = t.run and l.partition = t.partition \
     where t.conversation = c.row order by t.place limit 1) h on true";

fn conversation(row: &Row) -> Result<Conversation> {
    let bytes = |index: usize| Ok::<_, JournalError>(Bytes::copy_from_slice(get(row, index)?));
    let active = match (get::<Option<i16>>(row, 11)?, get::<Option<Uuid>>(row, 12)?) {
        (Some(partition), Some(uuid)) => Some(run_id(partition, uuid)),
        _ => None,
    };
    Ok(Conversation {
        head: NewConversation {
            id: run_id(get(row, 0)?, get(row, 1)?),
            team: get(row, 2)?,
            agent: get(row, 3)?,
            owner: get(row, 4)?,
            title: get(row, 5)?,
            acl: bytes(6)?,
            settings: bytes(7)?,
        },
        version: get(row, 8)?,
        created: UnixMs(get(row, 9)?),
        updated: UnixMs(get(row, 10)?),
        active,
    })
}

async fn one(client: &PgClient, id: ConversationId) -> Result<Conversation> {
    let text = format!("select {COLUMNS} from {TABLES} where c.id = $1 and c.partition = $2");
    let found = query(client, &text, &[&id.uuid, &partition(id)]).await?;
    found.first().ok_or(JournalError::ConversationNotFound).and_then(conversation)
}

/// Takes the row: its key and its number of messages.
async fn hold(client: &PgClient, id: ConversationId) -> Result<(i64, i64)> {
    let text = "select row, version from conversation where id = $1 and partition = $2 for update";
    let found = query(client, text, &[&id.uuid, &partition(id)]).await?;
    let row = found.first().ok_or(JournalError::ConversationNotFound)?;
    Ok((get(row, 0)?, get(row, 1)?))
}

/// The same without taking it.
async fn locate(client: &PgClient, id: ConversationId) -> Result<(i64, i64)> {
    let text = "select row, version from conversation where id = $1 and partition = $2";
    let found = query(client, text, &[&id.uuid, &partition(id)]).await?;
    let row = found.first().ok_or(JournalError::ConversationNotFound)?;
    Ok((get(row, 0)?, get(row, 1)?))
}

async fn insert(client: &PgClient, new: &NewConversation) -> Result<()> {
    let text = "
        insert into conversation (id, partition, team, agent, owner, title, acl, settings, created_ms, updated_ms)
        values ($1, $2, $3, $4, $5, $6, $7, $8, (select now_ms()), (select now_ms())) on conflict do nothing";
    let (acl, settings) = (&new.acl[..], &new.settings[..]);
    let part = partition(new.id);
    let params: [Param<'_>; 8] =
        [&new.id.uuid, &part, &new.team, &new.agent, &new.owner, &new.title, &acl, &settings];
    query(client, text, &params).await?;
    Ok(())
}

/// Adds what records of turns bring, in their transaction. Where a conversation was deleted it goes nowhere.
pub(super) async fn add_all(client: &PgClient, mut added: Vec<&ConversationAppend>) -> Result<()> {
    // Rows are taken in one order; what one conversation gets stays in its own.
    added.sort_by_key(|added| added.conversation);
    for added in added {
        add(client, added.conversation, &added.messages).await?;
    }
    Ok(())
}

/// Adds at the end; gives the new number of messages, none where there is no such conversation.
async fn add(client: &PgClient, id: ConversationId, messages: &[NewMessage]) -> Result<Option<i64>> {
    let text = "
        with c as (
            update conversation set version = version + $3::int8, updated_ms = (select now_ms())
            where id = $1 and partition = $2 returning row, version
        ), m as (
            insert into message (conversation, seq, at_ms, role, json, run, run_partition)
            select c.row, c.version - $3::int8 + i.ord, (select now_ms()), i.role, i.json, i.run, i.run_partition
            from c, unnest($4::int2[], $5::bytea[], $6::uuid[], $7::int2[]) with ordinality
                as i(role, json, run, run_partition, ord)
        )
        select version from c";
    let count = i64::try_from(messages.len()).unwrap_or(i64::MAX);
    let roles: Vec<i16> = messages.iter().map(|message| number(message.role)).collect();
    let jsons: Vec<&[u8]> = messages.iter().map(|message| &message.json[..]).collect();
    let runs: Vec<Option<Uuid>> = messages.iter().map(|message| message.run.map(|run| run.uuid)).collect();
    let parts: Vec<Option<i16>> = messages.iter().map(|message| message.run.map(partition)).collect();
    let part = partition(id);
    let params: [Param<'_>; 7] = [&id.uuid, &part, &count, &roles, &jsons, &runs, &parts];
    let found = query(client, text, &params).await?;
    found.first().map(|row| get(row, 0)).transpose()
}

async fn enter(client: &PgClient, id: ConversationId, run: RunId) -> Result<Entered> {
    begin(client).await?;
    let (row, version) = hold(client, id).await?;
    let part = partition(run);
    let mine: [Param<'_>; 3] = [&row, &run.uuid, &part];
    let line =
        "insert into turn_line (conversation, run, partition) values ($1, $2, $3) on conflict do nothing";
    query(client, line, &mine).await?;
    let sweep = "
        delete from turn_line t where t.conversation = $1 and not (t.run = $2 and t.partition = $3)
        and not exists (select 1 from live l where l.id = t.run and l.partition = t.partition)";
    query(client, sweep, &mine).await?;
    let before = "
        select t.partition, t.run from turn_line t where t.conversation = $1 and t.place <
            (select o.place from turn_line o where o.conversation = $1 and o.run = $2 and o.partition = $3)
        order by t.place desc limit 1";
    let found = query(client, before, &mine).await?;
    let before =
        found.first().map(|row| Ok::<_, JournalError>(run_id(get(row, 0)?, get(row, 1)?))).transpose()?;
    commit(client).await?;
    Ok(Entered { before, version })
}

async fn append(
    client: &PgClient,
    id: ConversationId,
    expected: i64,
    messages: &[NewMessage],
) -> Result<i64> {
    begin(client).await?;
    let (_, version) = hold(client, id).await?;
    if one(client, id).await?.active.is_some() {
        return Err(JournalError::ConversationHeld);
    }
    if version != expected {
        return Err(JournalError::ConversationMoved { version });
    }
    let now = add(client, id, messages).await?;
    commit(client).await?;
    now.ok_or(JournalError::ConversationNotFound)
}

async fn fork(
    client: &PgClient,
    id: ConversationId,
    version: i64,
    new: &NewConversation,
) -> Result<Conversation> {
    begin(client).await?;
    let (from, _) = hold(client, id).await?;
    insert(client, new).await?;
    let (to, _) = hold(client, new.id).await?;
    let text = "
        with copied as (
            insert into message (conversation, seq, at_ms, role, json, run, run_partition)
            select $2::int8, seq, at_ms, role, json, run, run_partition from message
            where conversation = $1 and seq <= $3 returning 1
        )
        update conversation set version = (select count(*) from copied) where row = $2 and id = $4 and partition = $5";
    query(client, text, &[&from, &to, &version, &new.id.uuid, &partition(new.id)]).await?;
    let forked = one(client, new.id).await?;
    commit(client).await?;
    Ok(forked)
}

async fn delete(client: &PgClient, id: ConversationId) -> Result<()> {
    begin(client).await?;
    let (row, _) = hold(client, id).await?;
    query(client, "delete from message where conversation = $1", &[&row]).await?;
    query(client, "delete from turn_line where conversation = $1", &[&row]).await?;
    query(client, "delete from conversation where id = $1 and partition = $2", &[&id.uuid, &partition(id)])
        .await?;
    commit(client).await
}

async fn list(client: &PgClient, filter: &ConversationFilter) -> Result<Vec<Conversation>> {
    let mut params: Vec<Param<'_>> = vec![&filter.team, &filter.agent];
    let mut conditions = vec!["c.team = $1 and c.agent = $2".to_owned()];
    if let Some(owner) = &filter.owner {
        params.push(owner);
        conditions.push(format!("c.owner = ${}", params.len()));
    }
    let before = filter.before.map(|id| (partition(id), id.uuid));
    if let Some((part, uuid)) = &before {
        params.push(part);
        params.push(uuid);
        conditions.push(format!("(c.partition, c.id) < (${}, ${})", params.len() - 1, params.len()));
    }
    let limit = i64::from(filter.limit);
    params.push(&limit);
    let text = format!(
        "select {COLUMNS} from {TABLES} where {} order by c.partition desc, c.id desc limit ${}",
        conditions.join(" and "),
        params.len()
    );
    query(client, &text, &params).await?.iter().map(conversation).collect()
}

async fn read(client: &PgClient, id: ConversationId, after: i64) -> Result<Vec<Message>> {
    let (row, _) = locate(client, id).await?;
    let text = "
        select seq, role, json, run, run_partition, at_ms from (
            select m.*, sum(octet_length(m.json)) over (order by m.seq) - octet_length(m.json) as before
            from (select * from message where conversation = $1 and seq > $2 order by seq limit $3) as m
        ) as p where p.before < $4::int8 order by seq";
    let found = query(client, text, &[&row, &after, &PAGE_MESSAGES, &PAGE_BYTES]).await?;
    let message = |row: &Row| {
        let run = match (get::<Option<i16>>(row, 4)?, get::<Option<Uuid>>(row, 3)?) {
            (Some(partition), Some(uuid)) => Some(run_id(partition, uuid)),
            _ => None,
        };
        let json = Bytes::copy_from_slice(get(row, 2)?);
        Ok(Message {
            sequence: get(row, 0)?,
            time: UnixMs(get(row, 5)?),
            content: NewMessage { role: i32::from(get::<i16>(row, 1)?), json, run },
        })
    };
    found.iter().map(message).collect()
}

async fn before_newest(client: &PgClient, id: ConversationId, bytes: i64) -> Result<i64> {
    let (row, version) = locate(client, id).await?;
    let text = "select seq, octet_length(json)::int8 from message where conversation = $1 and seq < $2 \
                order by seq desc limit $3";
    let (mut left, mut before) = (bytes, version);
    loop {
        let found = query(client, text, &[&row, &(before + 1), &PAGE_MESSAGES]).await?;
        if found.is_empty() {
            return Ok(before);
        }
        for row in &found {
            let sequence: i64 = get(row, 0)?;
            left -= get::<i64>(row, 1)?;
            if left < 0 && sequence < version {
                return Ok(before);
            }
            before = sequence - 1;
        }
    }
}

#[async_trait]
impl Conversations for PostgresJournal {
    async fn create(&self, new: NewConversation) -> Result<Conversation> {
        transact!(self.core, client => {
            insert(client, &new).await?;
            one(client, new.id).await
        })
    }

    async fn get(&self, id: ConversationId) -> Result<Conversation> {
        transact!(self.core, client => one(client, id).await)
    }

    async fn list(&self, filter: ConversationFilter) -> Result<Vec<Conversation>> {
        transact!(self.core, client => list(client, &filter).await)
    }

    async fn update(
        &self,
        id: ConversationId,
        title: Option<String>,
        settings: Option<Bytes>,
    ) -> Result<Conversation> {
        let text = "update conversation set title = coalesce($3, title), settings = coalesce($4, settings) \
                    where id = $1 and partition = $2";
        transact!(self.core, client => {
            let settings = settings.as_deref();
            query(client, text, &[&id.uuid, &partition(id), &title, &settings]).await?;
            one(client, id).await
        })
    }

    async fn delete(&self, id: ConversationId) -> Result<()> {
        transact!(self.core, client => delete(client, id).await)
    }

    async fn enter(&self, id: ConversationId, run: RunId) -> Result<Entered> {
        transact!(self.core, client => enter(client, id, run).await)
    }

    async fn append(&self, id: ConversationId, expected: i64, messages: Vec<NewMessage>) -> Result<i64> {
        transact!(self.core, client => append(client, id, expected, &messages).await)
    }

    async fn read(&self, id: ConversationId, after: i64) -> Result<Vec<Message>> {
        transact!(self.core, client => read(client, id, after).await)
    }

    async fn before_newest(&self, id: ConversationId, bytes: i64) -> Result<i64> {
        transact!(self.core, client => before_newest(client, id, bytes).await)
    }

    async fn fork(&self, id: ConversationId, version: i64, new: NewConversation) -> Result<Conversation> {
        transact!(self.core, client => fork(client, id, version, &new).await)
    }
}

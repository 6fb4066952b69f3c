//! Questions that runs put to people, and their decisions.

use futures::try_join;
use sre_proto::memory::v1::ApprovalState;
use sre_store::pg::PgClient;
use sre_store::pg::tokio_postgres::Row;
use uuid::Uuid;

use super::inbox;
use super::rows::{
    self, Param, Place, begin, commit, get, moment, number, partition, prepare, query, run_id,
};
use super::{Core, Result, open, transact};
use crate::runtime_context::approval::{Approval, ApprovalFilter, Decision, Question, Verdict};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::time::UnixMs;

/// Columns of questions to ask.
#[derive(Debug, Default)]
pub(super) struct Questions<'a> {
    runs: Vec<i64>,
    run_ids: Vec<Uuid>,
    partitions: Vec<i16>,
    ids: Vec<&'a str>,
    components: Vec<&'a str>,
    kinds: Vec<&'a str>,
    titles: Vec<&'a str>,
    details: Vec<&'a [u8]>,
    approvers: Vec<String>,
    expiries: Vec<Option<i64>>,
}

impl<'a> Questions<'a> {
    pub(super) fn add(&mut self, place: Place, questions: &'a [Question]) {
        for question in questions {
            self.runs.push(place.run);
            self.run_ids.push(place.id.uuid);
            self.partitions.push(partition(place.id));
            self.ids.push(&question.id);
            self.components.push(&question.component);
            self.kinds.push(&question.kind);
            self.titles.push(&question.title);
            self.details.push(&question.details);
            self.approvers.push(serde_json::json!(question.approvers).to_string());
            self.expiries.push(question.expires.map(|moment| moment.0));
        }
    }

    /// Asks them; one that was asked before is left as it is.
    pub(super) async fn write(&self, client: &PgClient) -> Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let text = "
            insert into approval (run, run_id, partition, team, agent, id, component, kind, title, details,
                approvers, expires_ms, created_ms, state)
            select i.run, i.run_id, i.partition, r.team, r.agent, i.id, i.component, i.kind, i.title, i.details,
                i.approvers, i.expires_ms, (select now_ms()), 1
            from unnest($1::int8[], $2::uuid[], $3::int2[], $4::text[], $5::text[], $6::text[], $7::text[],
                $8::bytea[], $9::text[], $10::int8[]) as i(run, run_id, partition, id, component, kind, title,
                details, approvers, expires_ms)
            join run r on r.id = i.run_id and r.partition = i.partition
            on conflict (run, id) do nothing";
        let params: [Param<'_>; 10] = [
            &self.runs,
            &self.run_ids,
            &self.partitions,
            &self.ids,
            &self.components,
            &self.kinds,
            &self.titles,
            &self.details,
            &self.approvers,
            &self.expiries,
        ];
        query(client, text, &params).await?;
        Ok(())
    }
}

/// The columns that [`approval`] reads, of `approval a`.
const COLUMNS: &str = "a.place, a.partition, a.run_id, a.team, a.agent, a.id, a.component, a.kind, a.title, \
     a.details, a.approvers, a.expires_ms, a.created_ms, a.state, a.decided_by, a.comment, a.decision, \
     a.decided_ms, (select now_ms()), a.run";

fn approval(row: &Row) -> Result<Approval> {
    let approvers: String = get(row, 10)?;
    let question = Question {
        id: get(row, 5)?,
        component: get(row, 6)?,
        kind: get(row, 7)?,
        title: get(row, 8)?,
        details: bytes::Bytes::copy_from_slice(get(row, 9)?),
        approvers: serde_json::from_str(&approvers).unwrap_or_default(),
        expires: moment(row, 11)?,
    };
    let kept = ApprovalState::try_from(i32::from(get::<i16>(row, 13)?)).unwrap_or_default();
    let verdict = match (get::<Option<String>>(row, 14)?, moment(row, 17)?) {
        (Some(decided_by), Some(decided)) => Some(Verdict {
            decision: Decision {
                state: kept,
                decided_by,
                comment: get::<Option<String>>(row, 15)?.unwrap_or_default(),
                content: bytes::Bytes::copy_from_slice(get::<Option<&[u8]>>(row, 16)?.unwrap_or_default()),
            },
            decided,
        }),
        _ => None,
    };
    Ok(Approval {
        place: get(row, 0)?,
        run: run_id(get(row, 1)?, get(row, 2)?),
        team: get(row, 3)?,
        agent: get(row, 4)?,
        state: Approval::state_at(kept, question.expires, UnixMs(get(row, 18)?)),
        question,
        created: UnixMs(get(row, 12)?),
        verdict,
    })
}

pub(super) async fn get_one(client: &PgClient, run: RunId, id: &str) -> Result<Approval> {
    let text = format!(
        "select {COLUMNS} from run r join approval a on a.run = r.run where r.id = $1 and r.partition = $2 and a.id = $3"
    );
    let found = query(client, &text, &[&run.uuid, &partition(run), &id]).await?;
    match found.first() {
        Some(row) => approval(row),
        None if open::exists(client, run).await? => Err(JournalError::ApprovalNotFound),
        None => Err(JournalError::RunNotFound),
    }
}

pub(super) async fn list(client: &PgClient, filter: &ApprovalFilter) -> Result<Vec<Approval>> {
    let mut params: Vec<Param<'_>> = vec![&filter.team];
    let mut conditions = vec!["a.team = $1".to_owned()];
    let mut add = |condition: &str, value| {
        params.push(value);
        conditions.push(condition.replace('?', &format!("${}", params.len())));
    };
    if let Some(agent) = &filter.agent {
        add("a.agent = ?", agent);
    }
    let run = filter.run.map(|run| (run.uuid, partition(run)));
    if let Some((uuid, partition)) = &run {
        add("a.run_id = ?", uuid);
        add("a.partition = ?", partition);
    }
    if let Some(before) = &filter.before {
        add("a.place < ?", before);
    }
    let state = filter.state.map(number);
    if let Some(kept) = &state {
        // A pending one whose time has passed reads as expired.
        add(
            "case when a.state = 1 and a.expires_ms <= (select now_ms()) then 4 else a.state end = ?::int2",
            kept,
        );
    }
    let limit = i64::from(filter.limit);
    add("", &limit);
    conditions.pop();
    let text = format!(
        "select {COLUMNS} from approval a where {} order by a.place desc limit ${}",
        conditions.join(" and "),
        params.len()
    );
    query(client, &text, &params).await?.iter().map(approval).collect()
}

/// Decides, and tells the run.
pub(super) async fn decide(core: &Core, run: RunId, id: &str, decision: &Decision) -> Result<Approval> {
    let (approval, changes) = transact!(core, client => {
        let select = format!("select {COLUMNS} from approval a where a.run = $1 and a.id = $2 for update of a");
        let [lock, select, update] = prepare(client, [inbox::LOCK, &select, DECIDE]).await?;
        let key: [Param<'_>; 2] = [&run.uuid, &partition(run)];
        // The run before its question, as everywhere.
        let locked = try_join!(begin(client), rows::rows(client, &lock, &key))?.1;
        let Some(row) = locked.first() else {
            let kept = get_one(client, run, id).await?;
            commit(client).await?;
            return Ok((repeated(kept, decision)?, Vec::new()));
        };
        let number_of_run: i64 = get(row, 0)?;
        let found = rows::rows(client, &select, &[&number_of_run, &id]).await?;
        let kept = approval(found.first().ok_or(JournalError::ApprovalNotFound)?)?;
        if kept.state != ApprovalState::Pending {
            commit(client).await?;
            return Ok((repeated(kept, decision)?, Vec::new()));
        }
        let state = number(decision.state);
        let content: &[u8] = &decision.content;
        let params: [Param<'_>; 6] =
            [&number_of_run, &id, &state, &decision.decided_by, &decision.comment, &content];
        let decided = rows::rows(client, &update, &params).await?;
        let decided = approval(decided.first().ok_or(JournalError::ApprovalNotFound)?)?;
        let place = Place { run: number_of_run, id: run };
        let target = inbox::target(place, row)?;
        // As many as the run asked for, however full its inbox is.
        let (_, changes) = inbox::put(core, client, &target, &decided.signal(), i64::MAX).await?;
        Ok((decided, changes))
    })?;
    core.tell(changes);
    Ok(approval)
}

/// The answer where it was decided before.
fn repeated(kept: Approval, decision: &Decision) -> Result<Approval> {
    match &kept.verdict {
        Some(verdict) if verdict.decision == *decision => Ok(kept),
        Some(verdict) => Err(JournalError::already_decided(&verdict.decision)),
        None => Err(JournalError::ApprovalExpired),
    }
}

const DECIDE: &str = "
    update approval a set state = $3, decided_by = $4, comment = $5, decision = $6, decided_ms = now_ms()
    where a.run = $1 and a.id = $2
    returning a.place, a.partition, a.run_id, a.team, a.agent, a.id, a.component, a.kind, a.title, a.details,
        a.approvers, a.expires_ms, a.created_ms, a.state, a.decided_by, a.comment, a.decision, a.decided_ms,
        (select now_ms()), a.run";

/// Marks a batch of those whose time has passed.
pub(super) async fn expire(client: &PgClient, limit: i64) -> Result<()> {
    let text = "
        update approval set state = 4 where (run, id) in (select run, id from approval
            where state = 1 and expires_ms is not null and expires_ms <= (select now_ms())
            order by expires_ms limit $1 for update skip locked)";
    query(client, text, &[&limit]).await?;
    Ok(())
}

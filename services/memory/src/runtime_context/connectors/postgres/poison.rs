//! Runs that bring their owners down.

use bytes::Bytes;
use sre_proto::memory::v1::RecordKind;
use sre_store::pg::PgClient;

use super::claim::Candidate;
use super::ending::{self, Ended};
use super::rows::{Ids, Place, Records, get, prepare, query};
use super::{Core, Result};
use crate::runtime_context::changes::Change;
use crate::runtime_context::model::NewRecord;

/// Ends locked runs, each with a last record for those who watch it.
pub(super) async fn fail(core: &Core, client: &PgClient, poisoned: &[Candidate]) -> Result<Vec<Change>> {
    if poisoned.is_empty() {
        return Ok(Vec::new());
    }
    let mut last_records = Vec::with_capacity(poisoned.len());
    for candidate in poisoned {
        let words = serde_json::json!({
            "error": "poison",
            "message": format!(
                "claimed {} times in a row without progress: each owner stopped or died before its first record",
                candidate.barren
            ),
        });
        let body = Bytes::from(words.to_string());
        last_records.push(NewRecord {
            kind: RecordKind::Closed,
            step: "poison".to_owned(),
            body,
            blob: None,
            usage: Bytes::new(),
            conversation: None,
        });
    }
    let ids: Ids = poisoned.iter().map(|candidate| candidate.place.id).collect();
    let outcomes: Vec<&[u8]> = last_records.iter().map(|record| &record.body[..]).collect();
    let closed = query(client, CLOSE, &[&ids.partitions, &ids.uuids, &outcomes]).await?;
    let mut records = Records::default();
    let mut ended = Ended::default();
    for row in &closed {
        let index = usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(0);
        let candidate = &poisoned[index];
        let place = Place { run: get(row, 1)?, id: candidate.place.id };
        records.add(place, get(row, 3)?, get(row, 2)?, [&last_records[index]]);
        ended.add(place, candidate.slots.0.clone(), candidate.slots.1);
    }
    let [insert] = prepare(client, [Records::INSERT]).await?;
    let params = records.params();
    let limit = core.settings.team_running;
    let claimable = ending::finish(client, &insert, &params, &ended, limit, false).await?;
    Ok(if claimable { vec![Change::Claimable] } else { Vec::new() })
}

/// Gives `ord, run, sequence of the last record, epoch`.
const CLOSE: &str = "
with closed as (
    delete from live l using unnest($1::int2[], $2::uuid[], $3::bytea[]) with ordinality
        as i(partition, id, outcome, ord)
    where l.id = i.id and l.partition = i.partition
    returning i.ord, i.outcome, l.*
), ended as (
    insert into ended (run, epoch, next_seq, checkpoint_seq, ended_ms, id, barren, partition, kind, state, outcome)
    select run, epoch, next_seq + 1, checkpoint_seq, (select now_ms()), id, barren, partition, kind, 7, outcome
    from closed
)
select ord, run, next_seq, epoch from closed";

//! The rows of the ledger. Every statement about these tables is here.

use std::collections::BTreeMap;

use prost::Message as _;
use sre_identity::runs;
use sre_proto::observability::v1::UsageEvent;
use sre_proto::observability::v1::usage_event::Use;
use sre_store::StoreError;
use sre_store::sql::{Connection, OptionalExtension, Row, ToValue, Value, named_params, params};

use super::{HOUR_MS, Sums};
use crate::clock::Millis;

/// The columns of [`Sums::columns`].
const SUMS: [&str; 13] = [
    "runs",
    "executions",
    "component_micros",
    "model_calls",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_micros",
    "byte_hours",
    "unmetered_calls",
    "service_calls",
    "service_credits",
];

/// What sums are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The team.
    Team,
    /// Agents.
    Agent,
    /// Users.
    User,
    /// Models.
    Model,
    /// Runs.
    Run,
}

/// Which sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The team.
    pub team: String,
    /// Made by what.
    pub by: By,
    /// From this hour on.
    pub from_hour: i64,
    /// Before this hour.
    pub to_hour: i64,
    /// Only of this agent, where not empty.
    pub agent: String,
    /// Rows to pass over.
    pub offset: u32,
    /// Rows at most.
    pub limit: u32,
}

/// Stores an event; false where it is known.
pub fn insert(tx: &Connection<'_>, event: &UsageEvent, now: Millis) -> Result<bool, StoreError> {
    let stored = tx
        .prepare_cached(
            "insert into usage_event (team, id, agent, run, stored_ms, event) values (?1, ?2, ?3, ?4, ?5, ?6)
             on conflict (team, id) do nothing",
        )?
        .execute(params![event.team, event.id, event.agent, event.run_id, now, event.encode_to_vec()])?;
    Ok(stored > 0)
}

/// What the events of one transaction add: most are of few agents and runs, and each row is touched once.
#[derive(Default)]
pub struct Added {
    /// By team, hour, agent, user and model.
    hours: BTreeMap<(String, i64, String, String, String), Sums>,
    /// By team, run, agent and hour.
    runs: BTreeMap<(String, String, String, i64), Sums>,
    /// By team, run and hour: what models used in runs that were started from it.
    below: BTreeMap<(String, String, i64), Sums>,
}

impl Added {
    /// Adds an event, or what it holds.
    pub fn add(&mut self, event: &UsageEvent, now: Millis) {
        match &event.r#use {
            Some(Use::Together(together)) => {
                // Few hours, and all of them of one run: each is looked up once.
                let mut hours: BTreeMap<i64, Sums> = BTreeMap::new();
                for held in &together.events {
                    let known = hours.entry(hour_of(held, now)).or_default();
                    *known = known.plus(&Sums::of(held));
                }
                for (hour, sums) in hours {
                    self.add_sums(event, hour, "", &sums);
                }
            }
            Some(Use::Model(model)) => {
                let (hour, sums) = (hour_of(event, now), Sums::of(event));
                for (team, run) in event.outer_runs.iter().take(runs::MOST).filter_map(|run| runs::parts(run))
                {
                    let known = self.below.entry((team.to_owned(), run.to_owned(), hour)).or_default();
                    *known = known.plus(&sums);
                }
                self.add_sums(event, hour, &model.model, &sums);
            }
            _ => self.add_sums(event, hour_of(event, now), "", &Sums::of(event)),
        }
    }

    fn add_sums(&mut self, of: &UsageEvent, hour: i64, model: &str, sums: &Sums) {
        if *sums == Sums::default() {
            return;
        }
        let (team, agent) = (of.team.clone(), of.agent.clone());
        if !of.run_id.is_empty() {
            let known = self.runs.entry((team.clone(), of.run_id.clone(), agent.clone(), hour)).or_default();
            *known = known.plus(sums);
        }
        let known = self.hours.entry((team, hour, agent, of.user.clone(), model.to_owned())).or_default();
        *known = known.plus(sums);
    }
}

/// The hour in which an event began, as far as that can be true.
fn hour_of(event: &UsageEvent, now: Millis) -> i64 {
    let began = event.time.map(|time| time.seconds.saturating_mul(1000) + i64::from(time.nanos) / 1_000_000);
    began.filter(|began| (0..=now).contains(began)).unwrap_or(now) / HOUR_MS
}

/// Adds to the sums.
pub fn add(tx: &Connection<'_>, added: &Added) -> Result<(), StoreError> {
    let by_hour = upsert("usage_hour", &["team", "hour", "agent", "\"user\"", "model"], 5);
    for ((team, hour, agent, user, model), sums) in &added.hours {
        add_row(tx, &by_hour, params![team, hour, agent, user, model], sums)?;
    }
    let by_run = upsert("usage_run", &["team", "run", "agent", "hour"], 2);
    for ((team, run, agent, hour), sums) in &added.runs {
        add_row(tx, &by_run, params![team, run, agent, hour], sums)?;
    }
    let below = upsert("usage_below", &["team", "run", "hour"], 2);
    for ((team, run, hour), sums) in &added.below {
        add_row(tx, &below, params![team, run, hour], sums)?;
    }
    Ok(())
}

fn add_row<const N: usize>(
    tx: &Connection<'_>,
    sql: &str,
    keys: [Value<'_>; N],
    sums: &Sums,
) -> Result<(), StoreError> {
    let columns = sums.columns();
    let values: Vec<Value<'_>> = keys.into_iter().chain(columns.iter().map(ToValue::to_value)).collect();
    tx.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Adds to a row, whose first `key` columns name it.
fn upsert(table: &str, columns: &[&str], key: usize) -> String {
    let all: Vec<&str> = columns.iter().copied().chain(SUMS).collect();
    let places: Vec<String> = (1..=all.len()).map(|place| format!("?{place}")).collect();
    let sums = SUMS.map(|name| format!("{name} = {table}.{name} + excluded.{name}"));
    format!(
        "insert into {table} ({}) values ({}) on conflict ({}) do update set {}",
        all.join(", "),
        places.join(", "),
        columns[..key].join(", "),
        sums.join(", ")
    )
}

fn sums_of(row: &Row<'_>, first: usize) -> sre_store::sql::Result<Sums> {
    let mut columns = [0; SUMS.len()];
    for (place, column) in columns.iter_mut().enumerate() {
        *column = row.get::<Option<i64>>(first + place)?.unwrap_or_default();
    }
    Ok(Sums::of_columns(columns))
}

fn summed() -> String {
    SUMS.map(|name| format!("cast(sum({name}) as bigint)")).join(", ")
}

/// Sums by key, the most expensive first.
pub fn query(conn: &Connection<'_>, query: &Query) -> Result<Vec<(String, Sums)>, StoreError> {
    let (table, key) = match query.by {
        By::Team => ("usage_hour", "team"),
        By::Agent => ("usage_hour", "agent"),
        By::User => ("usage_hour", "\"user\""),
        By::Model => ("usage_hour", "model"),
        By::Run => ("usage_run", "run"),
    };
    // What no model did is no model's.
    let only = if query.by == By::Model { "and model <> ''" } else { "" };
    let sql = format!(
        "select {key}, {} from {table} where team = :team and hour >= :from and hour < :to
         and (:agent = '' or agent = :agent) {only} group by {key}
         order by sum(cost_micros) desc, sum(input_tokens + output_tokens) desc, sum(executions) desc, {key}
         limit :limit offset :offset",
        summed()
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! {
            ":team": query.team,
            ":from": query.from_hour,
            ":to": query.to_hour,
            ":agent": query.agent,
            ":limit": query.limit,
            ":offset": query.offset,
        },
        |row| Ok((row.get(0)?, sums_of(row, 1)?)),
    )?;
    rows.collect::<Result<_, _>>()
}

/// What is summed up for budgets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Total {
    /// Of these teams.
    pub teams: Vec<String>,
    /// Of this agent, user, model; of all where empty.
    pub agent: String,
    /// See above.
    pub user: String,
    /// See above.
    pub model: String,
    /// From this hour on.
    pub from_hour: i64,
    /// Before this hour.
    pub to_hour: i64,
}

/// One sum of all that fits.
pub fn total(conn: &Connection<'_>, total: &Total) -> Result<Sums, StoreError> {
    let sql = format!(
        "select {} from usage_hour where team = :team and hour >= :from and hour < :to
         and (:agent = '' or agent = :agent) and (:user = '' or \"user\" = :user) and (:model = '' or model = :model)",
        summed()
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut all = Sums::default();
    for team in &total.teams {
        let sums = statement.query_row(
            named_params! {
                ":team": team,
                ":from": total.from_hour,
                ":to": total.to_hour,
                ":agent": total.agent,
                ":user": total.user,
                ":model": total.model,
            },
            |row| sums_of(row, 0),
        )?;
        all = all.plus(&sums);
    }
    Ok(all)
}

/// Rows of a run after a place, with their places and encoded events, in the order in which they came.
pub fn of_run(
    conn: &Connection<'_>,
    team: &str,
    run: &str,
    after: i64,
    most: u32,
) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select seq, event from usage_event where team = ?1 and run = ?2 and run <> '' and seq > ?3
         order by seq limit ?4",
    )?;
    let rows = statement.query_map(params![team, run, after, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect::<Result<_, _>>()
}

/// The sums of a run, with what models used in runs that were started from it.
pub fn sums_of_run(conn: &Connection<'_>, team: &str, run: &str) -> Result<Sums, StoreError> {
    let mut all = Sums::default();
    for table in ["usage_run", "usage_below"] {
        let sql = format!("select {} from {table} where team = ?1 and run = ?2", SUMS.join(", "));
        let sums = conn.prepare_cached(&sql)?.query_row([team, run], |row| sums_of(row, 0)).optional()?;
        all = all.plus(&sums.unwrap_or_default());
    }
    Ok(all)
}

/// Removes some events that were stored before a moment; gives how many.
pub fn remove_events(tx: &Connection<'_>, before: Millis, limit: u32) -> Result<usize, StoreError> {
    // The oldest places are the oldest events, but for the moment by which clocks of replicas differ.
    let sql = "delete from usage_event where seq in
                 (select seq from (select seq, stored_ms from usage_event order by seq limit ?2) as oldest
                  where stored_ms < ?1)";
    tx.prepare_cached(sql)?.execute(params![before, limit])
}

/// Removes some sums by run and by hour of before these hours; gives how many.
pub fn remove_sums(tx: &Connection<'_>, runs: i64, hours: i64, limit: u32) -> Result<usize, StoreError> {
    let sql = "delete from usage_run where (team, run) in
                 (select team, run from usage_run where hour < ?1 order by hour limit ?2)";
    let gone = tx.prepare_cached(sql)?.execute(params![runs, limit])?;
    let sql = "delete from usage_below where (team, run) in
                 (select team, run from usage_below where hour < ?1 order by hour limit ?2)";
    let gone = gone.max(tx.prepare_cached(sql)?.execute(params![runs, limit])?);
    let sql = "delete from usage_hour where (team, hour, agent, \"user\", model) in
                 (select team, hour, agent, \"user\", model from usage_hour where hour < ?1 limit ?2)";
    Ok(gone.max(tx.prepare_cached(sql)?.execute(params![hours, limit])?))
}

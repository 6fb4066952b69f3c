//! The tables of this service.

use sre_store::Migration;

/// Schema versions.
pub static MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "log entries", expand: TABLES, contract: None },
    Migration { version: 2, name: "the ledger", expand: LEDGER, contract: None },
    Migration { version: 3, name: "uses of services", expand: SERVICES, contract: None },
    Migration { version: 4, name: "uses below runs", expand: BELOW, contract: None },
    Migration { version: 5, name: "no index by age", expand: NO_AGE, contract: None },
];

/// Places follow the age, so what is oldest is found without an index, which each event and line had to pay for. The
/// version before only sweeps: more slowly without them.
const NO_AGE: &str = "
drop index usage_event_by_age;
drop index entry_by_age;
";

const TABLES: &str = "
create table entry (
    id integer primary key autoincrement,
    team text not null,
    agent text not null,
    run text not null,
    component text not null,
    level integer not null,
    message text not null,
    time_seconds integer not null,
    time_nanos integer not null,
    stored_ms integer not null
) strict;
create index entry_by_agent on entry (team, agent, id);
create index entry_by_run on entry (team, agent, run, id);
create index entry_by_team on entry (team, id);
create index entry_by_age on entry (stored_ms);

-- How many lines a team has, changed in the transaction that changes it.
create table team_lines (
    team text primary key,
    lines integer not null
) strict, without rowid;
";

const LEDGER: &str = "
-- Events as they came, for traces and runs, and so that each counts once: (team, id) is what an event is.
create table usage_event (
    seq integer primary key autoincrement,
    team text not null,
    id text not null,
    agent text not null,
    run text not null,
    stored_ms integer not null,
    -- The event, encoded.
    event blob not null
) strict;
create unique index usage_event_by_id on usage_event (team, id);
create index usage_event_by_run on usage_event (team, run, seq) where run <> '';
create index usage_event_by_age on usage_event (stored_ms);

-- Sums by hour, changed in the transaction that stores an event. They outlive the events.
create table usage_hour (
    team text not null,
    hour integer not null,
    agent text not null,
    \"user\" text not null,
    model text not null,
    runs integer not null,
    executions integer not null,
    component_micros integer not null,
    model_calls integer not null,
    input_tokens integer not null,
    output_tokens integer not null,
    cached_input_tokens integer not null,
    reasoning_tokens integer not null,
    cost_micros integer not null,
    byte_hours integer not null,
    unmetered_calls integer not null,
    primary key (team, hour, agent, \"user\", model)
) strict, without rowid;

-- Sums by run.
create table usage_run (
    team text not null,
    run text not null,
    agent text not null,
    hour integer not null,
    runs integer not null,
    executions integer not null,
    component_micros integer not null,
    model_calls integer not null,
    input_tokens integer not null,
    output_tokens integer not null,
    cached_input_tokens integer not null,
    reasoning_tokens integer not null,
    cost_micros integer not null,
    byte_hours integer not null,
    unmetered_calls integer not null,
    primary key (team, run)
) strict, without rowid;
create index usage_run_by_hour on usage_run (hour);
";

const SERVICES: &str = "
alter table usage_hour add column service_calls integer not null default 0;
alter table usage_hour add column service_credits integer not null default 0;
alter table usage_run add column service_calls integer not null default 0;
alter table usage_run add column service_credits integer not null default 0;
";

const BELOW: &str = "
-- What models used in runs that were started from a run: with the row of usage_run, all that the run spends.
create table usage_below (
    team text not null,
    run text not null,
    hour integer not null,
    runs integer not null,
    executions integer not null,
    component_micros integer not null,
    model_calls integer not null,
    input_tokens integer not null,
    output_tokens integer not null,
    cached_input_tokens integer not null,
    reasoning_tokens integer not null,
    cost_micros integer not null,
    byte_hours integer not null,
    unmetered_calls integer not null,
    service_calls integer not null,
    service_credits integer not null,
    primary key (team, run)
) strict, without rowid;
create index usage_below_by_hour on usage_below (hour);
";

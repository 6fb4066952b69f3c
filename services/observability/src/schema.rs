//! The tables of this service.

use sre_store::Migration;

/// Schema versions.
pub static MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "log entries", expand: TABLES, contract: None }];

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

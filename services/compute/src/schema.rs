//! The tables of this service.

use sre_store::Migration;

/// Schema versions.
pub static MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "audit outbox", expand: sre_service::audit::MIGRATION_SQL, contract: None },
    Migration { version: 2, name: "code, revisions and deployments", expand: TABLES, contract: None },
    Migration { version: 3, name: "components", expand: COMPONENTS, contract: None },
];

/// A revision is a source, or, with an empty source, a component.
const COMPONENTS: &str = "alter table revision add column component blob";

const TABLES: &str = "
create table code (
    id integer primary key autoincrement,
    team text not null,
    agent text not null,
    code text not null,
    acl text not null,
    created_ms integer not null,
    unique (team, agent, code)
) strict;

-- Never changed: named by its content.
create table revision (
    code integer not null,
    revision text not null,
    source text not null,
    outline text not null,
    created_ms integer not null,
    primary key (code, revision)
) strict, without rowid;

create table deployment (
    code integer not null,
    deployment text not null,
    revision text not null,
    settings text not null,
    created_ms integer not null,
    updated_ms integer not null,
    used_ms integer,
    primary key (code, deployment)
) strict, without rowid;
";

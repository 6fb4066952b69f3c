//! The tables of this service.

use sre_store::Migration;

/// Schema versions.
pub static MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "audit outbox", expand: sre_service::audit::MIGRATION_SQL, contract: None },
    Migration { version: 2, name: "agents and versions", expand: TABLES, contract: None },
    Migration { version: 3, name: "component types", expand: COMPONENTS, contract: None },
];

const COMPONENTS: &str = "
-- Types that are served out of process. Names are unique in the deployment.
create table component_type (
    number integer primary key autoincrement,
    name text not null unique,
    team text not null,
    default_version text not null,
    acl text not null,
    creator text not null,
    created_ms integer not null,
    updated_ms integer not null
) strict;
create index component_type_by_team on component_type (team, name);

-- What a version says about itself never changes; where it is served may.
create table component_version (
    type integer not null,
    version text not null,
    description blob not null,
    endpoints text not null,
    identity text not null,
    creator text not null,
    created_ms integer not null,
    primary key (type, version)
) strict, without rowid;
";

const TABLES: &str = "
-- Ids are unique in the deployment. `number` is never used again, so that an agent of the same id that is
-- created later has nothing of the old one.
create table agent (
    number integer primary key autoincrement,
    id text not null unique,
    team text not null,
    display_name text not null,
    latest text not null,
    deployed text,
    acl_definition text not null,
    acl_skills text not null,
    creator text not null,
    created_ms integer not null,
    updated_ms integer not null
) strict;
create index agent_by_team on agent (team, id);

-- Never changed: named by its content.
create table version (
    sequence integer primary key autoincrement,
    agent integer not null,
    version text not null,
    digest text not null,
    document blob not null,
    creator text not null,
    created_ms integer not null,
    unique (agent, version)
) strict;
create index version_by_age on version (agent, sequence);

-- Versions go in batches after their agent.
create table dropped_agent (
    number integer primary key
) strict;

-- Agents that Account may know and we may not have: a creation in progress, or a deletion that Account has
-- not heard of. What stays here after a crash is unregistered.
create table registration (
    agent text primary key,
    team text not null,
    since_ms integer not null
) strict, without rowid;

create table creation_request (
    caller text not null,
    request_id text not null,
    digest text not null,
    agent integer not null,
    created_ms integer not null,
    primary key (caller, request_id)
) strict, without rowid;
create index creation_request_by_age on creation_request (created_ms);
";

//! The tables of this service.

use sre_store::Migration;

/// Schema versions.
pub static MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "audit outbox", expand: sre_service::audit::MIGRATION_SQL, contract: None },
    Migration { version: 2, name: "files and values", expand: TABLES, contract: None },
    Migration { version: 3, name: "instances, metadata, links", expand: LINKS, contract: None },
];

/// Schema versions in PostgreSQL.
pub static PG_MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "audit outbox",
        expand: sre_service::audit::PG_MIGRATION_SQL,
        contract: None,
    },
    Migration { version: 2, name: "files and links", expand: PG_FILES, contract: None },
];

const TABLES: &str = "
-- A file: its name, and all that is true of it, in one row. `object` names immutable bytes.
create table file (
    name text primary key,
    team text not null,
    etag text not null,
    mimetype text not null,
    size_bytes integer not null,
    digest text not null,
    object text not null,
    acl text not null,
    created_ms integer not null,
    updated_ms integer not null,
    expires_ms integer
) strict, without rowid;
create index file_by_expiry on file (expires_ms) where expires_ms is not null;

-- Objects that no row names, or not yet: removed when due. A write puts its object here first, so that a
-- crash at any point leaves no orphan that is not known.
create table stray_object (
    object text primary key,
    due_ms integer not null,
    -- The sweeper has it: no row may name it any more.
    condemned integer not null default 0
) strict, without rowid;
create index stray_object_by_due on stray_object (due_ms);

create table namespace (
    id integer primary key autoincrement,
    team text not null,
    name text not null,
    acl text not null,
    created_ms integer not null,
    unique (team, name)
) strict;

-- Namespace ids are never used again, so that deleting a namespace is one row, whatever it holds.
create table value (
    namespace integer not null,
    key text not null,
    value blob not null,
    content_type text not null,
    etag text not null,
    updated_ms integer not null,
    expires_ms integer,
    primary key (namespace, key)
) strict, without rowid;
create index value_by_expiry on value (expires_ms) where expires_ms is not null;

create table dropped_namespace (
    id integer primary key,
    team text not null
) strict;

-- What a team uses, changed in the transaction that changes it.
create table team_usage (
    team text not null,
    kind text not null,
    items integer not null,
    bytes integer not null,
    primary key (team, kind)
) strict, without rowid;
";

const LINKS: &str = "
-- The instance of the backend that has a file's bytes; empty: the default one, as before there were several.
alter table file add column instance text not null default '';
-- What its writers say of it, a JSON object.
alter table file add column metadata text not null default '{}';

alter table stray_object add column instance text not null default '';
-- What the backend calls the unfinished write.
alter table stray_object add column unfinished text;

-- A link to a file: what was signed, so that it can be listed and revoked.
create table link (
    id text primary key,
    file text not null,
    subject text not null,
    kind integer not null,
    disposition integer not null,
    etag text not null,
    created_ms integer not null,
    expires_ms integer not null,
    revoked_ms integer
) strict, without rowid;
create index link_by_file on link (file, id);
create index link_by_expiry on link (expires_ms);

-- Keys that sign links: the newest signs, all verify, each goes when nothing that it signed is valid any more.
create table link_key (
    id text primary key,
    secret blob not null,
    created_ms integer not null
) strict, without rowid;
";

const PG_FILES: &str = "
create table file (
    -- In the order of bytes, which lists and ranges rely on.
    name text collate \"C\" primary key,
    team text not null,
    etag text not null,
    mimetype text not null,
    size_bytes bigint not null,
    digest text not null,
    object text not null,
    acl text not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    expires_ms bigint,
    instance text not null,
    metadata text not null
);
create index file_by_expiry on file (expires_ms) where expires_ms is not null;

create table stray_object (
    object text primary key,
    due_ms bigint not null,
    condemned boolean not null default false,
    instance text not null,
    unfinished text
);
create index stray_object_by_due on stray_object (due_ms);

create table link (
    id text collate \"C\" primary key,
    file text not null,
    subject text not null,
    kind integer not null,
    disposition integer not null,
    etag text not null,
    created_ms bigint not null,
    expires_ms bigint not null,
    revoked_ms bigint
);
create index link_by_file on link (file, id);
create index link_by_expiry on link (expires_ms);

create table link_key (
    id text primary key,
    secret bytea not null,
    created_ms bigint not null
);

create table team_usage (
    team text not null,
    kind text not null,
    items bigint not null,
    bytes bigint not null,
    primary key (team, kind)
);
";

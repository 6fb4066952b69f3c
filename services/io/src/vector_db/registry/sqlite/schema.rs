//! The tables of the registry.

use sre_store::Migration;

/// Schema versions.
pub static MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "audit outbox", expand: sre_service::audit::MIGRATION_SQL, contract: None },
    Migration { version: 2, name: "namespaces and datasources", expand: TABLES, contract: None },
];

const TABLES: &str = "
-- `next_generation` is the number of the next writing.
create table vector_namespace (
    id text primary key,
    name text not null unique,
    scope text not null,
    team text not null,
    dimension integer not null,
    metric text not null,
    embedding text,
    instance text not null,
    description text not null,
    acl text not null,
    created_ms integer not null,
    row_count integer not null,
    size_bytes integer not null,
    next_generation integer not null
) strict, without rowid;
create index vector_namespace_by_scope on vector_namespace (scope, name);

create table datasource (
    namespace text not null,
    id text not null,
    label text not null,
    metadata text not null,
    chunk_size integer not null,
    chunk_overlap integer not null,
    chunks integer not null,
    text_bytes integer not null,
    bytes integer not null,
    etag text not null,
    generation integer not null,
    creator text not null,
    created_ms integer not null,
    updated_ms integer not null,
    primary key (namespace, id)
) strict, without rowid;

-- Texts apart, so that lists do not read over them.
create table datasource_text (
    namespace text not null,
    id text not null,
    text text not null,
    primary key (namespace, id)
) strict;

-- Writings that do not count: not yet, or not any more.
create table stray_generation (
    namespace text not null,
    generation integer not null,
    due_ms integer not null,
    -- The sweeper has it: it can never count.
    condemned integer not null default 0,
    primary key (namespace, generation)
) strict, without rowid;
create index stray_generation_by_due on stray_generation (due_ms);

-- Rows of no datasource, for the books.
create table direct_row (
    namespace text not null,
    id text not null,
    bytes integer not null,
    primary key (namespace, id)
) strict, without rowid;

create table vector_request (
    namespace text not null,
    id text not null,
    digest text not null,
    datasource text not null,
    at_ms integer not null,
    primary key (namespace, id)
) strict, without rowid;
create index vector_request_by_time on vector_request (at_ms);

create table dropped_collection (
    id text primary key,
    dimension integer not null,
    metric text not null,
    instance text not null
) strict, without rowid;

create table vector_usage (
    team text primary key,
    row_count integer not null,
    size_bytes integer not null
) strict, without rowid;
";

//! The tables of the registry.

use sre_store::Migration;

/// What the statements are written for.
pub const PG_SESSION: &[(&str, &str)] = &[("default_transaction_isolation", "read\\ committed")];

/// Schema versions.
pub static PG_MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "audit outbox",
        expand: sre_service::audit::PG_MIGRATION_SQL,
        contract: None,
    },
    Migration { version: 2, name: "namespaces and datasources", expand: TABLES, contract: None },
];

const TABLES: &str = "
create table vector_namespace (
    id text primary key,
    name text collate \"C\" not null unique,
    scope text not null,
    team text not null,
    dimension bigint not null,
    metric text not null,
    embedding text,
    instance text not null,
    description text not null,
    acl text not null,
    created_ms bigint not null,
    row_count bigint not null,
    size_bytes bigint not null,
    next_generation bigint not null
);
create index vector_namespace_by_scope on vector_namespace (scope, name);
create table datasource (
    namespace text not null,
    id text collate \"C\" not null,
    label text not null,
    metadata text not null,
    chunk_size integer not null,
    chunk_overlap integer not null,
    chunks integer not null,
    text_bytes bigint not null,
    bytes bigint not null,
    etag text not null,
    generation bigint not null,
    creator text not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    text bytea not null,
    primary key (namespace, id)
);
create table stray_generation (
    namespace text not null,
    generation bigint not null,
    due_ms bigint not null,
    condemned boolean not null default false,
    primary key (namespace, generation)
);
create index stray_generation_by_due on stray_generation (due_ms);
create table direct_row (
    namespace text not null,
    id text not null,
    bytes bigint not null,
    primary key (namespace, id)
);
create table vector_request (
    namespace text not null,
    id text not null,
    digest text not null,
    datasource text not null,
    at_ms bigint not null,
    primary key (namespace, id)
);
create index vector_request_by_time on vector_request (at_ms);
create table dropped_collection (
    id text primary key,
    dimension bigint not null,
    metric text not null,
    instance text not null
);
create table vector_usage (
    team text primary key,
    row_count bigint not null,
    size_bytes bigint not null
);
";

//! The schema.

use sre_store::Migration;

/// The schema of the journal on PostgreSQL, blobs included.
///
/// - `run` is written once. What changes while a run goes on is in the small `live` row, which an append
///   updates in place (fillfactor, no index on what it changes); at the end it makes room for an `ended` row.
/// - Everything else names its run by `run`, a number that is never used twice: what a deleted run left behind
///   cannot become another's.
/// - `record` is partitioned by the run's UUIDv7, so by time: see `partitions.rs`.
/// - Moments are milliseconds since 1970 by the server's clock, `now_ms()`: that of the statement's start, so
///   that leases are rather renewed too short and reaped too late.
pub static PG_MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "journal", expand: JOURNAL, contract: None },
    Migration { version: 2, name: "usage outbox", expand: USAGE, contract: None },
    Migration { version: 3, name: "conversations", expand: CONVERSATIONS, contract: None },
];

/// A conversation's small row is apart from its messages, which are only ever added. `turn_line` holds its turns in
/// the order in which they came; what has ended is swept by the next one.
const CONVERSATIONS: &str = "
create table conversation (
  row        bigint generated always as identity,
  created_ms bigint not null,
  updated_ms bigint not null,
  version    bigint not null default 0,
  id         uuid not null,
  partition  smallint not null,
  team       text not null,
  agent      text not null,
  owner      text not null,
  title      text not null,
  acl        bytea not null,
  settings   bytea not null,
  primary key (id, partition)
) with (fillfactor = 70);
create index conversation_agent on conversation (team, agent, partition, id);
create index conversation_owner on conversation (team, agent, owner, partition, id);

create table message (
  conversation  bigint not null,
  seq           bigint not null,
  at_ms         bigint not null,
  run           uuid,
  run_partition smallint,
  role          smallint not null,
  json          bytea not null,
  primary key (conversation, seq)
);

create table turn_line (
  place        bigint generated always as identity,
  conversation bigint not null,
  run          uuid not null,
  partition    smallint not null,
  primary key (conversation, run, partition)
);
";

/// What records add to the ledger, until it is shipped.
const USAGE: &str = "
create table usage_outbox (
  id     bigint generated always as identity primary key,
  events bytea not null
);
";

const JOURNAL: &str = "
create function now_ms() returns bigint language sql stable
  as $$ select (extract(epoch from statement_timestamp()) * 1000)::bigint $$;
create sequence run_row;

create table session (
  id       uuid primary key,
  host     text not null,
  ttl_ms   bigint not null,
  until_ms bigint not null,
  reaped   boolean not null default false
) with (fillfactor = 50);

create table run (
  run              bigint not null,
  created_ms       bigint not null,
  deadline_ms      bigint,
  id               uuid not null,
  parent           uuid,
  record_format    integer not null,
  partition        smallint not null,
  parent_partition smallint,
  kind             smallint not null,
  team             text not null,
  agent            text not null,
  caller           text not null,
  idempotency_key  text not null,
  label            text not null,
  version          text not null,
  spec             bytea not null,
  acl              bytea not null,
  primary key (id, partition)
);
create unique index run_key on run (parent, parent_partition, idempotency_key) where idempotency_key <> '';
create index run_parent on run (parent) where parent is not null;
create index run_team on run (team, partition, id);
create index run_agent on run (team, agent, partition, id);

create table live (
  run            bigint not null,
  epoch          bigint not null,
  next_seq       bigint not null,
  checkpoint_seq bigint not null,
  due_ms         bigint,
  deadline_ms    bigint,
  id             uuid not null,
  session        uuid,
  record_format  integer not null,
  barren         integer not null,
  partition      smallint not null,
  kind           smallint not null,
  state          smallint not null,
  priority       smallint not null,
  team           text not null,
  primary key (id, partition)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
create index live_session on live (session) where session is not null;
create index live_leased on live (team, kind) where state = 3;
create index live_queued on live (team, kind) where state = 1;
create index live_claimable on live (team, kind, priority, due_ms)
  where state in (1, 2, 4, 5) and due_ms is not null;

create table ended (
  run            bigint not null,
  epoch          bigint not null,
  next_seq       bigint not null,
  checkpoint_seq bigint not null,
  ended_ms       bigint not null,
  id             uuid not null,
  barren         integer not null,
  partition      smallint not null,
  kind           smallint not null,
  state          smallint not null,
  outcome        bytea not null,
  primary key (id, partition)
);
create index ended_at on ended (kind, ended_ms);

create table record (
  id          uuid not null,
  run         bigint not null,
  seq         bigint not null,
  epoch       bigint not null,
  at_ms       bigint not null,
  blob_bytes  bigint,
  kind        smallint not null,
  step        text not null,
  body        bytea not null,
  blob_digest bytea,
  primary key (id, run, seq)
) partition by range (id);
create table record_default partition of record default;

create table signal (
  run       bigint not null,
  arrival   bigint generated always as identity,
  run_id    uuid not null,
  partition smallint not null,
  consumed  boolean not null default false,
  id        text not null,
  kind      text not null,
  body      bytea not null,
  primary key (run, id)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);
create index signal_waiting on signal (run_id) where not consumed;

create table waiter (
  awaited   bigint not null,
  waiter    bigint not null,
  id        uuid not null,
  partition smallint not null,
  primary key (awaited, waiter)
);
create index waiter_of on waiter (waiter);

create table approval (
  place       bigint generated always as identity,
  run         bigint not null,
  created_ms  bigint not null,
  expires_ms  bigint,
  decided_ms  bigint,
  run_id      uuid not null,
  partition   smallint not null,
  state       smallint not null,
  id          text not null,
  team        text not null,
  agent       text not null,
  component   text not null,
  kind        text not null,
  title       text not null,
  details     bytea not null,
  approvers   text not null,
  decided_by  text,
  comment     text,
  decision    bytea,
  primary key (run, id)
);
create index approval_team on approval (team, place);
create index approval_pending on approval (expires_ms) where state = 1 and expires_ms is not null;

create table request (
  at_ms        bigint not null,
  run_id       uuid not null,
  partition    smallint not null,
  caller       text not null,
  id           text not null,
  input_digest text not null,
  primary key (caller, id)
);
create index request_at on request (at_ms);

create table deleted (
  run       bigint primary key,
  id        uuid not null,
  partition smallint not null
);
create index deleted_id on deleted (id);

create table duty (
  name     text primary key,
  owner    uuid not null,
  epoch    bigint not null,
  until_ms bigint not null
);

create table blob (
  upload     uuid primary key,
  at_ms      bigint not null,
  size_bytes bigint,
  run_id     uuid not null,
  partition  smallint not null,
  digest     bytea not null
);
create unique index blob_content on blob (run_id, partition, digest) where size_bytes is not null;
create index blob_unfinished on blob (at_ms) where size_bytes is null;

create table blob_piece (
  upload uuid not null,
  n      integer not null,
  data   bytea not null,
  primary key (upload, n)
);
alter table blob_piece alter column data set storage external;
";

/// What the statements of this folder are written for: each reads and changes few rows by their keys, so
/// one plan serves all values, and a plan made while a table was small must not read the whole of it once it
/// is large.
pub static SESSION: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

//! The schema.

use sre_store::Migration;

/// The schema of the embedded journal.
///
/// - A run's small, hot row is apart from its `spec` and `outcome`, so that an append rewrites little.
/// - Records and signals name their run by `run.row`, which is never used twice (`autoincrement`): what a
///   deleted run left behind cannot become another's.
/// - `admitted_ms` is null until a run first had a slot of its team.
/// - `slot` counts what is LEASED and QUEUED per team and kind, in the transactions that change it, and bounds
///   from below when a run of theirs that nobody owns comes due. So admission reads one row, and a claim looks
///   only at teams that have something due, whatever they have parked. Counted anew at each start, as the
///   version before does not keep it.
/// - `marks` says what else a run has: an inbox, questions, waiters. Most runs have none, and their end need not
///   look for it.
/// - `waiter` names runs that stand parked until another ends; removed when they wake.
pub static MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "journal", expand: JOURNAL, contract: None },
    Migration {
        version: 2,
        name: "admission and approvals",
        expand: ADMISSION,
        // Served the claims of version 1.
        contract: Some("drop index run_due"),
    },
    Migration { version: 3, name: "usage outbox", expand: USAGE, contract: None },
    Migration { version: 4, name: "conversations", expand: CONVERSATIONS, contract: None },
];

/// A conversation's small row is apart from its messages, which are only ever added. `turn_line` holds its turns in
/// the order in which they came; what has ended is swept by the next one.
const CONVERSATIONS: &str = "
create table conversation (
  row        integer primary key autoincrement,
  partition  integer not null,
  id         blob not null,
  team       text not null,
  agent      text not null,
  owner      text not null,
  title      text not null,
  version    integer not null default 0,
  created_ms integer not null,
  updated_ms integer not null,
  acl        blob not null,
  settings   blob not null,
  unique (partition, id)
) strict;
create index conversation_agent on conversation (team, agent, partition, id);
create index conversation_owner on conversation (team, agent, owner, partition, id);

create table message (
  conversation integer not null,
  seq          integer not null,
  role         integer not null,
  json         blob not null,
  run          blob,
  run_partition integer,
  at_ms        integer not null,
  primary key (conversation, seq)
) strict, without rowid;

create table turn_line (
  place        integer primary key autoincrement,
  conversation integer not null,
  partition    integer not null,
  run          blob not null
) strict;
create unique index turn_line_run on turn_line (conversation, partition, run);
";

const JOURNAL: &str = "
create table session (
  id       blob primary key,
  host     text not null,
  ttl_ms   integer not null,
  until_ms integer not null,
  reaped   integer not null default 0
) strict, without rowid;
create index session_until on session (until_ms);

create table run (
  row             integer primary key autoincrement,
  partition       integer not null,
  id              blob not null,
  team            text not null,
  agent           text not null,
  caller          text not null,
  kind            integer not null,
  state           integer not null,
  epoch           integer not null,
  session         blob,
  next_seq        integer not null,
  checkpoint_seq  integer not null default 0,
  parent          blob,
  parent_partition integer,
  idempotency_key text not null,
  priority        integer not null,
  admitted_ms     integer,
  created_ms      integer not null,
  ended_ms        integer,
  due_ms          integer,
  deadline_ms     integer,
  record_format   integer not null,
  barren          integer not null default 0,
  label           text not null,
  version         text not null,
  unique (partition, id)
) strict;
create unique index run_key on run (parent, idempotency_key) where idempotency_key <> '';
create index run_session on run (session) where session is not null;
create index run_due on run (priority, due_ms) where due_ms is not null and state in (2, 4);
create index run_team on run (team, partition, id);
create index run_agent on run (team, agent, partition, id);
create index run_slots on run (team, kind, state) where ended_ms is null;
create index run_ended on run (kind, ended_ms) where ended_ms is not null;

create table content (
  run     integer primary key,
  spec    blob not null,
  acl     blob not null,
  outcome blob not null default x''
) strict;

create table record (
  run         integer not null,
  seq         integer not null,
  epoch       integer not null,
  kind        integer not null,
  step        text not null,
  body        blob not null,
  blob_digest blob,
  blob_bytes  integer,
  at_ms       integer not null,
  primary key (run, seq)
) strict;

create table signal (
  run      integer not null,
  id       text not null,
  kind     text not null,
  body     blob not null,
  arrival  integer not null,
  consumed integer not null default 0,
  primary key (run, id)
) strict, without rowid;

create table request (
  caller       text not null,
  id           text not null,
  run          integer not null,
  input_digest text not null,
  at_ms        integer not null,
  primary key (caller, id)
) strict, without rowid;
create index request_run on request (run);
create index request_at on request (at_ms);

create table deleted (
  run       integer primary key,
  partition integer not null,
  id        blob not null
) strict;
";

/// `run_slots` was never read.
const ADMISSION: &str = "
drop index run_slots;
alter table run add column marks integer not null default 0;
create index run_claim on run (team, kind, priority, due_ms) where due_ms is not null and state in (1, 2, 4, 5);
create index run_parent on run (parent, partition, id) where parent is not null;
create index run_debug on run (team, partition, id) where kind = 4;

create table slot (
  team   text not null,
  kind   integer not null,
  leased integer not null default 0,
  queued integer not null default 0,
  due_ms integer,
  primary key (team, kind)
) strict, without rowid;
create index slot_due on slot (due_ms) where due_ms is not null;

create table waiter (
  awaited integer not null,
  run     integer not null,
  primary key (awaited, run)
) strict, without rowid;
create index waiter_run on waiter (run);

create table approval (
  place      integer primary key autoincrement,
  run        integer not null,
  id         text not null,
  team       text not null,
  agent      text not null,
  component  text not null,
  kind       text not null,
  title      text not null,
  details    blob not null,
  approvers  text not null,
  state      integer not null,
  created_ms integer not null,
  expire_ms  integer,
  decided_by text not null default '',
  comment    text not null default '',
  decided_ms integer,
  decision   blob not null default x''
) strict;
create unique index approval_run on approval (run, id);
create index approval_team on approval (team, place);
create index approval_pending on approval (team, place) where state = 1;
create index approval_expire on approval (expire_ms) where state = 1 and expire_ms is not null;
";

/// What records add to the ledger, until it is shipped; apart from the records, which go with their run.
const USAGE: &str = "
create table usage_outbox (
  id     integer primary key autoincrement,
  events blob not null
) strict;
";

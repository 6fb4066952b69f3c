//! The role's schema: accounts, API keys, signing keys, revocations and the audit log share one file, so that
//! a change and what follows from it (a revoked key and the revocation of its tokens) commit together.

use sre_store::Migration;

/// Every version, oldest first.
pub static MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "security", expand: SECURITY, contract: None },
    Migration { version: 2, name: "audit_outbox", expand: sre_service::audit::MIGRATION_SQL, contract: None },
    Migration { version: 3, name: "sealed_audit", expand: SEALED_AUDIT, contract: Some(SEALED_AUDIT_ONLY) },
];

const SECURITY: &str = "
create table team (
    id           text primary key,
    display_name text not null,
    organization text not null,
    created_us   integer not null
) strict, without rowid;

create table principal (
    role               text not null check (role in ('agent', 'user')),
    id                 text not null,
    home_team          text not null references team (id),
    membership_version integer not null,
    created_us         integer not null,
    primary key (role, id)
) strict, without rowid;

create table membership (
    team      text not null references team (id),
    role      text not null,
    id        text not null,
    team_role text not null check (team_role in ('member', 'admin')),
    primary key (team, role, id),
    foreign key (role, id) references principal (role, id) on delete cascade
) strict, without rowid;
create index membership_by_principal on membership (role, id, team);

create table setting (
    scope      text not null check (scope in ('teams', 'users', 'agents')),
    scope_id   text not null,
    key        text not null,
    value      text not null,
    updated_us integer not null,
    primary key (scope, scope_id, key)
) strict, without rowid;

create table api_key (
    id           text primary key,
    role         text not null,
    principal    text not null,
    digest       blob not null,
    display_name text not null,
    created_us   integer not null,
    expires_us   integer,
    revoked_us   integer
) strict, without rowid;
create index api_key_by_principal on api_key (role, principal, created_us desc, id desc);

create table signing_key (
    key_id        text primary key,
    public_key    blob not null,
    sealed        blob,
    created_us    integer not null,
    retired_us    integer
) strict, without rowid;

create table credential (
    id      text primary key,
    kind    text not null check (kind in ('token', 'grant')),
    team    text not null,
    api_key text,
    ends_us integer not null
) strict, without rowid;
create index credential_by_end on credential (ends_us);
create index credential_by_api_key on credential (api_key, ends_us) where api_key is not null;

create table revocation (
    sequence   integer primary key,
    target     text not null,
    value      text not null,
    time_us    integer not null,
    expires_us integer not null,
    unique (target, value)
) strict;
create index revocation_by_end on revocation (expires_us);

create table key_set_version (
    one     integer primary key check (one = 1),
    version integer not null
) strict;
insert into key_set_version (one, version) values (1, 1);

create table audit_record (
    writer          text not null,
    sequence        integer not null,
    previous_digest blob not null,
    digest          blob not null,
    time_us         integer not null,
    team            text not null,
    record          blob not null,
    primary key (writer, sequence)
) strict, without rowid;
create index audit_record_by_team on audit_record (team, time_us desc, writer, sequence);

create table audit_checkpoint (
    writer    text not null,
    sequence  integer not null,
    digest    blob not null,
    time_us   integer not null,
    key_id    text not null,
    signature blob not null,
    primary key (writer, sequence)
) strict, without rowid;
";

/// Checkpoints become a chain with a seal over its end, keys vouch for those before them, and what a user started
/// in a team can be revoked with the membership. Secrets can be granted to other teams.
const SEALED_AUDIT: &str = "
create table signed_checkpoint (
    number          integer primary key,
    previous_digest blob not null,
    writer          text not null,
    sequence        integer not null,
    digest          blob not null,
    time_us         integer not null,
    key_id          text not null,
    signature       blob not null
) strict;
create index signed_checkpoint_by_writer on signed_checkpoint (writer, sequence);

create table audit_seal (
    one       integer primary key check (one = 1),
    number    integer not null,
    digest    blob not null,
    since_us  integer not null,
    key_id    text not null,
    signature blob not null
) strict;

create index audit_record_by_time on audit_record (time_us desc, writer, sequence);

alter table setting add column inherit integer not null default 0;

alter table signing_key add column attested_by text;
alter table signing_key add column attestation blob;

alter table credential add column root text not null default '';
create index credential_by_root on credential (root, ends_us);

create table secret_grant (
    owner      text not null,
    key        text not null,
    grantee    text not null,
    created_us integer not null,
    created_by text not null,
    primary key (owner, key, grantee)
) strict, without rowid;
create index secret_grant_by_grantee on secret_grant (grantee, key);
";

/// Checkpoints that no chain holds together.
const SEALED_AUDIT_ONLY: &str = "drop table audit_checkpoint;";

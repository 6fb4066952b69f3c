//! Tables and functions. A change is one function, so one round trip: list, condition, value, end and books hold
//! together in its transaction.

use sre_store::Migration;

/// Schema versions.
pub static MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "audit outbox",
        expand: sre_service::audit::PG_MIGRATION_SQL,
        contract: None,
    },
    Migration { version: 2, name: "namespaces and values", expand: VALUES, contract: None },
];

/// What the statements are written for.
pub const SESSION: &[(&str, &str)] = &[("synchronous_commit", "on")];

const VALUES: &str = r#"
create table namespace (
    id bigint generated always as identity primary key,
    team text not null,
    -- In the order of bytes, which lists and pages rely on.
    name text collate "C" not null,
    list text not null,
    created_ms bigint not null,
    unique (team, name)
);

-- Namespace ids are never used again, so that deleting a namespace is one row, whatever it holds.
create table value (
    namespace bigint not null,
    key text collate "C" not null,
    value bytea not null,
    content_type text not null,
    etag text not null,
    updated_ms bigint not null,
    expires_ms bigint,
    primary key (namespace, key)
);
-- Values come compressed, or are small: the server need not try.
alter table value alter column value set storage external;
create index value_by_expiry on value (expires_ms) where expires_ms is not null;

create table dropped_namespace (
    id bigint primary key,
    team text not null
);

-- What a team holds, in shares, so that its writers seldom wait for each other: a key belongs to one share, and its
-- writers take turns there. A share may be negative; their sum is what counts.
create table team_share (
    team text not null,
    share integer not null,
    items bigint not null,
    bytes bigint not null,
    primary key (team, share)
);

create function share_of(a_namespace text, a_key text) returns integer language sql immutable as
$$ select (hashtextextended(a_namespace || chr(10) || a_key, 0) & 15)::integer $$;

-- Whether the decision still stands: no list for none. Locked, so that it stands until the commit.
create function set_value(
    a_team text, a_name text, a_key text, basis text, list_when_new text, over text,
    now_ms bigint, end_ms bigint, a_value bytea, a_type text, an_etag text, most_items bigint, most_bytes bigint
) returns text language plpgsql as $$
declare
    ns namespace%rowtype;
    share_number integer := share_of(a_name, a_key);
    old record;
    is_live boolean := false;
    more bigint := 1;
    growth bigint := octet_length(a_value) + octet_length(a_key);
    held record;
begin
    select * into ns from namespace n where n.team = a_team and n.name = a_name for share;
    if ns.list is distinct from basis then return 'moved'; end if;
    if ns.id is null then
        insert into namespace (team, name, list, created_ms) values (a_team, a_name, list_when_new, now_ms)
            on conflict do nothing returning * into ns;
        if ns.id is null then return 'moved'; end if;
    end if;
    -- The turn of this key's writers.
    insert into team_share values (a_team, share_number, 0, 0) on conflict do nothing;
    perform 1 from team_share s where s.team = a_team and s.share = share_number for update;
    select v.etag, v.expires_ms, octet_length(v.value) as size into old
        from value v where v.namespace = ns.id and v.key = a_key;
    if found then
        is_live := old.expires_ms is null or now_ms < old.expires_ms;
        more := 0;
        growth := growth - old.size - octet_length(a_key);
    end if;
    if over = 'absent' then
        if is_live then raise exception 'exists' using errcode = 'SR001'; end if;
    elsif over <> 'always' then
        if not is_live or over <> '=' || old.etag then raise exception 'other' using errcode = 'SR002'; end if;
    end if;
    select coalesce(sum(s.items), 0) as items, coalesce(sum(s.bytes), 0) as bytes into held
        from team_share s where s.team = a_team;
    if (more > 0 and held.items + more > most_items) or (growth > 0 and held.bytes + growth > most_bytes) then
        raise exception 'quota' using errcode = 'SR003';
    end if;
    insert into value values (ns.id, a_key, a_value, a_type, an_etag, now_ms, end_ms)
        on conflict (namespace, key) do update set value = excluded.value, content_type = excluded.content_type,
            etag = excluded.etag, updated_ms = excluded.updated_ms, expires_ms = excluded.expires_ms;
    update team_share s set items = s.items + more, bytes = s.bytes + growth
        where s.team = a_team and s.share = share_number;
    return 'done';
end $$;

create function delete_value(
    a_team text, a_name text, a_key text, basis text, over text, now_ms bigint
) returns text language plpgsql as $$
declare
    ns namespace%rowtype;
    share_number integer := share_of(a_name, a_key);
    old record;
begin
    select * into ns from namespace n where n.team = a_team and n.name = a_name for share;
    if ns.list is distinct from basis then return 'moved'; end if;
    if ns.id is null then return 'none'; end if;
    perform 1 from team_share s where s.team = a_team and s.share = share_number for update;
    select v.etag, octet_length(v.value) as size into old from value v
        where v.namespace = ns.id and v.key = a_key and (v.expires_ms is null or now_ms < v.expires_ms);
    if not found then return 'none'; end if;
    if over = 'absent' then return 'exists'; end if;
    if over <> 'always' and over <> '=' || old.etag then return 'other'; end if;
    delete from value v where v.namespace = ns.id and v.key = a_key;
    update team_share s set items = s.items - 1, bytes = s.bytes - old.size - octet_length(a_key)
        where s.team = a_team and s.share = share_number;
    return 'done';
end $$;

create function drop_namespace(a_team text, a_name text, basis text) returns text language plpgsql as $$
declare
    ns namespace%rowtype;
begin
    select * into ns from namespace n where n.team = a_team and n.name = a_name for update;
    if ns.list is distinct from basis then return 'moved'; end if;
    if ns.id is null then return 'none'; end if;
    delete from namespace n where n.id = ns.id;
    insert into dropped_namespace values (ns.id, a_team);
    return 'done';
end $$;

create function set_list(a_team text, a_name text, basis text, new_list text) returns text language plpgsql as $$
declare
    ns namespace%rowtype;
begin
    select * into ns from namespace n where n.team = a_team and n.name = a_name for update;
    if ns.list is distinct from basis then return 'moved'; end if;
    if ns.id is null then return 'none'; end if;
    update namespace n set list = new_list where n.id = ns.id;
    return 'done';
end $$;

-- Removes some values of which nobody sees anything any more; says how many, so that it is called until none is.
create function sweep_values(now_ms bigint, most integer) returns bigint language plpgsql as $$
declare
    gone bigint := 0;
    a_dropped record;
    swept bigint;
begin
    with over as (
        select v.namespace, v.key from value v where v.expires_ms <= now_ms
            order by v.expires_ms limit most for update skip locked
    ), removed as (
        delete from value v using over where v.namespace = over.namespace and v.key = over.key
            returning v.namespace, v.key, octet_length(v.value) + octet_length(v.key) as size
    ), owned as (
        select coalesce(n.team, d.team) as team, count(*) as items, sum(r.size) as bytes
            from removed r left join namespace n on n.id = r.namespace
            left join dropped_namespace d on d.id = r.namespace group by 1
    ), booked as (
        -- A share of the sweeper's own: it waits for no writer.
        insert into team_share select team, 16, -items, -bytes from owned where team is not null
            on conflict (team, share) do update set items = team_share.items + excluded.items,
                bytes = team_share.bytes + excluded.bytes
    )
    select coalesce(sum(items), 0) into gone from owned;
    select * into a_dropped from dropped_namespace limit 1 for update skip locked;
    if found then
        with removed as (
            delete from value v where v.namespace = a_dropped.id and v.key in
                (select w.key from value w where w.namespace = a_dropped.id limit most)
                returning octet_length(v.value) + octet_length(v.key) as size
        ), booked as (
            insert into team_share select a_dropped.team, 16, -count(*), -coalesce(sum(size), 0) from removed
                on conflict (team, share) do update set items = team_share.items + excluded.items,
                    bytes = team_share.bytes + excluded.bytes
        )
        select count(*) into swept from removed;
        if swept < most then delete from dropped_namespace d where d.id = a_dropped.id; end if;
        gone := gone + swept;
    end if;
    return gone;
end $$;
"#;

"""Values in SQLite: compare and write in one transaction."""

import sqlite3

import grpc
from sre.connector.v1 import nkv_pb2, nkv_pb2_grpc

SCHEMA = """
create table if not exists namespace (
  team text not null, name text not null, version text not null, attributes blob not null,
  primary key (team, name)
) without rowid;
create table if not exists value (
  team text not null, namespace text not null, key text not null, version text not null, value blob not null,
  attributes blob not null, expire_ms integer not null,
  primary key (team, namespace, key)
) without rowid;
create index if not exists value_end on value (expire_ms) where expire_ms > 0;
-- What each team holds, kept by the database itself, so that no change can forget it.
create table if not exists usage (
  team text not null primary key, value_count integer not null, size_bytes integer not null
) without rowid;
create trigger if not exists value_in after insert on value begin
  insert into usage values (new.team, 1, length(cast(new.key as blob)) + length(new.value))
  on conflict (team) do update set
    value_count = value_count + excluded.value_count, size_bytes = size_bytes + excluded.size_bytes;
end;
create trigger if not exists value_out after delete on value begin
  update usage set value_count = value_count - 1,
    size_bytes = size_bytes - length(cast(old.key as blob)) - length(old.value) where team = old.team;
end;
"""
DELETE_VALUE = "delete from value where team = ? and namespace = ? and key = ?"


class NkvServicer(nkv_pb2_grpc.NkvServicer):
    def __init__(self, stores):
        self.stores = stores

    def ReadNamespace(self, request, context):
        values = self.stores.of(context).values
        with values.reading() as db:
            answer = nkv_pb2.ReadNamespaceResponse(namespace=namespace(db, request))
            for key in request.keys:
                row = value(db, request, key)
                if row is not None:
                    answer.values.append(row)
            return answer

    def ListNamespaces(self, request, context):
        values = self.stores.of(context).values
        with values.reading() as db:
            rows = db.execute(
                "select name, version, attributes from namespace where team = ? and name > ? order by name limit ?",
                (request.team, request.after, request.limit),
            )
            named = nkv_pb2.ListNamespacesResponse.Named
            record = nkv_pb2.NamespaceRecord
            found = [
                named(namespace=name, record=record(version=version, attributes=attributes))
                for name, version, attributes in rows
            ]
            return nkv_pb2.ListNamespacesResponse(namespaces=found)

    def ListValues(self, request, context):
        values = self.stores.of(context).values
        with values.reading() as db:
            answer = nkv_pb2.ListValuesResponse(namespace=namespace(db, request))
            rows = db.execute(
                "select key, version, value, attributes, expire_ms from value"
                " where team = ? and namespace = ? and key > ? and key >= ? order by key",
                (request.team, request.namespace, request.after, request.prefix),
            )
            left = request.limit_bytes
            for key, version, data, attributes, expire_ms in rows:
                if not key.startswith(request.prefix):
                    break
                size = len(key.encode()) + len(data)
                if len(answer.values) == request.limit or (answer.values and size > left):
                    answer.has_more = True
                    break
                left -= size
                answer.values.append(record_of(key, version, data, attributes, expire_ms))
            return answer

    def Apply(self, request, context):
        values = self.stores.of(context).values
        try:
            with values.transaction() as db:
                apply(db, request)
            return nkv_pb2.ApplyResponse(outcome=nkv_pb2.ApplyResponse.OUTCOME_APPLIED)
        except Refused as refused:
            return nkv_pb2.ApplyResponse(outcome=refused.outcome)
        except sqlite3.OperationalError as error:
            # Locked or full: nothing was changed.
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    def Sweep(self, request, context):
        values = self.stores.of(context).values
        with values.transaction() as db:
            rows = db.execute(
                "select team, namespace, key from value where expire_ms > 0 and expire_ms <= ? limit ?",
                (request.ended_by_ms, request.limit),
            ).fetchall()
            db.executemany(DELETE_VALUE, rows)
            return nkv_pb2.SweepResponse(removed_count=len(rows))

    def GetUsage(self, request, context):
        values = self.stores.of(context).values
        with values.reading() as db:
            return usage(db, request.team)


class Refused(Exception):
    """The change is not made."""

    def __init__(self, outcome):
        self.outcome = outcome


def apply(db, request):
    """All or nothing: whoever raises in here rolls back."""
    where = (request.team, request.namespace)
    before = usage(db, request.team)
    expect(request.expected, namespace(db, request))
    for change in request.values:
        expect(change.expected, value(db, request, change.key))
    what = request.WhichOneof("change")
    if what == "remove":
        db.execute("delete from namespace where team = ? and name = ?", where)
        db.execute("delete from value where team = ? and namespace = ?", where)
        return
    if what == "put":
        row = (*where, request.put.version, request.put.attributes)
        db.execute("insert or replace into namespace values (?, ?, ?, ?)", row)
    for change in request.values:
        if change.keep:
            continue
        if change.HasField("value"):
            new = change.value
            row = (*where, change.key, new.version, new.value, new.attributes, new.expire_time_ms)
            # Not "insert or replace": its silent deletes fire no trigger.
            db.execute(DELETE_VALUE, (*where, change.key))
            db.execute("insert into value values (?, ?, ?, ?, ?, ?, ?)", row)
        else:
            db.execute(DELETE_VALUE, (*where, change.key))
    if request.HasField("limit"):
        after, limit = usage(db, request.team), request.limit
        for held, was, most in (
            (after.value_count, before.value_count, limit.value_count),
            (after.size_bytes, before.size_bytes, limit.size_bytes),
        ):
            if held > most and held > was:
                raise Refused(nkv_pb2.ApplyResponse.OUTCOME_OVER_LIMIT)


def expect(expected, found):
    what = expected.WhichOneof("what")
    if what == "nothing" and found is not None:
        raise Refused(nkv_pb2.ApplyResponse.OUTCOME_UNEXPECTED)
    if what == "version" and (found is None or found.version != expected.version):
        raise Refused(nkv_pb2.ApplyResponse.OUTCOME_UNEXPECTED)


def usage(db, team):
    row = db.execute("select value_count, size_bytes from usage where team = ?", (team,)).fetchone()
    return nkv_pb2.Usage(value_count=row[0], size_bytes=row[1]) if row else nkv_pb2.Usage()


def namespace(db, request):
    row = db.execute(
        "select version, attributes from namespace where team = ? and name = ?", (request.team, request.namespace)
    ).fetchone()
    return nkv_pb2.NamespaceRecord(version=row[0], attributes=row[1]) if row else None


def value(db, request, key):
    row = db.execute(
        "select key, version, value, attributes, expire_ms from value where team = ? and namespace = ? and key = ?",
        (request.team, request.namespace, key),
    ).fetchone()
    return record_of(*row) if row else None


def record_of(key, version, data, attributes, expire_ms):
    return nkv_pb2.ValueRecord(
        key=key, version=version, value=data, attributes=attributes, expire_time_ms=expire_ms
    )

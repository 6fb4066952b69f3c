"""Values in SQLite: compare and write in one transaction."""

import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path

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
"""
SWEEP_BATCH = 1000


class Values:
    """All namespaces of an instance. One connection; a lock in place of a pool, as this is a sample."""

    def __init__(self, path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()
        # Transactions begin where `transaction` says so, not by themselves.
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("pragma journal_mode = wal")
        # What was answered survives a power cut.
        self.db.execute("pragma synchronous = full")
        self.db.executescript(SCHEMA)

    @contextmanager
    def transaction(self, kind="immediate"):
        with self.lock:
            self.db.execute("begin " + kind)
            try:
                yield self.db
                self.db.execute("commit")
            except BaseException:
                self.db.execute("rollback")
                raise

    def is_well(self):
        try:
            with self.transaction("deferred") as db:
                return db.execute("select 1").fetchone() == (1,)
        except sqlite3.Error:
            return False

    def sweep(self):
        """Removes what is past its end, some at a time."""
        now, gone = int(time.time() * 1000), SWEEP_BATCH
        while gone == SWEEP_BATCH:
            with self.transaction() as db:
                rows = db.execute(
                    "select team, namespace, key from value where expire_ms > 0 and expire_ms <= ? limit ?",
                    (now, SWEEP_BATCH),
                ).fetchall()
                db.executemany("delete from value where team = ? and namespace = ? and key = ?", rows)
            gone = len(rows)

    def close(self):
        with self.lock:
            self.db.close()


class NkvServicer(nkv_pb2_grpc.NkvServicer):
    def __init__(self, stores):
        self.stores = stores

    def ReadNamespace(self, request, context):
        _, values = self.stores.of(context)
        with values.transaction("deferred") as db:
            answer = nkv_pb2.ReadNamespaceResponse(namespace=namespace(db, request))
            for key in request.keys:
                row = value(db, request, key)
                if row is not None:
                    answer.values.append(row)
            return answer

    def ListNamespaces(self, request, context):
        _, values = self.stores.of(context)
        with values.transaction("deferred") as db:
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
        _, values = self.stores.of(context)
        with values.transaction("deferred") as db:
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
        _, values = self.stores.of(context)
        try:
            with values.transaction() as db:
                apply(db, request)
            return nkv_pb2.ApplyResponse(applied=True)
        except Unexpected:
            return nkv_pb2.ApplyResponse(applied=False)
        except sqlite3.OperationalError as error:
            # Locked or full: nothing was changed.
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))


class Unexpected(Exception):
    """Something that is expected is not so."""


def apply(db, request):
    """All or nothing: whoever raises in here rolls back."""
    where = (request.team, request.namespace)
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
            db.execute("insert or replace into value values (?, ?, ?, ?, ?, ?, ?)", row)
        else:
            db.execute("delete from value where team = ? and namespace = ? and key = ?", (*where, change.key))


def expect(expected, found):
    what = expected.WhichOneof("what")
    if what == "nothing" and found is not None:
        raise Unexpected
    if what == "version" and (found is None or found.version != expected.version):
        raise Unexpected


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

"""Entries of the cache in SQLite: one record each, compared and written in one transaction."""

import time

import grpc
from sre.connector.v1 import cache_pb2, cache_pb2_grpc

SCHEMA = """
create table if not exists entry (
  name text not null primary key, version text not null, expire_ms integer not null, attributes blob not null,
  value blob not null
) without rowid;
create index if not exists entry_end on entry (expire_ms) where expire_ms > 0;
"""
PIECE_BYTES = 256 * 1024
MAX_VALUE_BYTES = 64 * 1024 * 1024


def sweep(database):
    """Removes what is past its end."""
    with database.transaction() as db:
        db.execute("delete from entry where expire_ms > 0 and expire_ms <= ?", (int(time.time() * 1000),))


class CacheServicer(cache_pb2_grpc.CacheServicer):
    def __init__(self, stores):
        self.stores = stores

    def ReadEntry(self, request, context):
        with self.stores.of(context).entries.reading() as db:
            row = db.execute(
                "select version, expire_ms, attributes, value from entry where name = ?", (request.name,)
            ).fetchone()
        if row is None:
            return
        version, expire_ms, attributes, value = row
        head = cache_pb2.EntryHead(
            name=request.name,
            version=version,
            expire_time_ms=expire_ms,
            attributes=attributes,
            size_bytes=len(value),
        )
        yield cache_pb2.ReadEntryResponse(head=head)
        if not request.head_only:
            for at in range(0, len(value), PIECE_BYTES):
                yield cache_pb2.ReadEntryResponse(data=value[at : at + PIECE_BYTES])

    def PutEntry(self, requests, context):
        begin, value, whole = None, bytearray(), False
        for request in requests:
            part = request.WhichOneof("part")
            if part == "begin" and begin is None:
                begin = request.begin
            elif part == "data" and begin is not None and len(value) + len(request.data) <= MAX_VALUE_BYTES:
                value += request.data
            elif part == "end" and begin is not None:
                whole = True
            else:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the beginning, the value, and the end, in this order")
        if not whole:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the stream ended before the entry was whole")
        head = begin.head
        with self.stores.of(context).entries.transaction() as db:
            if version(db, head.name) != (begin.expected_version or None):
                return cache_pb2.PutEntryResponse(applied=False)
            row = (head.name, head.version, head.expire_time_ms, head.attributes, bytes(value))
            db.execute("insert or replace into entry values (?, ?, ?, ?, ?)", row)
        return cache_pb2.PutEntryResponse(applied=True)

    def RemoveEntry(self, request, context):
        with self.stores.of(context).entries.transaction() as db:
            gone = db.execute(
                "delete from entry where name = ? and version = ?", (request.name, request.expected_version)
            ).rowcount
        return cache_pb2.RemoveEntryResponse(applied=gone == 1)


def version(db, name):
    row = db.execute("select version from entry where name = ?", (name,)).fetchone()
    return row[0] if row else None

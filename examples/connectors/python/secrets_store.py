"""Secrets in SQLite, by version. They lie there in clear: a store that is not a sample seals them."""

import grpc
from sre.connector.v1 import vault_pb2, vault_pb2_grpc

SCHEMA = """
create table if not exists secret (
  team text not null, key text not null, version integer not null, value blob not null, update_us integer not null,
  updater text not null, primary key (team, key, version)
) without rowid;
-- Versions go on growing after a secret was deleted: one that is set again is another one.
create table if not exists last_version (
  team text not null, key text not null, version integer not null, primary key (team, key)
) without rowid;
"""
# Earlier versions that are kept.
KEPT = 100


class VaultServicer(vault_pb2_grpc.VaultServicer):
    def __init__(self, stores):
        self.stores = stores

    def GetSecret(self, request, context):
        with self.stores.of(context).secrets.reading() as db:
            wanted = request.version if request.HasField("version") else None
            row = db.execute(
                "select key, version, update_us, updater, value from secret where team = ? and key = ?"
                " and (? is null or version = ?) order by version desc limit 1",
                (request.team, request.key, wanted, wanted),
            ).fetchone()
        if row is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such secret")
        value = b"" if request.without_value else row[4]
        return vault_pb2.GetSecretResponse(secret=record(row), value=value)

    def PutSecret(self, request, context):
        name = (request.team, request.key)
        with self.stores.of(context).secrets.transaction() as db:
            version = db.execute(
                "insert into last_version values (?, ?, 1)"
                " on conflict (team, key) do update set version = version + 1 returning version",
                name,
            ).fetchone()[0]
            row = (*name, version, request.value, request.update_time_us, request.updater)
            db.execute("insert into secret values (?, ?, ?, ?, ?, ?)", row)
            db.execute("delete from secret where team = ? and key = ? and version <= ?", (*name, version - KEPT))
        return record((request.key, version, request.update_time_us, request.updater))

    def DeleteSecret(self, request, context):
        with self.stores.of(context).secrets.transaction() as db:
            gone = db.execute("delete from secret where team = ? and key = ?", (request.team, request.key)).rowcount
        return vault_pb2.DeleteSecretResponse(found=gone > 0)

    def ListSecrets(self, request, context):
        after = request.after if request.HasField("after") else None
        with self.stores.of(context).secrets.reading() as db:
            rows = db.execute(
                "select key, max(version), update_us, updater from secret where team = ? and (? is null or key > ?)"
                " group by key order by key limit ?",
                (request.team, after, after, request.limit),
            ).fetchall()
        return vault_pb2.ListSecretsResponse(secrets=map(record, rows))

    def ListVersions(self, request, context):
        before = request.before if request.HasField("before") else None
        with self.stores.of(context).secrets.reading() as db:
            rows = db.execute(
                "select key, version, update_us, updater from secret where team = ? and key = ?"
                " and (? is null or version < ?) order by version desc limit ?",
                (request.team, request.key, before, before, request.limit),
            ).fetchall()
        return vault_pb2.ListVersionsResponse(versions=map(record, rows))


def record(row):
    return vault_pb2.SecretRecord(key=row[0], version=row[1], update_time_us=row[2], updater=row[3])

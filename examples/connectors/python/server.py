"""Serves stores of files, values, cache entries and secrets to SRE, on a Unix socket or with mTLS."""

import argparse
import os
import re
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / ".venv" / "stubs"))

import grpc  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from sre.connector.v1 import cache_pb2_grpc, nkv_pb2_grpc, storage_pb2_grpc, vault_pb2_grpc  # noqa: E402

import entries  # noqa: E402
import secrets_store  # noqa: E402
import values  # noqa: E402
from database import Database  # noqa: E402
from objects import ObjectFiles, StorageServicer  # noqa: E402

# Calls that are served at the same time; more wait.
WORKERS = 32
SWEEP_SECONDS = 60
INSTANCE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}\Z")


class Instance:
    """What one instance keeps, in a folder of its own."""

    def __init__(self, folder):
        self.objects = ObjectFiles(folder / "objects")
        self.values = Database(folder / "values.db", values.SCHEMA)
        self.entries = Database(folder / "entries.db", entries.SCHEMA)
        self.secrets = Database(folder / "secrets.db", secrets_store.SCHEMA)

    def databases(self):
        return (self.values, self.entries, self.secrets)

    def is_well(self):
        return self.objects.is_well() and all(database.is_well() for database in self.databases())


class Stores:
    """One instance for each id that calls."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()
        self.instances = {}

    def of(self, context):
        """The stores of the instance that a call names."""
        named = dict(context.invocation_metadata()).get("sre-instance", "default")
        # It becomes the name of a folder.
        if not INSTANCE.match(named):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "sre-instance: this name is no folder")
        with self.lock:
            if named not in self.instances:
                self.instances[named] = Instance(self.folder / named)
            return self.instances[named]

    def sweep(self):
        """Removes entries of the cache that have ended: of those nobody else takes care."""
        with self.lock:
            instances = list(self.instances.values())
        for instance in instances:
            entries.sweep(instance.entries)

    def close(self):
        """Closes all of them."""
        with self.lock:
            for instance in self.instances.values():
                for database in instance.databases():
                    database.close()


class Health(health_pb2_grpc.HealthServicer):
    """Well, when the stores can be used."""

    def __init__(self, stores):
        self.stores = stores

    def Check(self, request, context):
        well = self.stores.of(context).is_well()
        status = health_pb2.HealthCheckResponse.SERVING if well else health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status)


class AllowedCallers(grpc.ServerInterceptor):
    """Over TLS: only callers whose certificate names one of these identities. Any certificate of the trust domain
    passes the handshake, so this is what keeps other services and agents out."""

    def __init__(self, allowed):
        self.allowed = {identity.encode() for identity in allowed}

    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None:
            return None
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            behaviour = getattr(handler, kind)
            if behaviour is not None:
                make = getattr(grpc, kind + "_rpc_method_handler")
                return make(
                    self.checked(behaviour),
                    request_deserializer=handler.request_deserializer,
                    response_serializer=handler.response_serializer,
                )
        return handler

    def checked(self, behaviour):
        def check(request, context):
            names = context.auth_context().get("x509_subject_alternative_name", [])
            if not self.allowed.intersection(names):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "this caller is not allowed here")
            return behaviour(request, context)

        return check


def parsed():
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", help="serve on this Unix socket")
    where.add_argument("--listen", help="serve on this host:port, with mTLS")
    parser.add_argument("--folder", required=True, help="where everything is kept")
    parser.add_argument("--cert", help="with --listen: this server's certificate, PEM")
    parser.add_argument("--key", help="with --listen: its key, PEM")
    parser.add_argument("--ca", help="with --listen: who vouches for callers, PEM")
    parser.add_argument("--allow", action="append", default=[], help="with --listen: a caller's SPIFFE id")
    options = parser.parse_args()
    if options.listen and not (options.cert and options.key and options.ca and options.allow):
        parser.error("--listen needs --cert, --key, --ca and --allow")
    return options


def main():
    options = parsed()
    interceptors = [AllowedCallers(options.allow)] if options.listen else []
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=WORKERS), interceptors=interceptors, maximum_concurrent_rpcs=1024
    )
    stores = Stores(options.folder)
    storage_pb2_grpc.add_StorageServicer_to_server(StorageServicer(stores), server)
    nkv_pb2_grpc.add_NkvServicer_to_server(values.NkvServicer(stores), server)
    cache_pb2_grpc.add_CacheServicer_to_server(entries.CacheServicer(stores), server)
    vault_pb2_grpc.add_VaultServicer_to_server(secrets_store.VaultServicer(stores), server)
    health_pb2_grpc.add_HealthServicer_to_server(Health(stores), server)
    if options.socket:
        # Whoever can open the socket can do everything: only this user can.
        os.umask(0o177)
        port = server.add_insecure_port("unix:" + os.path.abspath(options.socket))
        os.umask(0o077)
    else:
        read = lambda path: Path(path).read_bytes()  # noqa: E731
        credentials = grpc.ssl_server_credentials(
            [(read(options.key), read(options.cert))], root_certificates=read(options.ca), require_client_auth=True
        )
        port = server.add_secure_port(options.listen, credentials)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server.start()
    print(f"serving on {options.socket or port}", flush=True)
    while not stopped.wait(SWEEP_SECONDS):
        stores.sweep()
    server.stop(grace=5).wait()
    stores.close()


if __name__ == "__main__":
    main()

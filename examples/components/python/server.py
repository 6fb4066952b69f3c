"""Serves the sample to SRE, on a Unix socket or with mTLS."""

import argparse
import os
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / ".venv" / "stubs"))

import grpc  # noqa: E402
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # noqa: E402
from sre.component.v1 import component_pb2_grpc  # noqa: E402

import text_stats  # noqa: E402
from component import ComponentServicer  # noqa: E402

# Streams that are served at the same time; more wait.
WORKERS = 64


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
    parser.add_argument("--cert", help="with --listen: this server's certificate, PEM")
    parser.add_argument("--key", help="with --listen: its key, PEM")
    parser.add_argument("--ca", help="with --listen: who vouches for callers, PEM")
    parser.add_argument("--allow", action="append", default=[], help="with --listen: a caller's SPIFFE id")
    options = parser.parse_args()
    if options.listen and not (options.cert and options.key and options.ca and options.allow):
        parser.error("--listen needs --cert, --key, --ca and --allow")
    return options


def serve(servicer, options, serves=True):
    """Serves a component until the process is told to stop."""
    interceptors = [AllowedCallers(options.allow)] if options.listen else []
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=WORKERS),
        interceptors=interceptors,
        maximum_concurrent_rpcs=1024,
        options=[("grpc.max_receive_message_length", 16 << 20)],
    )
    component_pb2_grpc.add_ComponentServicer_to_server(servicer, server)
    well = health.HealthServicer()
    states = health_pb2.HealthCheckResponse
    well.set("", states.SERVING if serves else states.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(well, server)
    if options.socket:
        # Whoever can open the socket can use it: only this user can.
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
    stopped.wait()
    server.stop(grace=5).wait()


if __name__ == "__main__":
    serve(ComponentServicer(text_stats.DESCRIPTION, text_stats.process), parsed())

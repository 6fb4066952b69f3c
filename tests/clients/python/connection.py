"""How a client connects, and how it tells what it found.

Environment: SRE_ADDRESS, SRE_CERT, SRE_KEY, SRE_CA (paths of PEM files).
"""

import os
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

DEADLINE_S = 30


def read(name):
    with open(os.environ[name], "rb") as file:
        return file.read()


def channel(with_certificate=True):
    credentials = grpc.ssl_channel_credentials(
        root_certificates=read("SRE_CA"),
        private_key=read("SRE_KEY") if with_certificate else None,
        certificate_chain=read("SRE_CERT") if with_certificate else None,
    )
    return grpc.secure_channel(os.environ["SRE_ADDRESS"], credentials)


def check(what, condition, seen):
    if not condition:
        sys.exit(f"python: FAILED: {what}: {seen!r}")
    print(f"python: ok: {what}")


def is_refused(what, code, reason, call):
    """A call that must fail: with this code, and this reason for programs."""
    try:
        seen = call()
    except grpc.RpcError as error:
        info = error_details_pb2.ErrorInfo()
        found = [detail for detail in rpc_status.from_call(error).details if detail.Unpack(info)]
        check(what, error.code() == code and found and (info.domain, info.reason) == ("sre", reason), error)
    else:
        sys.exit(f"python: FAILED: {what}: it succeeded: {seen!r}")

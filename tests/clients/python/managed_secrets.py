"""Secrets that an agent obtains while it runs: set, renewed by one of several, and forgotten."""

import grpc
from connection import DEADLINE_S, check, is_refused
from google.protobuf import duration_pb2
from sre.security.v1 import managed_vault_pb2 as pb
from sre.security.v1 import managed_vault_pb2_grpc

NAME = "teams/-/agents/greeter/managedSecrets/python-token"


def checks(channel):
    stub = managed_vault_pb2_grpc.ManagedVaultStub(channel)
    get = lambda: stub.GetManagedSecret(pb.GetManagedSecretRequest(name=NAME), timeout=DEADLINE_S)
    there = lambda: stub.CheckManagedSecret(pb.CheckManagedSecretRequest(name=NAME), timeout=DEADLINE_S)
    check("a secret is not there", not there().exists, there())
    hour = duration_pb2.Duration(seconds=3600)
    first = stub.SetManagedSecret(
        pb.SetManagedSecretRequest(name=NAME, value=b"access \x00\xff", time_to_live=hour), timeout=DEADLINE_S
    )
    check("a secret ends by itself", first.expire_time.seconds > 0, first)
    check("a secret is what was set", get().value == b"access \x00\xff", there())
    renew = lambda value: stub.CompareAndSetManagedSecret(
        pb.CompareAndSetManagedSecretRequest(name=NAME, expected_version=first.version, value=value),
        timeout=DEADLINE_S,
    )
    second = renew(b"renewed")
    check("a renewal is another version", second.version > first.version, second)
    late = lambda: renew(b"too late")
    is_refused("of two who renew, one", grpc.StatusCode.ABORTED, "VERSION_CONFLICT", late)
    check("what was refused changed nothing", get().value == b"renewed", there())
    reference = lambda: stub.SetManagedSecret(
        pb.SetManagedSecretRequest(name=NAME, value=b"$env(HOME)"), timeout=DEADLINE_S
    )
    is_refused("a reference to the environment", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", reference)
    stub.DeleteManagedSecret(pb.DeleteManagedSecretRequest(name=NAME), timeout=DEADLINE_S)
    is_refused("a secret that was deleted", grpc.StatusCode.NOT_FOUND, "SECRET_NOT_FOUND", get)

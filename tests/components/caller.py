"""A component that calls the suite with the token of its activation, over mTLS: in the way it may, and in others."""

import argparse
import json
import sys
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "components" / "python"
sys.path[:0] = [str(SAMPLE), str(SAMPLE / ".venv" / "stubs")]

import grpc  # noqa: E402
import server  # noqa: E402
from component import ComponentServicer  # noqa: E402
from sre.component.v1 import component_pb2 as pb  # noqa: E402

KEY = b"teams/default/nkv/outside/keys/none"
# Messages of two fields at most are written by hand: the samples have the stubs of one contract alone.
NAMED = b"\x0a" + bytes([len(KEY)]) + KEY
VALUE = b"\x0a" + bytes([len(NAMED)]) + NAMED
DESCRIPTION = pb.Description(
    type="Tests.Caller",
    version="1",
    description="Reads a value of the suite that is not there",
    effect=pb.EFFECT_READ,
    scopes=["sre.io.v1.Nkv:read"],
    outputs=[pb.Port(name="Codes", type="Object", description="what each way was answered")],
    examples=[pb.Example(name="all ways", inputs_json=b"{}")],
)


def caller(options):
    read = lambda path: Path(path).read_bytes()  # noqa: E731

    def call(address, cert, key, method, message, token):
        credentials = grpc.ssl_channel_credentials(read(options.ca), read(key), read(cert))
        with grpc.secure_channel(address.replace("127.0.0.1", "localhost"), credentials) as channel:
            send = channel.unary_unary(method, lambda it: it, lambda it: it)
            try:
                send(message, metadata=[("sre-delegation", token)], timeout=5)
                return "OK"
            except grpc.RpcError as error:
                return error.code().name

    def process(activation, work):
        said = activation.message
        address = said.endpoints.get("io")
        if not address:
            raise work.failure(pb.FAILURE_KIND_INTERNAL, f"there is no way to io: {dict(said.endpoints)}")
        own = (options.cert, options.key)
        other = (options.other_cert, options.other_key)
        return {
            "Codes": {
                "read": call(address, *own, "/sre.io.v1.Nkv/GetValue", NAMED, said.token),
                "write": call(address, *own, "/sre.io.v1.Nkv/SetValue", VALUE, said.token),
                "files": call(address, *own, "/sre.io.v1.Storage/GetFile", NAMED, said.token),
                "stolen": call(address, *other, "/sre.io.v1.Nkv/GetValue", NAMED, said.token),
                "without": call(address, *own, "/sre.io.v1.Nkv/GetValue", NAMED, ""),
            }
        }

    return process


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--listen", "--cert", "--key", "--ca", "--other-cert", "--other-key"):
        parser.add_argument(name, required=True)
    parser.add_argument("--allow", action="append", required=True)
    options = parser.parse_args()
    options.socket = None
    server.serve(ComponentServicer(DESCRIPTION, caller(options)), options)


if __name__ == "__main__":
    main()

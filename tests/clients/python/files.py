"""Files: bytes as streams, ranges, preconditions, and links that a browser fetches."""

import urllib.error
import urllib.request

import grpc
from connection import DEADLINE_S, check, is_refused
from google.protobuf import duration_pb2
from sre.io.v1 import router_pb2, router_pb2_grpc, storage_pb2, storage_pb2_grpc

NAME = "teams/-/agents/greeter/files/python/report.bin"
CONTENT = bytes(range(256)) * 1024


def write(stub, content, **header):
    def parts():
        yield storage_pb2.WriteFileRequest(header=storage_pb2.WriteFileHeader(name=NAME, **header))
        for at in range(0, len(content), 64 * 1024):
            yield storage_pb2.WriteFileRequest(data=content[at : at + 64 * 1024])

    return stub.WriteFile(parts(), timeout=DEADLINE_S)


def read(stub, **which):
    parts = list(stub.ReadFile(storage_pb2.ReadFileRequest(name=NAME, **which), timeout=DEADLINE_S))
    return parts[0].file, b"".join(part.data for part in parts[1:])


def writes_and_reads(stub):
    made = write(stub, CONTENT, mimetype="application/octet-stream", if_absent=True)
    check("a file's size", made.size_bytes == len(CONTENT), made)
    told, content = read(stub)
    check("a file's bytes", (told.etag, content) == (made.etag, CONTENT), told)
    for offset, limit in ((0, 10), (65_530, 20), (len(CONTENT) - 3, 0), (len(CONTENT) - 3, 100)):
        _, part = read(stub, offset_bytes=offset, limit_bytes=limit)
        wanted = CONTENT[offset:][: limit or None]
        check(f"bytes {offset} and {limit or 'all'} from there", part == wanted, len(part))
    beyond = lambda: read(stub, offset_bytes=len(CONTENT) + 1)
    is_refused("a range beyond the end", grpc.StatusCode.OUT_OF_RANGE, "INVALID_ARGUMENT", beyond)
    return made


def writes_under_conditions(stub, first):
    again = lambda: write(stub, b"other", if_absent=True)
    is_refused("a second file of the name", grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", again)
    second = write(stub, b"second", if_match=first.etag)
    check("a write over the version that was read", second.etag != first.etag, second)
    for what, late in {
        "a write over an older version": lambda: write(stub, b"third", if_match=first.etag),
        "a read of an older version": lambda: read(stub, if_match=first.etag),
        "a deletion of an older version": lambda: stub.DeleteFile(
            storage_pb2.DeleteFileRequest(name=NAME, if_match=first.etag), timeout=DEADLINE_S
        ),
    }.items():
        is_refused(what, grpc.StatusCode.ABORTED, "VERSION_CONFLICT", late)
    check("what was refused changed nothing", read(stub)[1] == b"second", second)


def fetch(url, **headers):
    """Status, headers and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=DEADLINE_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


def links(stub):
    for kind, path, seconds in (("TEMPORARY", "/t/", 60), ("RESOURCE", "/r/", 24 * 3600)):
        link = stub.CreateUrl(
            router_pb2.CreateUrlRequest(
                file=NAME,
                kind=router_pb2.UrlKind.Value("URL_KIND_" + kind),
                time_to_live=duration_pb2.Duration(seconds=seconds),
            ),
            timeout=DEADLINE_S,
        )
        name = f"a {kind.lower()} link"
        check(f"{name}'s address", path in link.url, link.url)
        status, headers, body = fetch(link.url)
        check(f"{name} serves its file", (status, body) == (200, b"second"), status)
        check(f"{name} serves it harmlessly", headers["x-content-type-options"] == "nosniff", headers.items())
        status, headers, body = fetch(link.url, Range="bytes=1-3")
        check(f"{name} serves a range", (status, body) == (206, b"eco"), (status, body))
        token = link.url.split(path)[1].split("/")[0]
        forged = token[:9] + ("A" if token[9] != "A" else "B") + token[10:]
        check(f"{name} is signed", fetch(link.url.replace(token, forged))[0] == 404, forged)
        stub.RevokeUrl(router_pb2.RevokeUrlRequest(file=NAME, id=link.id), timeout=DEADLINE_S)
        check(f"{name} is revoked at once", fetch(link.url)[0] == 404, link.id)


def checks(channel):
    stub = storage_pb2_grpc.StorageStub(channel)
    writes_under_conditions(stub, writes_and_reads(stub))
    links(router_pb2_grpc.RouterStub(channel))
    stub.DeleteFile(storage_pb2.DeleteFileRequest(name=NAME), timeout=DEADLINE_S)

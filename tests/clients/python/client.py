"""Runs a skill, follows a run, keeps files, vectors and secrets, and is refused without a certificate: with stubs
generated from proto/."""

import json
import sys

import files
import grpc
import managed_secrets
import vectors
from connection import DEADLINE_S, channel, check, is_refused
from sre.gateway.v1 import runs_pb2, runs_pb2_grpc


def runs_a_skill(stub):
    answer = stub.RunSkill(
        runs_pb2.RunSkillRequest(
            agent="teams/-/agents/greeter",
            skill=runs_pb2.SkillCall(skill="greet", input_json=json.dumps({"name": "Ada"}).encode()),
            value_view=True,
        ),
        timeout=DEADLINE_S,
    )
    seen = json.loads(answer.legacy_json)
    check("a skill's answer", seen == {"greeting": "Hello, Ada!"}, seen)
    check("its typed result", len(answer.result.results) == 1 and not answer.result.errors, answer.result)


def watches_a_run(stub):
    run = stub.StartRun(
        runs_pb2.StartRunRequest(
            agent="teams/-/agents/fingerprint",
            skill=runs_pb2.SkillCall(skill="digest", input_json=b'{"text":"hello"}'),
        ),
        timeout=DEADLINE_S,
    )
    events = list(stub.WatchRun(runs_pb2.WatchRunRequest(name=run.name), timeout=DEADLINE_S))
    kinds = [event.WhichOneof("event") for event in events]
    check("the first event", kinds[0] == "run_opened", kinds)
    check("the last event", kinds[-1] == "run_ended" and kinds.count("run_ended") == 1, kinds)
    check("how it ended", events[-1].run_ended.state == runs_pb2.RUN_STATE_DONE, events[-1])
    finished = [e.component_finished.component for e in events if e.WhichOneof("event") == "component_finished"]
    check("every component finished once", sorted(finished) == sorted(set(finished)) and "sha256" in finished, finished)
    cursors = [(e.cursor.sequence, e.cursor.sub) for e in events]
    check("cursors grow", cursors == sorted(cursors), cursors)
    half = events[len(events) // 2]
    rest = list(stub.WatchRun(runs_pb2.WatchRunRequest(name=run.name, after=half.cursor), timeout=DEADLINE_S))
    journalled = [c for c in cursors if c[1] == 0 and c > (half.cursor.sequence, half.cursor.sub)]
    check("a cursor resumes", [(e.cursor.sequence, e.cursor.sub) for e in rest if e.cursor.sub == 0] == journalled, rest)
    answer = json.loads(events[-1].run_ended.legacy_json)
    check("the run's answer", answer["md5"] == "5d41402abc4b2a76b9719d911017c592", answer)


def is_refused_without_a_certificate():
    stub = runs_pb2_grpc.RunsStub(channel(with_certificate=False))
    try:
        stub.RunSkill(runs_pb2.RunSkillRequest(agent="teams/-/agents/greeter"), timeout=DEADLINE_S)
    except grpc.RpcError as error:
        check("no certificate is refused in the handshake", error.code() == grpc.StatusCode.UNAVAILABLE, error)
    else:
        sys.exit("python: FAILED: a client without a certificate was served")


def errors_have_reasons(stub):
    absent = runs_pb2.RunSkillRequest(agent="teams/-/agents/nobody", skill=runs_pb2.SkillCall(skill="x"))
    run = lambda: stub.RunSkill(absent, timeout=DEADLINE_S)
    is_refused("an absent agent is denied, with a stable reason", grpc.StatusCode.PERMISSION_DENIED, "ACL_DENIED", run)


def main():
    stub = runs_pb2_grpc.RunsStub(channel())
    runs_a_skill(stub)
    watches_a_run(stub)
    errors_have_reasons(stub)
    for part in (files, vectors, managed_secrets):
        part.checks(channel())
    is_refused_without_a_certificate()


main()

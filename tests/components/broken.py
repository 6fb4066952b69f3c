"""A component that breaks the contract in one way, which `sre component test` must find and name."""

import argparse
import itertools
import os
import random
import sys
import threading
import time
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "components" / "python"
sys.path[:0] = [str(SAMPLE), str(SAMPLE / ".venv" / "stubs")]

import server  # noqa: E402
import text_stats  # noqa: E402
from component import ComponentServicer, failure  # noqa: E402
from sre.component.v1 import component_pb2 as pb  # noqa: E402

COUNTER = itertools.count()


def description(**changes):
    changed = pb.Description()
    changed.CopyFrom(text_stats.DESCRIPTION)
    changed.MergeFrom(pb.Description(**changes))
    return changed


class DescribeChanges(ComponentServicer):
    """Says something else each time, under the same version."""

    def Describe(self, request, context):
        return description(description=f"asked {next(COUNTER)} times")


class BadSchema(ComponentServicer):
    """The schema of a setting is no JSON."""

    def __init__(self, *_):
        setting = pb.Setting(name="more", description="more", schema_json=b"{")
        super().__init__(description(settings=[setting]), text_stats.process)


class Impure(ComponentServicer):
    """Declares that it is pure, and is not."""

    def __init__(self, *_):
        changed = description()
        for example in changed.examples:
            example.outputs_json = b""
        super().__init__(changed, self.count)

    def count(self, activation, work):
        outputs = text_stats.process(activation, work)
        return {**outputs, "Top": [random.random()]}


class CrashesOnBadInput(ComponentServicer):
    """Dies of inputs that are no JSON."""

    def Process(self, requests, context):
        first = next(requests, None)
        if first is not None and first.activation.inputs_json == b"{":
            os._exit(1)
        yield from super().Process(itertools.chain([first] if first else [], requests), context)


class IgnoresCancel(ComponentServicer):
    """Goes on for ever once it was told to stop."""

    def Process(self, requests, context):
        first = next(requests, None)
        told = threading.Event()
        threading.Thread(target=self.wait, args=(requests, told), daemon=True).start()
        if told.wait(0.05):
            while context.is_active():
                time.sleep(0.1)
            return
        yield from super().Process(iter([first] if first else []), context)

    def wait(self, requests, told):
        try:
            for request in requests:
                if request.HasField("cancel"):
                    told.set()
        except Exception:  # noqa: BLE001: the stream is over
            pass


class NotServing(ComponentServicer):
    """Its health says that it does not serve."""


class ForgetsTheKey(ComponentServicer):
    """Declares that it is idempotent, and does not say for which key it answered."""

    def __init__(self, *_):
        super().__init__(description(idempotent=True), text_stats.process)


class EndsSilently(ComponentServicer):
    """Ends streams without an answer or a failure."""

    def Process(self, requests, context):
        next(requests, None)
        return
        yield


class TalksOn(ComponentServicer):
    """Goes on after its last message."""

    def Process(self, requests, context):
        yield from super().Process(requests, context)
        yield failure(pb.FAILURE_KIND_INTERNAL, "and another thing")


class OneAtATime(ComponentServicer):
    """One stream that waits holds up all others."""

    lock = threading.Lock()

    def Process(self, requests, context):
        with self.lock:
            yield from super().Process(requests, context)


KINDS = {
    "describe-changes": DescribeChanges,
    "bad-schema": BadSchema,
    "impure": Impure,
    "crashes-on-bad-input": CrashesOnBadInput,
    "ignores-cancel": IgnoresCancel,
    "not-serving": NotServing,
    "forgets-the-key": ForgetsTheKey,
    "ends-silently": EndsSilently,
    "talks-on": TalksOn,
    "one-at-a-time": OneAtATime,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broken", choices=KINDS, required=True, help="in which way")
    parser.add_argument("--socket", required=True, help="serve on this Unix socket")
    options = parser.parse_args()
    options.listen = None
    servicer = KINDS[options.broken](text_stats.DESCRIPTION, text_stats.process)
    server.serve(servicer, options, serves=options.broken != "not-serving")


if __name__ == "__main__":
    main()

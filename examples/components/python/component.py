"""Serves a component: streams in and out, so that the component itself is a function."""

import json
import queue
import threading
import time

import grpc
from sre.component.v1 import component_pb2 as pb
from sre.component.v1 import component_pb2_grpc

# What is said and not yet sent; whoever says more waits.
QUEUED = 64


class Failed(Exception):
    """A failure that is an answer."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Stopped(Exception):
    """The answer is no longer wanted."""


class Activation:
    """What to do."""

    def __init__(self, message):
        self.message = message
        self.inputs = parsed("inputs_json", message.inputs_json, pb.FAILURE_KIND_INVALID_INPUT)
        self.settings = parsed("settings_json", message.settings_json, pb.FAILURE_KIND_INVALID_SETTING)


def parsed(what, text, kind):
    try:
        value = json.loads(text or b"{}")
    except ValueError as error:
        raise Failed(kind, f"{what} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Failed(kind, f"{what} is no object")
    return value


class Work:
    """The way to whoever waits for an activation."""

    def __init__(self, deadline_ms):
        self.said = queue.Queue(QUEUED)
        self.stopped = threading.Event()
        self.deadline = deadline_ms / 1000 if deadline_ms else None

    def progress(self, fraction, message=""):
        self.say(progress=pb.Progress(fraction=fraction, message=message))

    def log(self, message, level=pb.LOG_LEVEL_INFO):
        self.say(log=pb.Log(level=level, message=message))

    def content(self, text):
        self.say(content=pb.Content(text=text))

    def failure(self, kind, message):
        return Failed(kind, message)

    def check(self):
        """Ends the work if nobody wants its answer any more."""
        if self.stopped.is_set() or (self.deadline and time.time() >= self.deadline):
            raise Stopped

    def say(self, **message):
        while not self.stopped.is_set():
            try:
                self.said.put(pb.ProcessResponse(**message), timeout=0.1)
                return
            except queue.Full:
                pass


class ComponentServicer(component_pb2_grpc.ComponentServicer):
    """Serves one type: its description, and a function of an activation and its work."""

    def __init__(self, description, process):
        self.description = description
        self.process = process

    def Describe(self, request, context):
        return self.description

    def Process(self, requests, context):
        first = next(requests, None)
        if first is None or not first.HasField("activation"):
            yield failure(pb.FAILURE_KIND_INVALID_INPUT, "the first message is no activation")
            return
        work = Work(first.activation.deadline_time_ms)
        context.add_callback(work.stopped.set)
        threading.Thread(target=self.listen, args=(requests, work), daemon=True).start()
        threading.Thread(target=self.execute, args=(first.activation, work), daemon=True).start()
        while True:
            try:
                message = work.said.get(timeout=0.1)
            except queue.Empty:
                if work.stopped.is_set():
                    yield failure(pb.FAILURE_KIND_CANCELLED, "it was told to stop")
                    return
                continue
            yield message
            if message.WhichOneof("message") in ("answer", "failure"):
                return

    def listen(self, requests, work):
        """Waits for the message that says stop."""
        try:
            for request in requests:
                if request.HasField("cancel"):
                    work.stopped.set()
        except grpc.RpcError:
            work.stopped.set()
        except Exception:  # noqa: BLE001: the stream is over, however it ended
            work.stopped.set()

    def execute(self, message, work):
        try:
            outputs = self.process(Activation(message), work)
            work.say(answer=pb.Answer(outputs_json=json.dumps(outputs, ensure_ascii=False).encode()))
        except Stopped:
            work.stopped.set()
        except Failed as failed:
            work.say(failure=pb.Failure(kind=failed.kind, message=str(failed)))
        except Exception as error:  # noqa: BLE001: whatever it is, the caller hears of it
            work.say(failure=pb.Failure(kind=pb.FAILURE_KIND_INTERNAL, message=f"{type(error).__name__}: {error}"))


def failure(kind, message):
    return pb.ProcessResponse(failure=pb.Failure(kind=kind, message=message))

"""moto's server with a memory: what a request changed is there again after the process ended in whatever way.

moto keeps everything in the process and can write each request to a file before it answers; a start plays the file
again, and listens only then. Two things make the played requests give the same state: records are written whole, one
after the other, and the id of a multi-part upload follows from its key and its turn, since moto draws it at random.

    python moto_server.py PORT FILE
"""

import hashlib
import os
import sys
import threading
from collections import Counter


def main() -> None:
    port, recording = int(sys.argv[1]), sys.argv[2]
    os.environ.update(MOTO_ENABLE_RECORDING="1", MOTO_RECORDER_FILEPATH=recording, MOTO_PORT=str(port))
    from moto import server
    from moto.moto_api._internal import Recorder
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer
    from moto.s3 import models

    record, writing = Recorder._record_request, threading.Lock()

    def record_whole(self, request, body=None):
        if request.method in ("GET", "HEAD"):
            return
        with writing:
            record(self, request, body)

    Recorder._record_request = record_whole

    begun, turns = models.FakeMultipart.__init__, Counter()

    def begin(self, key_name, *args, **kwargs):
        begun(self, key_name, *args, **kwargs)
        turns[key_name] += 1
        self.id = hashlib.sha256(f"{turns[key_name]}/{key_name}".encode()).hexdigest()[:40]

    models.FakeMultipart.__init__ = begin

    if os.path.exists(recording):
        playing = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        playing.start()
        Recorder().replay_recording(target_host="http://%s:%d" % playing.get_host_and_port())
        playing.stop()
    server.main(["-H", "127.0.0.1", "-p", str(port)])


main()

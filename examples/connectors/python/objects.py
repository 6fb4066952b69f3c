"""Objects as files: `<folder>/<first two digits>/<key>`."""

import os
import re
from pathlib import Path

import grpc
from sre.connector.v1 import storage_pb2, storage_pb2_grpc

KEY = re.compile(r"[0-9a-f]{32}\Z")
CHUNK_BYTES = 64 * 1024


class ObjectFiles:
    """Written once, never changed, visible and durable only when whole."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def is_well(self):
        return self.folder.is_dir()

    def path(self, key):
        return self.folder / key[:2] / key

    def begin(self, key):
        """A file beside the object's place, for its bytes."""
        place = self.path(key)
        if not place.parent.is_dir():
            place.parent.mkdir(exist_ok=True)
            # The new folder's own name must survive a power cut, too.
            self.synced(self.folder)
        return open(place.with_suffix(".part"), "wb")

    def finish(self, key, file):
        file.flush()
        os.fsync(file.fileno())
        file.close()
        place = self.path(key)
        os.replace(place.with_suffix(".part"), place)
        self.synced(place.parent)

    def give_up(self, key, file):
        file.close()
        self.path(key).with_suffix(".part").unlink(missing_ok=True)

    def remove(self, key):
        for path in (self.path(key).with_suffix(".part"), self.path(key)):
            path.unlink(missing_ok=True)

    @staticmethod
    def synced(folder):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class StorageServicer(storage_pb2_grpc.StorageServicer):
    def __init__(self, stores):
        self.stores = stores

    def WriteObject(self, requests, context):
        objects = self.stores.of(context).objects
        key, file, size, whole = None, None, 0, False
        try:
            for request in requests:
                part = request.WhichOneof("part")
                if part == "key" and key is None:
                    key = checked(request.key, context)
                    file = objects.begin(key)
                elif part == "data" and file is not None:
                    size += file.write(request.data)
                elif part == "end" and file is not None and request.end.size_bytes == size:
                    whole = True
                else:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the key, bytes, and their number, in this order")
            if not whole:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the stream ended before the object was whole")
            objects.finish(key, file)
            file = None
            return storage_pb2.WriteObjectResponse()
        finally:
            # The stream broke, or this failed: nothing stays.
            if file is not None:
                objects.give_up(key, file)

    def ReadObject(self, request, context):
        objects = self.stores.of(context).objects
        try:
            file = open(objects.path(checked(request.key, context)), "rb")
        except FileNotFoundError:
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such object")
        with file:
            file.seek(request.offset_bytes)
            left = request.length_bytes
            while left > 0:
                data = file.read(min(left, CHUNK_BYTES))
                if not data:
                    return
                left -= len(data)
                yield storage_pb2.ReadObjectResponse(data=data)

    def RemoveObject(self, request, context):
        objects = self.stores.of(context).objects
        objects.remove(checked(request.key, context))
        return storage_pb2.RemoveObjectResponse()


def checked(key, context):
    """A key becomes a part of a path, so that nothing else may look like one."""
    if not KEY.match(key):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "key: 32 hex digits")
    return key

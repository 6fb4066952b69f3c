"""One SQLite file: durable, one transaction at a time."""

import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path


class Database:
    """One connection; a lock in place of a pool, as this is a sample."""

    def __init__(self, path, schema):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()
        # Transactions begin where `transaction` says so, not by themselves.
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("pragma journal_mode = wal")
        # What was answered survives a power cut.
        self.db.execute("pragma synchronous = full")
        self.db.executescript(schema)

    @contextmanager
    def transaction(self, kind="immediate"):
        """All or nothing: whoever raises in here rolls back."""
        with self.lock:
            self.db.execute("begin " + kind)
            try:
                yield self.db
                self.db.execute("commit")
            except BaseException:
                self.db.execute("rollback")
                raise

    def reading(self):
        """A transaction that sees one moment."""
        return self.transaction("deferred")

    def is_well(self):
        try:
            with self.reading() as db:
                return db.execute("select 1").fetchone() == (1,)
        except sqlite3.Error:
            return False

    def close(self):
        with self.lock:
            self.db.close()

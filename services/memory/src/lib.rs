//! sre-memory.

//! sre-io.

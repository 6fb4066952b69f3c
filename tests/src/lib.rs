//! sre-tests.

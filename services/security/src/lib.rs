//! sre-security.

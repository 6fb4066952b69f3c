//! sre-identity.

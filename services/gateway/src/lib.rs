//! sre-gateway.

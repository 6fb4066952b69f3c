//! sre-service.

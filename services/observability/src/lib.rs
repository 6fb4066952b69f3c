//! sre-observability.

//! sre-compute.

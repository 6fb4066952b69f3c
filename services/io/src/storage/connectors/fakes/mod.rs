//! Stores that speak the real wire protocol of a service that cannot be run here.

pub(crate) mod gcs;

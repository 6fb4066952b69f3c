//! The server side of a role: the same layers for calls over TLS and over links.

pub(crate) mod body;
pub(crate) mod errors;
pub(crate) mod gate;
pub(crate) mod health;
pub(crate) mod http_door;
pub(crate) mod leftover;
pub(crate) mod listener;
pub(crate) mod metrics;
pub(crate) mod role_server;
pub(crate) mod sized;

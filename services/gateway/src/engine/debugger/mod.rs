//! Debug sessions.

pub mod service;

//! The component types that documents may name.

mod message;
mod service;
#[cfg(test)]
mod service_tests;

pub use service::ComponentsService;

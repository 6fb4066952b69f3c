//! The component types that documents may name.

mod message;
mod service;

pub use service::ComponentsService;

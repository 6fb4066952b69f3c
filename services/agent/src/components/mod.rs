//! The component types that documents may name.

mod fixed;
mod known;
mod message;
mod register;
mod registered;
mod service;
#[cfg(test)]
mod service_tests;

pub use fixed::Fixed;
pub use known::{KnownTypes, TypesOfTeam};
pub use registered::Registrations;
pub use service::ComponentsService;

//! Code that agents bring.

mod service;
#[cfg(test)]
mod service_tests;

pub use service::CodeService;

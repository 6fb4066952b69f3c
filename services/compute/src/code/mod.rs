//! Code that agents bring.

mod service;

pub use service::CodeService;

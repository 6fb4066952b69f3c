//! The one way out to the network: limits, and a policy on the address that is really connected to.
//!
//! Private, loopback, link-local and other inner addresses are refused unless the configuration lists
//! them. The check is made on the resolved address inside the connector, so neither a redirect nor a name
//! that resolves differently the second time gets around it.

mod body;
mod client;
mod error;
mod gate;
mod policy;
mod proxy;
mod redirect;
mod request;
mod resolver;
mod retry;

pub use client::{Client, Streamed};
pub use error::EgressError;
pub use gate::{Gate, GateError, Lists, Table};
pub use policy::{AllowError, AllowRule, Policy};
pub use proxy::Proxy;
pub use request::{Limits, Request, Response};

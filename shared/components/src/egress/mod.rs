//! The one way out to the network: limits, and a policy on the address that is really connected to.
//!
//! Private, loopback, link-local and other inner addresses are refused unless the configuration lists
//! them. The check is made on the resolved address inside the connector, so neither a redirect nor a name
//! that resolves differently the second time gets around it.

mod client;
mod error;
mod policy;
mod redirect;
mod resolver;

pub use client::{Client, Limits, Request, Response, Streamed};
pub use error::EgressError;
pub use policy::{AllowError, AllowRule, Policy};

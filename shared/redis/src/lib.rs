//! Redis: where it is, how to reach it, and what can go wrong.
//!
//! [`RedisSettings`] says where the server is: alone, behind Sentinels, or a cluster, with TLS or without.
//! [`Redis`] keeps connections to it: they are shared, made again when they are lost, and every call has a
//! deadline. Changes of several keys are scripts ([`Script`]), because a script is one step on the server.
//!
//! Keys that one script touches share a hash tag, `{...}`, so that they lie on one node of a cluster.

mod address;
mod client;
mod dial;
mod error;
mod script;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;

pub use client::{Effect, Redis};
pub use error::RedisError;
pub use redis::{Cmd, FromRedisValue, ToRedisArgs, Value, cmd};
pub use script::{Invocation, Script};
pub use settings::{Hosts, RedisSettings};

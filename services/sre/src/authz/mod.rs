//! `sre authz`: the authorization matrix as a table, and random calls against a model of what may be done.
//!
//! [`fuzz`] starts a suite of its own in this process and asks it as random people, agents, teams, services and
//! strangers, through the edge and at the roles, with and without tokens. Beside it stands a model ([`rights`])
//! that was written from the rules and shares no code with the services; where the two disagree, or where an
//! answer holds what its caller may not read, that is a finding.

mod calls;
mod code;
mod fuzz;
mod make;
mod matrix;
mod people;
mod questions;
mod rights;
mod secrets;
mod spaces;
mod things;
mod world;

pub use fuzz::{Finding, Fuzz, Report, fuzz};
pub use matrix::{Row, rows};

//! Debug sessions: an agent run cycle by cycle, by hand. A session is a run of kind DEBUG in the journal that
//! stands parked between the commands that people give it, so that any engine serves the next one.
//!
//! Read in this order: [`session`] (how a session is found, taken, read and put back), [`cycles`] (how one cycle
//! is executed), [`commands`] (what people can do), [`headers`] (the same in the words of the reference).

pub mod access;
pub mod commands;
pub mod cycles;
pub mod headers;
pub mod messages;
pub mod names;
pub mod records;
pub mod service;
pub mod session;
pub mod start;

pub use session::claimed;

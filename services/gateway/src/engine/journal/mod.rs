//! The journal of runs, as the engine writes and reads it.

pub mod clock;
pub mod formats;
pub mod opening;
pub mod queue;
pub mod records;
pub mod run;
pub mod store;
#[cfg(test)]
mod testing;
pub mod values;

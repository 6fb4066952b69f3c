//! Turning what arrives into what a component declares: types, lenient JSON, dates, binaries.

pub mod binary;
pub mod dates;
pub mod permissive_json;
pub mod typing;

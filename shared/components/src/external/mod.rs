//! Components out of process, as far as they are types: what one says about itself
//! ([`Declaration`]), what an activation of it is sent ([`request`]), and what its answer is worth ([`answer`]).
//! How it is reached is the engine's business.

pub mod answer;
mod binary;
mod check;
mod declaration;
pub mod request;
mod schema;

pub use check::{MAX_DESCRIPTION_BYTES, is_type_name, problems};
pub use declaration::{Bounds, Declaration, declare, digest, split_version};

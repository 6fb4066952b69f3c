//! `sre authz`.

use clap::Subcommand;

/// `sre authz`.
#[derive(Debug, Subcommand)]
pub enum Authz {
    /// Shows the authorization matrix: every method, what it asks for, and who passes.
    Matrix {
        /// Only services whose name contains this.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        service: String,
    },
    /// Asks a suite of its own, as random principals, for random things, and compares with a model.
    Fuzz {
        /// How many pairs of a principal and a call.
        #[arg(long, default_value_t = 10_000)]
        pairs: u64,
        /// What randomness begins with; the same one brings the same calls [default: another each time].
        #[arg(long)]
        seed: Option<u64>,
    },
}

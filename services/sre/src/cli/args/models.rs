//! `sre models`.

use std::path::PathBuf;

use clap::Subcommand;

/// `sre models`.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// Lists the models that the team may use.
    List {
        /// Only those of this provider.
        #[arg(long, default_value = "", hide_default_value = true)]
        provider: String,
        /// Only those that can be called as things are.
        #[arg(long)]
        usable: bool,
    },
    /// Shows a model.
    Get {
        /// Its name, as `list` shows it.
        name: String,
    },
    /// Says whether a model can be called, and what is missing. With --call it is asked for a word, which costs a little.
    Check {
        /// Its name, as `list` shows it.
        name: String,
        /// Ask it.
        #[arg(long)]
        call: bool,
    },
    /// Takes over the models of the reference's team settings `custom-llm` and `user-custom-llm`.
    Import {
        /// A file that holds one of them [default: the team's settings, as `sre import` stored them].
        file: Option<PathBuf>,
    },
}

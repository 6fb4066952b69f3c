//! Prints the reference of all configuration keys: `docs/configuration.md`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(sre_service::config::reference_markdown().as_bytes())
}

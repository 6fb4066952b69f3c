//! Prints the descriptor set: `make descriptor` keeps the committed copy.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(sre_proto::DESCRIPTOR_SET)
}

//! Open files: all but the two pipes are closed.

use std::fs;

use nix::errno::Errno;
use nix::unistd::close;

use super::refused;
use crate::protocol::Refusal;

const LIST: &str = "/proc/self/fd";
const ALLOW: &str = "mount /proc where the role runs";

/// Closes everything but standard input and output.
pub(super) fn close_others() -> Result<(), Refusal> {
    let refused = refused("open files", ALLOW);
    let open: Vec<i32> = fs::read_dir(LIST)
        .map_err(|error| refused(&format_args!("{LIST}: {error}")))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 1) {
        match close(descriptor) {
            // The list's own, which is closed by now.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(error) => return Err(refused(&error)),
        }
    }
    Ok(())
}

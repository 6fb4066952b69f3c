//! `run/ready`: there while a suite of this data folder is ready, for scripts that wait for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Takes the file away again when it is dropped.
pub struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Removes what a suite left that was killed.
    pub fn clear(data_dir: &Path) {
        // Nothing to remove is the usual case.
        let _ = fs::remove_file(path(data_dir));
    }

    /// Says that the suite is ready.
    pub fn write(data_dir: &Path) -> io::Result<Self> {
        let path = path(data_dir);
        fs::write(&path, format!("{}\n", std::process::id()))?;
        Ok(Self(path))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run").join("ready")
}

/// Whether a suite of this data folder is ready: the file is there and its process lives.
pub fn is_live(data_dir: &Path) -> bool {
    let pid = fs::read_to_string(path(data_dir)).ok().and_then(|text| text.trim().parse::<u32>().ok());
    pid.is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists())
}

//! `run/endpoints.toml`: addresses of the running suite, by role and door. Processes of a suite on one
//! machine find each other by it, and a role that starts again takes the address it had.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file below a data folder.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run").join("endpoints.toml")
}

/// Addresses by name; empty where there is no file. A damaged file counts as none: it is written again.
pub(crate) fn read(data_dir: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path(data_dir)).unwrap_or_default();
    toml::from_str(&text).unwrap_or_default()
}

/// Where the role or door listened before.
pub(crate) fn previous(data_dir: &Path, name: &str) -> Option<SocketAddr> {
    read(data_dir).get(name)?.parse().ok()
}

/// Records addresses, keeping those of other processes.
pub(crate) fn write(data_dir: &Path, addresses: &BTreeMap<String, SocketAddr>) -> std::io::Result<()> {
    let path = path(data_dir);
    let folder = data_dir.join("run");
    std::fs::create_dir_all(&folder)?;
    // Processes of a split suite start at the same time.
    let lock = File::create(folder.join("endpoints.lock"))?;
    lock.lock()?;
    let mut all = read(data_dir);
    all.extend(addresses.iter().map(|(name, address)| (name.clone(), address.to_string())));
    let text = toml::to_string(&all).map_err(std::io::Error::other)?;
    let fresh = folder.join("endpoints.toml.new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_add_to_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        write(dir.path(), &BTreeMap::from([("edge".to_owned(), address(1)), ("llm".to_owned(), address(2))]))
            .unwrap();
        write(dir.path(), &BTreeMap::from([("llm".to_owned(), address(3))])).unwrap();
        assert_eq!(previous(dir.path(), "edge"), Some(address(1)));
        assert_eq!(previous(dir.path(), "llm"), Some(address(3)));
        assert_eq!(previous(dir.path(), "io"), None);
    }
}

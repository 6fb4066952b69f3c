//! Where components out of process may be.

use std::path::{Component, Path};

use anyhow::{Context as _, bail, ensure};

use super::Place;
use crate::config::Config;
use crate::role::Role;

/// The name of a component's identity, `service/<name>`; it is none of the suite's own services.
pub fn component_identity(identity: &str) -> anyhow::Result<&str> {
    let name = identity.strip_prefix("service/").filter(|name| !name.is_empty() && name.len() <= 64);
    let valid = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let name = name.filter(valid).context("identity: write service/<name>, letters, digits, - and _")?;
    ensure!(
        name.parse::<Role>().is_err(),
        "identity: service/{name} is a service of the suite: issue the component a certificate of its own, \
         `sre certs issue service/<name>`"
    );
    Ok(name)
}

/// Where a component is served, if the configuration lets one be there. `identity` may be empty.
pub fn component_place(config: &Config, endpoint: &str, identity: &str) -> anyhow::Result<Place> {
    if !identity.is_empty() {
        component_identity(identity)?;
    }
    let place = Place::parse_or_loopback(endpoint)?;
    match &place {
        Place::Unix(path) => {
            let own = config.data_dir.join("components");
            let folders = || config.components.sockets.iter().chain([&own]);
            ensure!(
                folders().any(|folder| is_in(path, folder)),
                "endpoint: {} is in none of the folders for sockets of components, which are {}: put it there, or \
                 name its folder in components.sockets",
                path.display(),
                folders().map(|folder| absolute(folder).display().to_string()).collect::<Vec<_>>().join(", ")
            );
        }
        Place::Tcp { .. } if identity.is_empty() => {
            bail!("identity: over https say who serves it, service/<name>, with a certificate of this suite")
        }
        Place::Tcp { .. } => {}
        Place::Loopback(_) => ensure!(
            config.components.loopback,
            "endpoint: http is not switched on for components: use unix: or https:, or set components.loopback"
        ),
    }
    Ok(place)
}

fn absolute(folder: &Path) -> std::path::PathBuf {
    let whole = folder.canonicalize().or_else(|_| std::path::absolute(folder));
    whole.unwrap_or_else(|_| folder.to_owned())
}

/// Whether a socket lies in a folder, directly or below; links in the way are followed where they exist.
fn is_in(socket: &Path, folder: &Path) -> bool {
    let Some(parent) = socket.parent() else { return false };
    if socket.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir)) {
        return false;
    }
    absolute(parent).starts_with(absolute(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        let mut config = Config::default();
        config.data_dir = dir.join("data");
        config.components.sockets = vec![dir.join("sockets")];
        config
    }

    #[test]
    fn sockets_lie_where_the_configuration_says() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sockets/a")).unwrap();
        std::os::unix::fs::symlink("/tmp", dir.path().join("sockets/out")).unwrap();
        let config = config(dir.path());
        let at = |path: &str| {
            let endpoint = format!("unix:{}/{path}", dir.path().display());
            component_place(&config, &endpoint, "").map_err(|error| format!("{error:#}"))
        };
        for fine in ["sockets/x.sock", "sockets/a/x.sock", "data/components/x.sock"] {
            assert!(at(fine).is_ok(), "{fine}: {:?}", at(fine));
        }
        for wrong in ["x.sock", "sockets/../x.sock", "sockets/out/x.sock", "sockets-2/x.sock", "data/x.sock"]
        {
            assert!(at(wrong).is_err_and(|text| text.contains("components.sockets")), "{wrong}");
        }
    }

    #[test]
    fn over_tcp_it_proves_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        let of = |config: &Config, endpoint: &str, identity: &str| {
            component_place(config, endpoint, identity)
                .map_err(|error| format!("{error:#}"))
                .err()
                .unwrap_or_default()
        };
        assert_eq!(of(&config, "https://h:1", "service/acme"), "");
        assert!(of(&config, "https://h:1", "").contains("identity"));
        assert!(of(&config, "https://h:1", "service/llm").contains("service of the suite"));
        assert!(of(&config, "https://h:1", "user/dev").contains("service/<name>"));
        assert!(of(&config, "http://127.0.0.1:1", "").contains("components.loopback"));
        config.components.loopback = true;
        assert_eq!(of(&config, "http://127.0.0.1:1", ""), "");
        assert!(of(&config, "http://10.0.0.1:1", "").contains("this machine alone"));
    }
}

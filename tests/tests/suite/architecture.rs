//! What the sources promise about themselves: which crate may know which, and that deployment files speak of roles
//! and ports that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};
use sre_service::config::Backend;
use sre_service::{Config, LoadOptions, Role};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Each crate of the workspace with the crates of the workspace that it is built on.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = root().join("Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .other_options(["--offline".into()])
        .exec()
        .unwrap();
    let ours: BTreeSet<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    metadata
        .packages
        .iter()
        .map(|package| {
            let normal = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
            let known = normal.map(|d| d.name.clone()).filter(|name| ours.contains(name)).collect();
            (package.name.to_string(), known)
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let edges = edges();
    let may = |name: &str| -> Vec<&str> {
        match name {
            "sre-proto" | "sre-store" | "sre-engine" => vec![],
            "sre-identity" => vec!["sre-proto"],
            // Backends of vectors, with what they need in one place.
            "sre-vectors" => vec!["sre-store"],
            // Redis, reached in one place.
            "sre-redis" => vec![],
            // Calls of AWS, signed in one place.
            "sre-aws" => vec!["sre-service"],
            // The sandbox's process, with the interpreter.
            "sre-sandbox" => vec![],
            // A server for tests that speaks providers' wire formats: it shares nothing with what is tested.
            "sre-fake-provider" => vec![],
            // Text of documents that come from anybody: readers, and nothing of ours.
            "sre-documents" => vec![],
            "sre-components" => vec!["sre-engine", "sre-proto", "sre-documents"],
            // A component as anybody writes one: it knows the contract alone.
            "sre-component-sample" => vec![],
            "sre-service" => vec!["sre-proto", "sre-identity", "sre-store"],
            // The binary and the tests know everything.
            "sre" | "sre-tests" => vec!["*"],
            _service => {
                vec![
                    "sre-proto",
                    "sre-identity",
                    "sre-service",
                    "sre-store",
                    "sre-vectors",
                    "sre-redis",
                    "sre-aws",
                    "sre-sandbox",
                    "sre-engine",
                    "sre-components",
                ]
            }
        }
    };
    assert!(edges.len() >= 16, "{edges:?}");
    for (name, known) in &edges {
        let allowed = may(name);
        for other in known {
            assert!(
                allowed == ["*"] || allowed.contains(&other.as_str()),
                "{name} must not depend on {other}"
            );
        }
    }
}

#[test]
fn the_engine_knows_no_transport() {
    let manifest = std::fs::read_to_string(root().join("shared/engine/Cargo.toml")).unwrap();
    for transport in ["tonic", "hyper", "reqwest", "axum", "tokio.workspace"] {
        let normal = manifest.split("[dev-dependencies]").next().unwrap();
        assert!(!normal.contains(transport), "sre-engine depends on {transport}");
    }
}

#[test]
fn only_two_crates_name_the_grpc_transport() {
    for folder in ["shared/components", "shared/engine", "shared/identity", "shared/store", "services"] {
        for file in sources(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let named = text
                .lines()
                .any(|line| line.contains("tonic::transport") && !line.trim_start().starts_with("//"));
            assert!(!named, "{} names tonic::transport", file.display());
        }
    }
}

/// The Rust sources below a folder.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn deployment_files_speak_of_roles_ports_and_probes_that_exist() {
    let base = root().join("deploy/kustomize/base");
    let config = Config::load(LoadOptions::defaults().file(base.join("sre.toml"))).unwrap();
    let mut served = BTreeSet::new();
    for entry in std::fs::read_dir(&base).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if file.extension().is_none_or(|e| e != "yaml") || name == "kustomization" {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let roles = Role::parse_alias(&name).unwrap();
        assert!(text.contains(&format!("\"serve\", \"{name}\"")), "{name}");
        for role in roles {
            let port = config.listen.of(role).unwrap_or_else(|| panic!("{role} has no address")).port();
            assert!(text.contains(&format!("containerPort: {port}")), "{role} listens on {port}");
            let address = format!("sre-{name}:{port}");
            assert_eq!(config.endpoints.of(role), [address], "{role}");
            served.insert(role);
        }
        assert!(
            text.contains(&format!("containerPort: {}", config.admin.listen.port())),
            "{name}: admin port"
        );
        for probe in ["/livez", "/readyz", "/startupz"] {
            assert!(text.contains(probe), "{name}: {probe}");
        }
    }
    assert_eq!(served.len(), Role::ALL.len());
}

/// The replicas' overlay sets what it sets through the environment: each variable is a key, and together they are a
/// configuration that keeps all state where replicas share it.
#[test]
fn deployment_files_for_replicas_share_their_state() {
    let overlay = root().join("deploy/kustomize/replicas");
    let mut env = Vec::new();
    for file in ["database.yaml", "keys.yaml"] {
        let text = std::fs::read_to_string(overlay.join(file)).unwrap();
        for (at, _) in text.match_indices("name: SRE__") {
            let (name, rest) = text[at + "name: ".len()..].split_once([',', '\n']).unwrap();
            let line = rest.lines().next().unwrap_or_default();
            // What comes from a Secret has its own form; any text does for this.
            let value = line
                .trim()
                .strip_prefix("value: ")
                .map_or("postgres://db/sre", |value| value.trim_end_matches(" }").trim_matches('\''));
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    assert_eq!(env.len(), 5, "{env:?}");
    let base = root().join("deploy/kustomize/base/sre.toml");
    let config = Config::load(LoadOptions::defaults().file(base).env(env)).unwrap();
    assert_eq!(config.store.backend, Backend::Postgres);
    assert!(config.store.postgres.as_ref().is_some_and(|postgres| postgres.url.is_some()));
    assert!(config.vault.key.is_absolute() && config.vault.managed_key.is_absolute());
    assert_eq!(
        config.connectors.of("vault").iter().map(|one| one.canonical()).collect::<Vec<_>>(),
        ["postgres"]
    );
    let list = std::fs::read_to_string(overlay.join("kustomization.yaml")).unwrap();
    for name in ["gateway", "agent", "memory", "llm", "security", "compute", "observability"] {
        assert!(list.contains(&format!("name: sre-{name}, count: 2")), "{name}");
    }
}

/// The door for links to files: reached through a Service of its own, and never that of the API (services.md H22).
#[test]
fn deployment_files_open_the_files_door() {
    let base = root().join("deploy/kustomize/base");
    let config = Config::load(LoadOptions::defaults().file(base.join("sre.toml"))).unwrap();
    let io = std::fs::read_to_string(base.join("io.yaml")).unwrap();
    let port = config.files.listen.port();
    assert!(config.files.enabled && !config.files.listen.ip().is_loopback());
    assert!(io.contains(&format!("{{ name: files, containerPort: {port} }}")), "the door listens on {port}");
    let service =
        io.split("---").find(|part| part.contains("name: sre-files\n")).expect("no Service sre-files");
    assert!(service.contains("kind: Service") && service.contains("targetPort: files"), "{service}");
    let others = Role::ALL.into_iter().filter_map(|role| config.listen.of(role)).map(|other| other.port());
    assert!(!others.chain([config.admin.listen.port()]).any(|other| other == port), "{port} is another's");
    let tls = config.files.tls.as_ref().expect("browsers are served over TLS");
    for path in [&tls.cert, &tls.key] {
        let folder = path.parent().unwrap().display().to_string();
        assert!(
            io.contains(&format!("mountPath: {folder}, readOnly: true")),
            "nothing is mounted at {folder}"
        );
    }
    assert!(config.files.base_url.as_ref().unwrap().starts_with("https://"));
}

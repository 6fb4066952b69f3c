use std::path::PathBuf;

use sre_store::{Migration, OpenOptions, Store};

use super::*;
use crate::cli::exit::{self, Exit};

const WORDS: &str = "correct horse battery";

/// A data folder as a stopped suite leaves it: a store, objects that it names and one that it does not, the sealed
/// vault, keys, and what is made anew at each start.
struct Folder {
    root: tempfile::TempDir,
    config: sre_service::Config,
}

static IO: &[Migration] = &[Migration {
    version: 1,
    name: "files",
    expand: "create table file (name text primary key, object text not null) strict",
    contract: None,
}];

impl Folder {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let config = sre_service::Config::in_dir(root.path().join("data"));
        let store = Store::open(OpenOptions::new(config.store_dir().join("io.db"), "store.dir", IO)).unwrap();
        store
            .write(|tx| Ok(tx.execute("insert into file values ('a', 'aabb'), ('b', 'ccdd')", [])?))
            .await
            .unwrap();
        store.close().await.unwrap();
        let folder = Self { root, config };
        for (path, content) in [
            ("objects/aa/aabb", "one"),
            ("objects/cc/ccdd", "two"),
            ("objects/ee/eeff", "on its way out"),
            ("objects/ee/ee11.part", "on its way in"),
            ("vault.enc", "sealed"),
            ("keys/vault.key", "secret"),
            ("certs/ca.pem", "public"),
            ("run/endpoints.toml", "gone"),
            ("logs/io.log", "gone"),
        ] {
            folder.put(path, content);
        }
        folder
    }

    fn put(&self, path: &str, content: &str) {
        files::write_whole(&self.config.data_dir.join(path), content.as_bytes()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn take(&self, to: &str, passphrase: Option<&Passphrase>) -> anyhow::Result<Taken> {
        take(&Backup { config: &self.config, to: &self.path(to), passphrase })
    }

    fn restore(
        &self,
        from: &str,
        to: &str,
        passphrase: Option<&Passphrase>,
        replace: bool,
    ) -> anyhow::Result<Restored> {
        let config = sre_service::Config::in_dir(self.path(to));
        restore(&Restore { config: &config, from: &self.path(from), passphrase, replace })
    }
}

fn text(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn what_was_taken_comes_back() {
    let folder = Folder::new().await;
    let words = Passphrase::new(WORDS).unwrap();
    let taken = folder.take("copy", Some(&words)).unwrap();
    assert_eq!((taken.stores, taken.files, taken.keys), (1, 3, 2));
    assert!(!folder.path("copy/data/keys").exists() && !folder.path("copy/data/certs").exists());
    let sealed = std::fs::read(folder.path("copy/keys.sealed")).unwrap();
    assert!(!sealed.windows(6).any(|bytes| bytes == b"secret" || bytes == b"c2Vjcm"), "keys lie open");

    let restored = folder.restore("copy", "back", Some(&words), false).unwrap();
    assert_eq!((restored.keys, restored.moved_to), (2, None));
    for (path, content) in [
        ("objects/aa/aabb", "one"),
        ("objects/cc/ccdd", "two"),
        ("vault.enc", "sealed"),
        ("keys/vault.key", "secret"),
        ("certs/ca.pem", "public"),
    ] {
        assert_eq!(text(folder.path("back").join(path)), content, "{path}");
    }
    // No row names it, and nobody would remove it.
    for gone in ["objects/ee", "run", "logs"] {
        assert!(!folder.path("back").join(gone).exists(), "{gone}");
    }
    let options = OpenOptions::new(folder.path("back/store/io.db"), "store.dir", IO);
    let store = Store::open(options).unwrap();
    let count: i64 = store
        .read(|conn| Ok(conn.query_row("select count(*) from file", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(count, 2);
}

#[tokio::test]
async fn a_flipped_byte_is_named_and_nothing_is_restored() {
    let folder = Folder::new().await;
    folder.take("copy", None).unwrap();
    let manifest = verify(&folder.path("copy")).unwrap();
    let paths: Vec<String> = manifest.files.iter().map(|entry| entry.path.clone()).collect();
    for path in &paths {
        let file = folder.path("copy").join(path);
        let whole = std::fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let error = folder.restore("copy", "back", None, false).unwrap_err();
        assert!(error.to_string().contains(&format!("{path} was changed")), "{error}");
        assert!(!folder.path("back").exists());
        std::fs::write(&file, &whole).unwrap();
    }
    std::fs::remove_file(folder.path("copy").join(&paths[0])).unwrap();
    assert!(verify(&folder.path("copy")).unwrap_err().to_string().contains(&paths[0]));
    // The manifest itself.
    let file = folder.path("copy/manifest.json");
    std::fs::write(&file, text(file.clone()).replace("sre.local", "sre.lokal")).unwrap();
    assert!(verify(&folder.path("copy")).unwrap_err().to_string().contains("manifest.json"));
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let folder = Folder::new().await;
    folder.take("copy", None).unwrap();
    let again = folder.take("copy", None).unwrap_err();
    assert_eq!(exit::code(&again), Exit::Usage, "{again}");
    let inside = folder.take("data/copy", None).unwrap_err();
    assert_eq!(exit::code(&inside), Exit::Usage, "{inside}");

    std::fs::create_dir(folder.path("back")).unwrap();
    folder.restore("copy", "back", None, false).unwrap();
    let refused = folder.restore("copy", "back", None, false).unwrap_err();
    assert!(refused.to_string().contains("is not empty"), "{refused}");
    std::fs::write(folder.path("back/mine"), "mine").unwrap();
    let aside = folder.restore("copy", "back", None, true).unwrap().moved_to.unwrap();
    assert_eq!(text(aside.join("mine")), "mine");
    assert!(!folder.path("back/mine").exists());
    assert_eq!(text(folder.path("back/vault.enc")), "sealed");
}

#[tokio::test]
async fn a_folder_that_a_suite_runs_on_is_not_replaced() {
    let folder = Folder::new().await;
    folder.take("copy", None).unwrap();
    let options = OpenOptions::new(folder.config.store_dir().join("io.db"), "store.dir", IO);
    let running = Store::open(options).unwrap();
    let refused = folder.restore("copy", "data", None, true).unwrap_err();
    assert!(refused.to_string().contains("a suite runs on"), "{refused}");
    drop(running);
    assert!(folder.restore("copy", "data", None, true).is_ok());
}

#[tokio::test]
async fn keys_need_their_passphrase() {
    let folder = Folder::new().await;
    assert!(Passphrase::new("too short").is_err());
    folder.take("copy", Some(&Passphrase::new(WORDS).unwrap())).unwrap();
    let other = Passphrase::new("another passphrase").unwrap();
    let refused = folder.restore("copy", "back", Some(&other), false).unwrap_err();
    assert!(refused.to_string().contains("the passphrase is another one"), "{refused}");
    assert!(!folder.path("back").exists());
    assert_eq!(folder.restore("copy", "back", None, false).unwrap().keys, 0);
    assert!(!folder.path("back/keys").exists());
}

/// A row whose bytes are gone for good is no backup; it is not taken for one.
#[tokio::test]
async fn missing_bytes_are_named() {
    let folder = Folder::new().await;
    std::fs::remove_file(folder.config.data_dir.join("objects/cc/ccdd")).unwrap();
    let refused = folder.take("copy", None).unwrap_err();
    assert!(refused.to_string().contains("objects/cc/ccdd"), "{refused}");
    assert!(!folder.path("copy/manifest.json").exists(), "what is not whole has no manifest");
}

//! `sre backup` and `sre restore`.

use anyhow::Result;
use serde_json::{Value, json};

use crate::backup::{self, Keys, Manifest, Passphrase};
use crate::cli::args::{Backup, Global, Restore};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::settings;

/// `sre backup`.
pub async fn take(global: &Global, arguments: Backup) -> Result<()> {
    let config = settings::load(global, Vec::new())?;
    let passphrase = arguments.keys.passphrase_file.as_deref().map(Passphrase::read).transpose()?;
    let progress = Progress::start("copying");
    let folder = arguments.folder.clone();
    let taken = blocking(move || {
        backup::take(&backup::Backup { config: &config, to: &folder, passphrase: passphrase.as_ref() })
    })
    .await?;
    drop(progress);
    let mut rows = vec![
        ("folder", json!(arguments.folder.display().to_string())),
        ("began", json!(taken.manifest.began)),
        ("stores", json!(taken.stores)),
        ("files", json!(taken.files)),
        ("bytes", json!(taken.bytes)),
        ("keys", keys(&taken.manifest, taken.keys)),
    ];
    rows.extend(elsewhere(&taken.manifest));
    Output::new(global.format()).record(rows);
    Ok(())
}

/// `sre restore`.
pub async fn restore(global: &Global, arguments: Restore) -> Result<()> {
    let output = Output::new(global.format());
    let folder = arguments.folder.clone();
    if arguments.verify {
        let manifest = blocking(move || backup::verify(&folder)).await?;
        let mut rows = vec![("began", json!(manifest.began)), ("files", json!(manifest.files.len()))];
        rows.push(("keys", json!(manifest.keys)));
        rows.extend(elsewhere(&manifest));
        output.record(rows);
        return Ok(());
    }
    if arguments.passphrase_file.is_none() && !arguments.without_keys {
        return Err(Failure::usage("say --passphrase-file FILE for the sealed keys, or --without-keys"));
    }
    let config = settings::load(global, Vec::new())?;
    let passphrase = arguments.passphrase_file.as_deref().map(Passphrase::read).transpose()?;
    let (data_dir, replace) = (config.data_dir.clone(), arguments.replace);
    let progress = Progress::start("restoring");
    let restored = blocking(move || {
        let passphrase = passphrase.as_ref();
        backup::restore(&backup::Restore { config: &config, from: &folder, passphrase, replace })
    })
    .await?;
    drop(progress);
    let mut rows = vec![
        ("folder", json!(data_dir.display().to_string())),
        ("began", json!(restored.manifest.began)),
        ("files", json!(restored.manifest.files.len())),
        ("keys", keys(&restored.manifest, restored.keys)),
    ];
    if let Some(aside) = &restored.moved_to {
        rows.push(("moved aside", json!(aside.display().to_string())));
    }
    rows.extend(elsewhere(&restored.manifest));
    output.record(rows);
    Ok(())
}

/// What a person must know about the keys.
fn keys(manifest: &Manifest, count: usize) -> Value {
    match (manifest.keys, count) {
        (Keys::LeftOut, _) => json!("left out: without keys/vault.key the secrets cannot be read"),
        (Keys::Sealed, 0) => json!("sealed in the backup, and not restored"),
        (Keys::Sealed, count) => {
            json!(format!("{count}, sealed: vault key, certificates with their authority, API keys"))
        }
    }
}

fn elsewhere(manifest: &Manifest) -> Vec<(&'static str, Value)> {
    manifest.elsewhere.iter().map(|note| ("not included", json!(note))).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

//! The key files of the configuration, protected as it says.

use std::path::Path;

use anyhow::Context;
use sre_service::Config;

use super::keks::Keks;
use super::key_file::KeyFile;
use super::key_protection::Protection;

/// The keys of a file. Makes one where neither it nor `sealed` exists.
pub async fn open(config: &Config, file: &Path, sealed: Option<&Path>) -> anyhow::Result<Keks> {
    let path = config.in_data_dir(file);
    let protection = protection(config).await.context("vault.transit")?;
    Ok(Keks::open(KeyFile::new(&path, protection), sealed).await?)
}

async fn protection(config: &Config) -> anyhow::Result<Protection> {
    let vault = &config.vault;
    match (&vault.passphrase, &vault.transit) {
        (None, None) => Ok(Protection::Mode),
        (Some(passphrase), None) => {
            anyhow::ensure!(!passphrase.is_empty(), "vault.passphrase is empty: set one, or leave it out");
            Ok(Protection::Passphrase(passphrase.as_str().into()))
        }
        (None, Some(settings)) => remote(settings, &config.data_dir).await,
        (Some(_), Some(_)) => {
            anyhow::bail!("vault.passphrase and vault.transit are both set: key files have one protection")
        }
    }
}

#[cfg(feature = "hashicorp")]
async fn remote(
    settings: &serde_json::Map<String, serde_json::Value>,
    data_dir: &Path,
) -> anyhow::Result<Protection> {
    let transit = crate::hashicorp::transit::Transit::open(settings, data_dir).await?;
    Ok(Protection::Remote(std::sync::Arc::new(transit)))
}

#[cfg(not(feature = "hashicorp"))]
async fn remote(_: &serde_json::Map<String, serde_json::Value>, _: &Path) -> anyhow::Result<Protection> {
    let (name, feature) = ("transit", "sre-security/hashicorp");
    Err(sre_service::connectors::CompiledOut { name, feature }.into())
}

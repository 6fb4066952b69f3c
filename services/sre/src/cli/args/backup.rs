//! `sre backup` and `sre restore`.

use std::path::PathBuf;

use clap::Args;

/// `sre backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// The folder of the backup: new, or empty.
    pub folder: PathBuf,
    /// How the keys are kept.
    #[command(flatten)]
    pub keys: BackupKeys,
}

/// What becomes of keys.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct BackupKeys {
    /// Seals the keys under the passphrase in the first line of this file.
    #[arg(long, value_name = "FILE", env = "SRE_BACKUP_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Leaves the keys out: they are kept elsewhere.
    #[arg(long)]
    pub without_keys: bool,
}

/// `sre restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The folder of the backup.
    pub folder: PathBuf,
    /// Opens the keys with the passphrase in the first line of this file.
    #[arg(long, value_name = "FILE", env = "SRE_BACKUP_PASSPHRASE_FILE", conflicts_with = "without_keys")]
    pub passphrase_file: Option<PathBuf>,
    /// Restores without keys: they are brought back from elsewhere.
    #[arg(long)]
    pub without_keys: bool,
    /// Moves aside what is in the data folder; otherwise it must be new or empty.
    #[arg(long)]
    pub replace: bool,
    /// Compares the backup with its digests and restores nothing.
    #[arg(long)]
    pub verify: bool,
}

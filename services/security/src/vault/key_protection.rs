//! What protects a key file besides its mode: nothing, a passphrase (Argon2id), or a key of a HashiCorp Vault
//! (its transit engine) that never leaves there.
//!
//! Either way the file holds a random key that seals; the protection wraps that. So a passphrase can be changed
//! without touching a secret, and the vault needs the other side only when it starts or rotates.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::envelope::{self, Kek};

const PASSPHRASE: &str = "argon2id";
const REMOTE: &str = "remote";
/// What binds a wrapped key to its use.
const PLACE: &[u8] = b"sre-vault-key|1";
/// 64 MiB, three passes, one lane.
const COST: Cost = Cost { memory_kib: 64 << 10, passes: 3, lanes: 1 };
/// What a file may ask for at most: it must not exhaust the machine.
const MAX_COST: Cost = Cost { memory_kib: 1 << 20, passes: 16, lanes: 16 };

#[derive(Clone, Copy)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Somebody else's key that wraps ours.
#[async_trait]
pub trait Wrapper: Send + Sync {
    /// Wraps a key; the text has no line end.
    async fn wrap(&self, key: &[u8; 32]) -> Result<String, String>;
    /// Opens what [`Self::wrap`] gave.
    async fn unwrap(&self, text: &str) -> Result<Zeroizing<Vec<u8>>, String>;
}

/// How the lines of a key file are protected.
#[derive(Clone)]
pub enum Protection {
    /// By the file's mode alone.
    Mode,
    /// By a passphrase.
    Passphrase(SecretString),
    /// By a key elsewhere.
    Remote(Arc<dyn Wrapper>),
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mode => "Mode",
            Self::Passphrase(_) => "Passphrase(..)",
            Self::Remote(_) => "Remote(..)",
        })
    }
}

impl Protection {
    /// A key as a line of the file.
    pub async fn protect(&self, kek: &Kek) -> Result<Zeroizing<String>, String> {
        match self {
            Self::Mode => Ok(Zeroizing::new(hex::encode(kek.expose()))),
            Self::Passphrase(passphrase) => {
                let (passphrase, kek) = (passphrase.clone(), kek.clone());
                expensive(move || seal(&passphrase, &kek)).await
            }
            Self::Remote(wrapper) => {
                Ok(Zeroizing::new(format!("{REMOTE}${}", wrapper.wrap(kek.expose()).await?)))
            }
        }
    }

    /// The key of a line. One that is not protected yet is taken too: the next rotation protects it.
    pub async fn expose(&self, line: &str) -> Result<Kek, String> {
        match (line.split_once('$'), self) {
            (None, _) => Ok(Self::plain(line)?),
            (Some((PASSPHRASE, rest)), Self::Passphrase(passphrase)) => {
                let (passphrase, rest) = (passphrase.clone(), rest.to_owned());
                expensive(move || unseal(&passphrase, &rest)).await
            }
            (Some((PASSPHRASE, _)), _) => Err("it is protected by a passphrase: set vault.passphrase".into()),
            (Some((REMOTE, rest)), Self::Remote(wrapper)) => {
                let bytes = wrapper.unwrap(rest).await?;
                Ok(Kek::new(sized(&bytes)?))
            }
            (Some((REMOTE, _)), _) => Err("it is wrapped by a transit key: set vault.transit".into()),
            _ => Err("it has another form: restore it from a backup".into()),
        }
    }

    /// The key of a line that is not protected.
    pub fn plain(line: &str) -> Result<Kek, &'static str> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(line, bytes.as_mut_slice())
            .map_err(|_| "it is not 64 hex digits: restore it from a backup")?;
        Ok(Kek::new(bytes))
    }
}

/// Argon2 takes a good part of a second and 64 MiB.
async fn expensive<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

fn derive(passphrase: &SecretString, salt: &[u8], cost: Cost) -> Result<Zeroizing<[u8; 32]>, String> {
    let params =
        Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|e| e.to_string())?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose_secret().as_bytes(), salt, key.as_mut_slice())
        .map_err(|error| error.to_string())?;
    Ok(key)
}

fn seal(passphrase: &SecretString, kek: &Kek) -> Result<Zeroizing<String>, String> {
    let mut salt = [0; 16];
    envelope::fill(&mut salt).map_err(|error| error.to_string())?;
    let key = derive(passphrase, &salt, COST)?;
    let (nonce, wrapped) =
        envelope::encrypt(&key, PLACE, kek.expose().as_slice()).map_err(|error| error.to_string())?;
    let Cost { memory_kib, passes, lanes } = COST;
    let sealed = STANDARD.encode([nonce, wrapped].concat());
    Ok(Zeroizing::new(format!(
        "{PASSPHRASE}${memory_kib}${passes}${lanes}${}${sealed}",
        STANDARD.encode(salt)
    )))
}

fn unseal(passphrase: &SecretString, rest: &str) -> Result<Kek, String> {
    let damaged = || "it is damaged: restore it from a backup".to_owned();
    let parts: Vec<&str> = rest.split('$').collect();
    let [memory, passes, lanes, salt, sealed] = parts.as_slice() else { return Err(damaged()) };
    let number = |text: &str, max: u32| {
        text.parse().ok().filter(|number| (1..=max).contains(number)).ok_or_else(damaged)
    };
    let cost = Cost {
        memory_kib: number(memory, MAX_COST.memory_kib)?,
        passes: number(passes, MAX_COST.passes)?,
        lanes: number(lanes, MAX_COST.lanes)?,
    };
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| damaged());
    let (salt, sealed) = (decode(salt)?, decode(sealed)?);
    let (nonce, wrapped) = sealed.split_at_checked(24).ok_or_else(damaged)?;
    let key = derive(passphrase, &salt, cost)?;
    let bytes = envelope::decrypt(&key, PLACE, nonce, wrapped)
        .map_err(|_| "the passphrase is another one, or the file was changed".to_owned())?;
    Ok(Kek::new(sized(&bytes)?))
}

fn sized(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, String> {
    let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| "the key does not have 32 bytes".to_owned())?;
    Ok(Zeroizing::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_passphrase_opens_its_own_line_alone() {
        let kek = Kek::generate().unwrap();
        let right = Protection::Passphrase("correct horse".into());
        let line = right.protect(&kek).await.unwrap();
        assert!(line.starts_with("argon2id$65536$3$1$"));
        assert!(!line.contains(&hex::encode(kek.expose())));
        assert_eq!(right.expose(&line).await.unwrap().id(), kek.id());
        let wrong = Protection::Passphrase("wrong horse".into());
        assert!(wrong.expose(&line).await.unwrap_err().contains("passphrase is another"));
        assert!(Protection::Mode.expose(&line).await.unwrap_err().contains("vault.passphrase"));
    }

    #[tokio::test]
    async fn a_line_cannot_ask_for_all_memory() {
        let passphrase = Protection::Passphrase("p".into());
        let line =
            format!("argon2id$4294967295$3$1${}${}", STANDARD.encode([0; 16]), STANDARD.encode([0; 64]));
        assert!(passphrase.expose(&line).await.unwrap_err().contains("damaged"));
    }

    #[tokio::test]
    async fn a_line_without_protection_is_taken_over() {
        let kek = Kek::generate().unwrap();
        let plain = Protection::Mode.protect(&kek).await.unwrap();
        let passphrase = Protection::Passphrase("p".into());
        assert_eq!(passphrase.expose(&plain).await.unwrap().id(), kek.id());
        assert!(Protection::Mode.expose("07").await.is_err());
    }
}

//! `[files]`: the door that serves signed links to files, and how links are signed.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HttpTls;

/// The door of the role `io` that serves signed links to files. It must have an origin (host name and port) of
/// its own: what agents stored is served from it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FilesDoor {
    /// Its address. Plain HTTP is served on loopback addresses only.
    pub listen: SocketAddr,
    /// Whether there is a door at all. Without one no links are made.
    pub enabled: bool,
    /// The server's certificate. Required unless `listen` is a loopback address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<HttpTls>,
    /// What links begin with, `https://files.example.com`: the name under which the door is reached from
    /// outside. Its own address where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// How long a key signs links, in days; a new one then takes its place. Links that were signed with it stay
    /// valid to their end.
    pub key_days: u32,
}

impl Default for FilesDoor {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            enabled: true,
            tls: None,
            base_url: None,
            key_days: 7,
        }
    }
}

impl FilesDoor {
    /// How long a key signs links.
    pub fn key_time(&self) -> Duration {
        Duration::from_secs(u64::from(self.key_days) * 24 * 60 * 60)
    }
}

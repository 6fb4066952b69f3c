//! What servers said their tools are, for a while: by server and by who asks. A server that says that its list
//! changed is asked again.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::Server;
use super::tools::Named;
use crate::context::Call;
use crate::oauth;
use crate::toolbox::About;

/// Lists that are kept.
const LISTS: u64 = 1_000;
/// How long.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// What a server said.
#[derive(Debug)]
pub(super) struct Listed {
    pub tools: Vec<Named>,
    pub about: About,
}

/// Stands for a server and who asks it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Arc<str>);

static CACHE: LazyLock<moka::sync::Cache<Key, Arc<Listed>>> =
    LazyLock::new(|| moka::sync::Cache::builder().max_capacity(LISTS).time_to_live(KEPT).build());

impl Key {
    /// The key of a server for the running agent and its credentials, none of which can be read from it.
    pub fn of(call: Call<'_>, server: &Server) -> Self {
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        part(call.context.agent().name.as_bytes());
        let none = HeaderMap::new();
        let headers = match server {
            Server::Http { url, headers } => {
                part(url.as_str().as_bytes());
                // Its tokens come and go; who it is stays.
                part(oauth::settings::key(call).unwrap_or_default().as_bytes());
                headers
            }
            Server::Command { name, .. } => {
                part(b"command");
                part(name.as_bytes());
                &none
            }
        };
        for (name, value) in headers {
            part(name.as_str().as_bytes());
            part(value.as_bytes());
        }
        Self(hex::encode(digest.finalize()).into())
    }

    pub fn get(&self) -> Option<Arc<Listed>> {
        CACHE.get(self)
    }

    pub fn put(&self, listed: Arc<Listed>) {
        CACHE.insert(self.clone(), listed);
    }

    pub fn forget(&self) {
        CACHE.invalidate(self);
    }
}

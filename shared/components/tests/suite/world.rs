//! What a test's components find outside: a managed vault, links to files, deployed code, in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sre_components::ContextError;
use sre_components::Failure;
use sre_components::context::code::{Deployable, DeployedCode};
use sre_components::context::links::{FileLinks, Link};
use sre_components::context::managed::{Kept, ManagedSecrets};
use sre_components::context::web::{Places, Scraper};
use sre_proto::compute::v1::{CloudAccount, ExecuteCodeResponse};
use tokio::time::Instant;
use zeroize::Zeroizing;

struct Secret {
    value: Vec<u8>,
    version: i64,
    until: Option<Instant>,
}

/// A managed vault whose versions grow over all keys.
#[derive(Default)]
pub struct Vault {
    secrets: Mutex<BTreeMap<String, Secret>>,
    versions: Mutex<i64>,
}

impl Vault {
    pub fn put(&self, key: &str, value: &str) {
        let mut versions = self.versions.lock();
        *versions += 1;
        let secret = Secret { value: value.into(), version: *versions, until: None };
        self.secrets.lock().insert(key.into(), secret);
    }

    pub fn read(&self, key: &str) -> Option<String> {
        self.secrets.lock().get(key).map(|secret| String::from_utf8(secret.value.clone()).unwrap())
    }

    pub fn keys(&self) -> Vec<String> {
        self.secrets.lock().keys().cloned().collect()
    }
}

#[async_trait]
impl ManagedSecrets for Vault {
    async fn get(&self, key: &str) -> Result<Option<Kept>, ContextError> {
        let secrets = self.secrets.lock();
        let found = secrets.get(key).filter(|secret| secret.until.is_none_or(|until| until > Instant::now()));
        Ok(found.map(|secret| Kept { value: Zeroizing::new(secret.value.clone()), version: secret.version }))
    }

    async fn replace(
        &self,
        key: &str,
        version: i64,
        value: Zeroizing<Vec<u8>>,
        lives: Option<Duration>,
    ) -> Result<bool, ContextError> {
        let mut secrets = self.secrets.lock();
        let now = Instant::now();
        let there = secrets.get(key).filter(|secret| secret.until.is_none_or(|until| until > now));
        if there.map_or(0, |secret| secret.version) != version {
            return Ok(false);
        }
        let mut versions = self.versions.lock();
        *versions += 1;
        let until = lives.map(|lives| now + lives);
        secrets.insert(key.into(), Secret { value: value.to_vec(), version: *versions, until });
        Ok(true)
    }

    async fn forget(&self, key: &str) -> Result<(), ContextError> {
        self.secrets.lock().remove(key);
        Ok(())
    }
}

/// Links to the files of one test: made, and which of them were ended.
#[derive(Default)]
pub struct Doors {
    pub known: Mutex<Vec<String>>,
    pub made: Mutex<Vec<String>>,
    pub ended: Mutex<Vec<String>>,
}

#[async_trait]
impl FileLinks for Doors {
    async fn link(&self, uri: &str) -> Result<Link, ContextError> {
        if !self.known.lock().iter().any(|known| known == uri) {
            return Err(ContextError::new(Failure::Denied, "Access Denied"));
        }
        let mut made = self.made.lock();
        let id = format!("link-{}", made.len());
        made.push(id.clone());
        Ok(Link { url: format!("http://files.example/{id}?token=t"), id, file: uri.to_owned() })
    }

    async fn end(&self, link: &Link) -> Result<(), ContextError> {
        self.ended.lock().push(link.id.clone());
        Ok(())
    }
}

/// Code that answers what a test says.
#[derive(Default)]
pub struct Deployed {
    pub ran: Mutex<Vec<(String, String, String, String)>>,
    /// The account of each that ran.
    pub accounts: Mutex<Vec<Option<CloudAccount>>>,
    pub answers: Mutex<Vec<Result<ExecuteCodeResponse, String>>>,
}

#[async_trait]
impl DeployedCode for Deployed {
    async fn run(
        &self,
        code: Deployable<'_>,
        arguments: Vec<u8>,
    ) -> Result<ExecuteCodeResponse, ContextError> {
        let arguments = String::from_utf8(arguments).unwrap();
        self.ran.lock().push((code.name.into(), code.source.into(), code.instance.into(), arguments));
        self.accounts.lock().push(code.account.cloned());
        let answer = self.answers.lock().pop().unwrap_or_else(|| Err("nothing to answer".to_owned()));
        answer.map_err(|message| ContextError::new(Failure::Invalid, message))
    }
}

/// All services of the web at one address.
pub fn places(base: &str, scraper: Scraper) -> Places {
    let at = |path: &str| format!("{base}{path}").parse().unwrap();
    Places {
        tavily: at("/tavily"),
        scrapfly: at("/scrapfly"),
        scraper,
        huggingface: at("/hf"),
        zapier: at("/zapier"),
        google: at("/google"),
        graph: at("/graph"),
    }
}

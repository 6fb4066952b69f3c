//! What an operator writes.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use crate::RedisError;

/// A Redis: a `url`, or `hosts`. Parts that are given win over the URL's.
///
/// One host is the server itself; with `name` the hosts are Sentinels that know the master of that name; with
/// `cluster` they are nodes of a cluster. The reference's settings (`hosts`, `name`, `password`) mean the same.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://user:password@host:port/db`, or `rediss://` for TLS.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// The server, the Sentinels, or some nodes of the cluster: `"host:port,host:port"` or a list. The port is
    /// 6379 where none is given, and 26379 for Sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// The name of the master that the hosts, which are Sentinels, watch.
    #[serde(skip_serializing_if = "Option::is_none", alias = "master_name")]
    pub name: Option<String>,
    /// Whether the hosts are nodes of a cluster.
    pub cluster: bool,
    /// The user; `default` where absent.
    #[serde(skip_serializing_if = "Option::is_none", alias = "user")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// The user at the Sentinels, where they ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// The password at the Sentinels.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub sentinel_password: Option<SecretString>,
    /// The number of the database; 0 where absent. A cluster has only that.
    #[serde(skip_serializing_if = "Option::is_none", alias = "database")]
    pub db: Option<i64>,
    /// Whether to speak TLS, with a verified server certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// A file with a PEM certificate to show, where the server asks for one. Needs `tls_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// The file with that certificate's PEM key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// What all keys begin with, so that several deployments can share a server; `sre` where absent.
    pub prefix: String,
    /// Connections to keep. Calls share them.
    pub connections: usize,
    /// Calls that may be under way at once; more wait, and are refused at their deadline.
    pub max_in_flight: usize,
    /// How long opening a connection may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a call may take, with all that it waits for, in milliseconds.
    pub command_timeout_ms: u64,
    /// How long a call that could not be sent, or that met a server which is no master any more, is tried again,
    /// in milliseconds. A failover shorter than this is not seen by callers.
    pub retry_ms: u64,
}

/// Some addresses, in any of the reference's forms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Hosts {
    /// `host:port,host:port`.
    Text(String),
    /// One by one.
    List(Vec<Host>),
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Host {
    /// `host:port`.
    Text(String),
    /// Its parts.
    Parts {
        /// Name or address.
        host: String,
        /// The port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: None,
            hosts: None,
            name: None,
            cluster: false,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            db: None,
            tls: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            prefix: "sre".to_owned(),
            connections: 2,
            max_in_flight: 1024,
            connect_timeout_ms: 2_000,
            command_timeout_ms: 5_000,
            retry_ms: 1_000,
        }
    }
}

impl RedisSettings {
    /// A server by its URL.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(SecretString::from(url.into())), ..Self::default() }
    }

    /// Checks the settings without connecting.
    pub fn check(&self) -> Result<(), RedisError> {
        crate::address::Target::of(self)?;
        let wrong = |problem: &str| Err(RedisError::Settings(problem.to_owned()));
        if self.prefix.is_empty() || self.prefix.contains(['{', '}', '*', '?']) {
            return wrong("prefix must not be empty and has no braces, * or ?: write a word, such as sre");
        }
        if self.connections == 0 || self.max_in_flight == 0 {
            return wrong("connections and max_in_flight must be at least 1");
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return wrong("tls_cert and tls_key belong together: give both or neither");
        }
        Ok(())
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.max(1))
    }

    pub(crate) fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms.max(1))
    }

    pub(crate) fn retry(&self) -> Duration {
        Duration::from_millis(self.retry_ms)
    }
}

/// Secrets are never written out.
fn redacted<S: Serializer>(_: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("***")
}

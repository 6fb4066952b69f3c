//! Where the database is and how long to wait for it.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::StoreError;

/// A PostgreSQL database: a `url`, or its parts. Parts that are given win over the URL's.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PgConfig {
    /// `postgres://user:password@host:port/dbname`. TLS is decided by `tls`, whatever the URL says.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// The host name, address, or folder of the Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port; 5432 when neither this nor the URL has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The role to connect as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The role's password.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// The database; named like the role when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dbname: Option<String>,
    /// The schema that holds this service's tables, created when missing, so that several services can
    /// share a database. Without it, the role's own search path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The most connections that this process opens.
    pub pool_size: usize,
    /// How long a caller waits for a connection of the pool, in milliseconds.
    pub acquire_timeout_ms: u64,
    /// How long opening a connection may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long the server works on one statement, in milliseconds.
    pub statement_timeout_ms: u64,
    /// How long migrations may take, with the wait for another replica's, in milliseconds.
    pub migration_timeout_ms: u64,
    /// Encryption of the connection.
    pub tls: PgTls,
    /// A file of PEM certificates to trust instead of the system's, with `tls = "require"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// Settings of the server that the service's statements are written for, set on each connection.
    #[serde(skip)]
    #[schemars(skip)]
    pub session: &'static [(&'static str, &'static str)],
}

/// Encryption of the connection to the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PgTls {
    /// In clear: for a database on this machine.
    Disable,
    /// TLS with a verified server certificate.
    #[default]
    Require,
}

impl Default for PgConfig {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: None,
            user: None,
            password: None,
            dbname: None,
            schema: None,
            pool_size: 2 * std::thread::available_parallelism().map_or(4, usize::from),
            acquire_timeout_ms: 5_000,
            connect_timeout_ms: 5_000,
            statement_timeout_ms: 10_000,
            migration_timeout_ms: 600_000,
            tls: PgTls::default(),
            tls_ca: None,
            session: &[],
        }
    }
}

impl PgConfig {
    pub(super) fn acquire_timeout(&self) -> Duration {
        Duration::from_millis(self.acquire_timeout_ms)
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms)
    }

    pub(super) fn migration_timeout(&self) -> Duration {
        Duration::from_millis(self.migration_timeout_ms)
    }

    /// The driver's form of this. Errors never hold the URL: it may have a password.
    pub(super) fn driver(&self) -> Result<tokio_postgres::Config, StoreError> {
        let mut driver = match &self.url {
            Some(url) => url.expose_secret().parse::<tokio_postgres::Config>().map_err(|error| {
                StoreError::backend(format!("the url of the database cannot be read, correct it: {error}"))
            })?,
            None => tokio_postgres::Config::new(),
        };
        if self.host.is_some() || self.port.is_some() {
            driver = self.replace_address(&driver);
        }
        if let Some(user) = &self.user {
            driver.user(user);
        }
        if let Some(password) = &self.password {
            driver.password(password.expose_secret());
        }
        if let Some(dbname) = &self.dbname {
            driver.dbname(dbname);
        }
        if driver.get_hosts().is_empty() && driver.get_hostaddrs().is_empty() {
            return Err(StoreError::backend("the database has neither url nor host: set one"));
        }
        driver.options(self.session_options(driver.get_options())?);
        if driver.get_application_name().is_none() {
            driver.application_name("sre");
        }
        driver.ssl_mode(match self.tls {
            PgTls::Disable => tokio_postgres::config::SslMode::Disable,
            PgTls::Require => tokio_postgres::config::SslMode::Require,
        });
        driver.connect_timeout(self.connect_timeout());
        // A peer that vanished is noticed about when its statement would have timed out.
        driver.tcp_user_timeout(self.statement_timeout() + self.connect_timeout());
        driver.keepalives_idle(Duration::from_secs(30));
        Ok(driver)
    }

    /// The driver adds hosts and ports to a list and cannot take them back, so the rest is copied.
    fn replace_address(&self, from: &tokio_postgres::Config) -> tokio_postgres::Config {
        let mut driver = tokio_postgres::Config::new();
        if let Some(user) = from.get_user() {
            driver.user(user);
        }
        if let Some(password) = from.get_password() {
            driver.password(password);
        }
        if let Some(dbname) = from.get_dbname() {
            driver.dbname(dbname);
        }
        if let Some(options) = from.get_options() {
            driver.options(options);
        }
        if let Some(name) = from.get_application_name() {
            driver.application_name(name);
        }
        match &self.host {
            Some(host) => {
                driver.host(host);
            }
            None => {
                for host in from.get_hosts() {
                    match host {
                        tokio_postgres::config::Host::Tcp(name) => driver.host(name),
                        #[cfg(unix)]
                        tokio_postgres::config::Host::Unix(folder) => driver.host_path(folder),
                    };
                }
                for address in from.get_hostaddrs() {
                    driver.hostaddr(*address);
                }
            }
        }
        match self.port {
            Some(port) => {
                driver.port(port);
            }
            // Ports of several hosts do not fit one.
            None => {
                if let Some(port) = from.get_ports().first() {
                    driver.port(*port);
                }
            }
        }
        driver
    }

    fn session_options(&self, given: Option<&str>) -> Result<String, StoreError> {
        let mut options = given.map(|given| format!("{given} ")).unwrap_or_default();
        options.push_str(&format!("-c statement_timeout={}", self.statement_timeout_ms));
        if let Some(schema) = &self.schema {
            let first = |c: char| c.is_ascii_lowercase() || c == '_';
            let rest = |c: char| first(c) || c.is_ascii_digit();
            if schema.len() > 63 || !schema.starts_with(first) || !schema.chars().all(rest) {
                return Err(StoreError::backend(format!(
                    "schema {schema:?} is not a plain name: use up to 63 of a-z, 0-9 and _"
                )));
            }
            options.push_str(&format!(" -c search_path={schema}"));
        }
        for (name, value) in self.session {
            options.push_str(&format!(" -c {name}={value}"));
        }
        Ok(options)
    }

    /// The database's name for errors, without secrets.
    pub(super) fn name(&self) -> String {
        let schema = self.schema.as_ref().map(|schema| format!(", schema {schema}")).unwrap_or_default();
        let Ok(driver) = self.driver() else { return format!("postgres{schema}") };
        let host = driver.get_hosts().first().map(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            tokio_postgres::config::Host::Unix(folder) => folder.display().to_string(),
        });
        let host =
            host.or_else(|| driver.get_hostaddrs().first().map(ToString::to_string)).unwrap_or_default();
        let port = driver.get_ports().first().copied().unwrap_or(5432);
        let dbname = driver.get_dbname().or(driver.get_user()).unwrap_or_default();
        format!("postgres {host}:{port}/{dbname}{schema}")
    }
}

fn redacted<S: Serializer>(_: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("<redacted>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> PgConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn parts_win_over_the_url() {
        let config =
            config("url = 'postgres://ann:canary-1@db.example:6000/one'\nhost = 'other'\ndbname = 'two'");
        let driver = config.driver().unwrap();
        assert_eq!(driver.get_hosts(), [tokio_postgres::config::Host::Tcp("other".to_owned())]);
        assert_eq!((driver.get_ports(), driver.get_dbname()), (&[6000][..], Some("two")));
        assert_eq!(driver.get_password(), Some("canary-1".as_bytes()));
        assert_eq!(config.name(), "postgres other:6000/two");
    }

    #[test]
    fn secrets_are_neither_printed_nor_written_nor_in_errors() {
        let good = config("url = 'postgres://ann:canary-1@db/one'\npassword = 'canary-2'");
        let bad = config("url = 'postgres://ann:canary-1@db:notaport/one'");
        let shown = format!(
            "{good:?} {} {} {}",
            toml::to_string(&good).unwrap(),
            good.name(),
            bad.driver().unwrap_err()
        );
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("<redacted>"), "{shown}");
    }

    #[test]
    fn nothing_is_guessed() {
        assert!(config("").driver().unwrap_err().to_string().contains("neither url nor host"));
        assert!(config("host = 'x'\nschema = 'a; drop'").driver().is_err());
        assert!(toml::from_str::<PgConfig>("hots = 'x'").is_err());
        assert_eq!(config("host = 'x'").tls, PgTls::Require);
        let options = config("host = 'x'\nschema = 'memory'\nstatement_timeout_ms = 7").driver().unwrap();
        assert_eq!(options.get_options(), Some("-c statement_timeout=7 -c search_path=memory"));
    }
}

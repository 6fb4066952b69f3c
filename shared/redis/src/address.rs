//! From settings to addresses.

use secrecy::ExposeSecret;

use crate::RedisError;
use crate::settings::{Host, Hosts, RedisSettings};

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What the settings come to. Holds secrets: it has no `Debug`.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) topology: Topology,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) db: i64,
    pub(crate) tls: bool,
}

/// Host and port.
pub(crate) type Address = (String, u16);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topology {
    Single(Address),
    Sentinel { sentinels: Vec<Address>, master: String },
    Cluster(Vec<Address>),
}

impl Target {
    pub(crate) fn of(settings: &RedisSettings) -> Result<Self, RedisError> {
        let url = settings.url.as_ref().map(|url| Url::parse(url.expose_secret())).transpose()?;
        let default_port = if settings.name.is_some() { SENTINEL_PORT } else { REDIS_PORT };
        let mut addresses = match &settings.hosts {
            Some(hosts) => read_hosts(hosts, default_port)?,
            None => Vec::new(),
        };
        if let (true, Some(url)) = (addresses.is_empty(), &url) {
            addresses.push((url.host.clone(), url.port.unwrap_or(default_port)));
        }
        let topology = topology(settings, addresses)?;
        let url = url.unwrap_or_default();
        let db = settings.db.unwrap_or(url.db);
        if db < 0 || (db != 0 && matches!(topology, Topology::Cluster(_))) {
            return Err(wrong("db must not be negative, and is 0 in a cluster"));
        }
        let secret = |secret: &secrecy::SecretString| secret.expose_secret().to_owned();
        Ok(Self {
            topology,
            username: settings.username.clone().or(url.username),
            password: settings.password.as_ref().map(secret).or(url.password),
            db,
            tls: settings.tls.unwrap_or(url.tls || settings.tls_ca.is_some()),
        })
    }

    /// What errors and health call it: addresses, and nothing secret.
    pub(crate) fn name(&self) -> String {
        let list = |addresses: &[Address]| {
            addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
        };
        match &self.topology {
            Topology::Single(address) => format!("redis {}", list(std::slice::from_ref(address))),
            Topology::Sentinel { sentinels, master } => {
                format!("redis master {master} of sentinels {}", list(sentinels))
            }
            Topology::Cluster(nodes) => format!("redis cluster {}", list(nodes)),
        }
    }
}

fn topology(settings: &RedisSettings, mut addresses: Vec<Address>) -> Result<Topology, RedisError> {
    match (&settings.name, settings.cluster, addresses.len()) {
        (_, _, 0) => Err(wrong("neither url nor hosts is set: set one")),
        (Some(_), true, _) => Err(wrong("name is for sentinels and cluster for clusters: set one of them")),
        (Some(name), false, _) if name.is_empty() => Err(wrong("name is empty: give the master's name")),
        (Some(name), false, _) => Ok(Topology::Sentinel { sentinels: addresses, master: name.clone() }),
        (None, true, _) => Ok(Topology::Cluster(addresses)),
        (None, false, 1) => Ok(Topology::Single(addresses.remove(0))),
        (None, false, _) => Err(wrong(
            "several hosts are sentinels, which need the master's name, or a cluster: set name or cluster",
        )),
    }
}

fn read_hosts(hosts: &Hosts, default_port: u16) -> Result<Vec<Address>, RedisError> {
    match hosts {
        Hosts::Text(text) => text.split(',').map(|part| read_host(part, default_port)).collect(),
        Hosts::List(list) => list
            .iter()
            .map(|host| match host {
                Host::Text(text) => read_host(text, default_port),
                Host::Parts { host, port } => {
                    let (host, _) = read_host(host, default_port)?;
                    Ok((host, port.unwrap_or(default_port)))
                }
            })
            .collect(),
    }
}

/// `host`, `host:port`, `[::1]`, `[::1]:port` or an IPv6 address. D27: a port that is missing or no number is the
/// default or an error, never something else.
fn read_host(text: &str, default_port: u16) -> Result<Address, RedisError> {
    let text = text.trim();
    let bad = || wrong(&format!("hosts: {text:?} is no address: write host:port"));
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(bad)?;
        (host, after.strip_prefix(':').or(after.is_empty().then_some("")).ok_or_else(bad)?)
    } else if text.matches(':').count() > 1 {
        (text, "")
    } else {
        text.split_once(':').unwrap_or((text, ""))
    };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(bad());
    }
    let port = if port.is_empty() { default_port } else { port.parse().map_err(|_| bad())? };
    Ok((host.to_owned(), port))
}

#[derive(Default)]
struct Url {
    host: String,
    port: Option<u16>,
    username: Option<String>,
    password: Option<String>,
    db: i64,
    tls: bool,
}

impl Url {
    /// Errors never hold the URL: it may have a password.
    fn parse(text: &str) -> Result<Self, RedisError> {
        let url = redis::parse_redis_url(text)
            .ok_or_else(|| wrong("url cannot be read: write redis://user:password@host:port/db"))?;
        let tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            other => return Err(wrong(&format!("url: scheme {other} is not redis or rediss"))),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(wrong("url has no host: write redis://host:port"));
        }
        let db = match url.path().trim_matches('/') {
            "" => 0,
            db => db.parse().map_err(|_| wrong("url: the path is the number of the database, such as /0"))?,
        };
        let some = |text: &str| {
            let decoded = url::form_urlencoded::parse(format!("v={}", text.replace('+', "%2B")).as_bytes())
                .next()
                .map(|(_, value)| value.into_owned());
            decoded.filter(|text| !text.is_empty())
        };
        Ok(Self {
            host,
            port: url.port(),
            username: some(url.username()),
            password: url.password().and_then(some),
            db,
            tls,
        })
    }
}

fn wrong(problem: &str) -> RedisError {
    RedisError::Settings(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology_of(json: &str) -> Result<Topology, String> {
        let settings: RedisSettings = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Target::of(&settings).map(|target| target.topology).map_err(|error| error.to_string())
    }

    fn at(host: &str, port: u16) -> Address {
        (host.to_owned(), port)
    }

    /// D27: every form of the reference, ports that are missing, and all that a URL can say.
    #[test]
    fn d27_every_form_of_an_address_is_read() {
        let single = |json, host, port| assert_eq!(topology_of(json), Ok(Topology::Single(at(host, port))));
        single(r#"{"hosts": "cache"}"#, "cache", 6379);
        single(r#"{"hosts": "cache:7000"}"#, "cache", 7000);
        single(r#"{"hosts": ["[::1]:7000"]}"#, "::1", 7000);
        single(r#"{"hosts": ["::1"]}"#, "::1", 6379);
        single(r#"{"hosts": [{"host": "cache"}]}"#, "cache", 6379);
        single(r#"{"hosts": [{"host": "cache", "port": 7000}]}"#, "cache", 7000);
        single(r#"{"url": "redis://cache"}"#, "cache", 6379);
        single(r#"{"url": "rediss://[::1]:7000/3"}"#, "::1", 7000);
        let sentinels = Topology::Sentinel {
            sentinels: vec![at("a", 26379), at("b", 7000)],
            master: "mymaster".to_owned(),
        };
        assert_eq!(topology_of(r#"{"hosts": "a, b:7000", "name": "mymaster"}"#), Ok(sentinels));
        let cluster = Topology::Cluster(vec![at("a", 6379), at("b", 6379)]);
        assert_eq!(topology_of(r#"{"hosts": ["a", "b"], "cluster": true}"#), Ok(cluster));
        for wrong in [
            "{}",
            r#"{"hosts": ""}"#,
            r#"{"hosts": "a:port"}"#,
            r#"{"hosts": "a,b"}"#,
            r#"{"hosts": "a:99999"}"#,
            r#"{"hosts": "[::1"}"#,
            r#"{"url": "http://cache"}"#,
            r#"{"url": "redis://cache/db"}"#,
            r#"{"hosts": "a", "cluster": true, "db": 2}"#,
            r#"{"hosts": "a", "cluster": true, "name": "m"}"#,
            r#"{"host": "a"}"#,
        ] {
            assert!(topology_of(wrong).is_err(), "{wrong}");
        }
    }

    /// D27: user, password, TLS and database of the URL, and the single settings that win over them.
    #[test]
    fn d27_credentials_tls_and_database_are_read() {
        let settings = RedisSettings::at("rediss://me:p%40ss+word@cache:7000/3");
        let target = Target::of(&settings).unwrap();
        assert_eq!(target.username.as_deref(), Some("me"));
        assert_eq!(target.password.as_deref(), Some("p@ss+word"));
        assert_eq!((target.db, target.tls), (3, true));
        let over = RedisSettings {
            username: Some("you".into()),
            password: Some("other".to_owned().into()),
            db: Some(1),
            tls: Some(false),
            ..settings
        };
        let target = Target::of(&over).unwrap();
        assert_eq!(target.username.as_deref(), Some("you"));
        assert_eq!(target.password.as_deref(), Some("other"));
        assert_eq!((target.db, target.tls), (1, false));
        assert_eq!(target.name(), "redis cache:7000");
    }

    /// Neither errors nor printed settings show a password.
    #[test]
    fn secrets_are_not_shown() {
        let settings = RedisSettings {
            password: Some("hunter2".to_owned().into()),
            ..RedisSettings::at("redis://:hunter2@/x")
        };
        let shown = format!(
            "{settings:?} {} {}",
            serde_json::to_string(&settings).unwrap(),
            settings.check().unwrap_err()
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

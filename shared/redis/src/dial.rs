//! Opening connections.

use std::path::Path;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode, Value,
};
use secrecy::ExposeSecret;

use crate::address::{Address, Target, Topology};
use crate::{RedisError, RedisSettings};

/// A connection; clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(crate) async fn query<T: FromRedisValue>(&mut self, cmd: &Cmd) -> RedisResult<T> {
        let answer: RedisResult<Value> = match self {
            Self::One(connection) => connection.req_packed_command(cmd).await,
            Self::Cluster(connection) => connection.req_packed_command(cmd).await,
        };
        Ok(T::from_redis_value(answer?.extract_error()?)?)
    }
}

/// Knows where and how.
pub(crate) struct Dialer {
    target: Target,
    settings: RedisSettings,
    certificates: Option<TlsCertificates>,
}

impl Dialer {
    /// Reads the files that the settings name.
    pub(crate) fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        settings.check()?;
        let target = Target::of(settings)?;
        let certificates = target.tls.then(|| certificates(settings)).transpose()?;
        Ok(Self { target, settings: settings.clone(), certificates })
    }

    pub(crate) fn name(&self) -> String {
        self.target.name()
    }

    /// Opens a connection; the caller bounds its time.
    pub(crate) async fn dial(&self) -> RedisResult<Connection> {
        match &self.target.topology {
            Topology::Single(address) => {
                let client = self.client(address)?;
                Ok(Connection::One(
                    client.get_multiplexed_async_connection_with_config(&self.config()).await?,
                ))
            }
            Topology::Sentinel { sentinels, master } => {
                Ok(Connection::One(self.master(sentinels, master).await?))
            }
            Topology::Cluster(nodes) => Ok(Connection::Cluster(self.cluster(nodes).await?)),
        }
    }

    fn client(&self, address: &Address) -> RedisResult<Client> {
        let info = self.info(address)?;
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    /// Asks the Sentinels each time: after a failover the master is another one.
    async fn master(&self, sentinels: &[Address], master: &str) -> RedisResult<MultiplexedConnection> {
        let addresses = sentinels.iter().map(|address| self.addr(address));
        let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
            .set_client_to_redis_db(self.target.db);
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        if let Some(username) = &self.target.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.target.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(username) = &self.settings.sentinel_username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &self.settings.sentinel_password {
            builder = builder.set_client_to_sentinel_password(password.expose_secret());
        }
        builder.build()?.get_async_connection_with_config(&self.config()).await
    }

    async fn cluster(&self, nodes: &[Address]) -> RedisResult<ClusterConnection> {
        let nodes = nodes.iter().map(|node| self.info(node)).collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(self.settings.connect_timeout())
            .response_timeout(self.settings.command_timeout());
        if let Some(username) = &self.target.username {
            builder = builder.username(username.clone());
        }
        if let Some(password) = &self.target.password {
            builder = builder.password(password.clone());
        }
        if let Some(certificates) = &self.certificates {
            builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
        }
        builder.build()?.get_async_connection().await
    }

    fn info(&self, address: &Address) -> RedisResult<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default().set_db(self.target.db);
        if let Some(username) = &self.target.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.target.password {
            settings = settings.set_password(password);
        }
        Ok(self.addr(address).into_connection_info()?.set_redis_settings(settings))
    }

    fn addr(&self, (host, port): &Address) -> ConnectionAddr {
        if self.target.tls {
            let host = host.clone();
            ConnectionAddr::TcpTls { host, port: *port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        }
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout()))
            .set_response_timeout(Some(self.settings.command_timeout()))
    }
}

fn certificates(settings: &RedisSettings) -> Result<TlsCertificates, RedisError> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| RedisError::Settings(format!("{}: cannot be read: {error}", path.display())))
    };
    let root_cert = settings.tls_ca.as_deref().map(read).transpose()?;
    let client_tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        _ => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

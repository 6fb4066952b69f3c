//! Secrets out of process, over `sre.connector.v1.Vault`. The connector protects what it keeps, numbers the versions
//! and says who set them.

use std::sync::Arc;

use async_trait::async_trait;
use sre_proto::connector::v1 as pb;
use sre_proto::connector::v1::vault_client::VaultClient;
use sre_service::connectors::grpc::{ConnectorChannel, OutOfProcess, SILENCE, with_causes};
use sre_service::connectors::{Connector, Opening, Unhealthy};
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::moment::Moment;
use crate::vault::secret::SecretValue;

/// Opens an instance.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn SecretStore>> {
    Ok(Arc::new(GrpcSecrets::open(&opening).await?))
}

/// A connector out of process.
#[derive(Debug)]
pub(super) struct GrpcSecrets {
    way: OutOfProcess,
}

impl GrpcSecrets {
    /// Secrets of the connector that an instance names.
    pub(super) async fn open(opening: &Opening) -> anyhow::Result<Self> {
        Ok(Self { way: OutOfProcess::open(opening, "sre.connector.v1.Vault").await? })
    }

    fn client(&self) -> VaultClient<ConnectorChannel> {
        VaultClient::new(self.way.channel())
    }

    async fn read(&self, request: pb::GetSecretRequest) -> Result<Option<Read>, SecretStoreError> {
        let Some(answer) = read(async { self.client().get_secret(request).await }).await? else {
            return Ok(None);
        };
        let secret = answer.secret.ok_or_else(|| damaged("a secret without its record"))?;
        Ok(Some((info(secret)?, SecretValue::new(answer.value.to_vec()))))
    }
}

type Read = (SecretInfo, SecretValue);

#[async_trait]
impl Connector for GrpcSecrets {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.way.check().await
    }
}

#[async_trait]
impl SecretStore for GrpcSecrets {
    async fn get(
        &self,
        team: &str,
        key: &str,
        version: Option<u64>,
    ) -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError> {
        // A number that no store can have given.
        let Ok(version) = version.map(i64::try_from).transpose() else { return Ok(None) };
        let request = pb::GetSecretRequest {
            team: team.to_owned(),
            key: key.to_owned(),
            version,
            without_value: false,
        };
        self.read(request).await
    }

    async fn stat(&self, team: &str, key: &str) -> Result<Option<SecretInfo>, SecretStoreError> {
        let request = pb::GetSecretRequest {
            team: team.to_owned(),
            key: key.to_owned(),
            version: None,
            without_value: true,
        };
        Ok(self.read(request).await?.map(|(info, _)| info))
    }

    async fn put(
        &self,
        team: &str,
        key: &str,
        value: SecretValue,
        updater: &str,
        now: Moment,
    ) -> Result<SecretInfo, SecretStoreError> {
        let request = pb::PutSecretRequest {
            team: team.to_owned(),
            key: key.to_owned(),
            value: value.into_bytes(),
            updater: updater.to_owned(),
            update_time_us: now.0,
        };
        info(written(async { self.client().put_secret(request).await }).await?)
    }

    async fn delete(&self, team: &str, key: &str) -> Result<bool, SecretStoreError> {
        let request = pb::DeleteSecretRequest { team: team.to_owned(), key: key.to_owned() };
        Ok(written(async { self.client().delete_secret(request).await }).await?.found)
    }

    async fn list(
        &self,
        team: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let request = pb::ListSecretsRequest {
            team: team.to_owned(),
            after: after.map(str::to_owned),
            limit: limited(limit),
        };
        let answer = read(async { self.client().list_secrets(request).await }).await?;
        infos(answer.unwrap_or_default().secrets, limit)
    }

    async fn versions(
        &self,
        team: &str,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let request = pb::ListVersionsRequest {
            team: team.to_owned(),
            key: key.to_owned(),
            before: before.map(|before| i64::try_from(before).unwrap_or(i64::MAX)),
            limit: limited(limit),
        };
        let answer = read(async { self.client().list_versions(request).await }).await?;
        infos(answer.unwrap_or_default().versions, limit)
    }
}

fn limited(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

fn info(record: pb::SecretRecord) -> Result<SecretInfo, SecretStoreError> {
    let version = u64::try_from(record.version).map_err(|_| damaged("a version below zero"))?;
    Ok(SecretInfo {
        key: record.key,
        version,
        updated: Moment(record.update_time_us),
        updater: record.updater,
    })
}

fn infos(records: Vec<pb::SecretRecord>, limit: usize) -> Result<Vec<SecretInfo>, SecretStoreError> {
    if records.len() > limit {
        return Err(damaged("more than was asked for"));
    }
    records.into_iter().map(info).collect()
}

fn damaged(what: &str) -> SecretStoreError {
    SecretStoreError::Damaged(format!("the connector gives {what}"))
}

/// An answer in time, whatever the other side does; none where there is no such thing.
async fn read<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Option<T>, SecretStoreError> {
    match within(call).await? {
        Ok(answer) => Ok(Some(answer)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) if status.code() == Code::ResourceExhausted => {
            Err(SecretStoreError::Busy(with_causes(&status)))
        }
        Err(status) => Err(failed(&status)),
    }
}

/// The same of a change. What a caller is told of one that is refused is said here: the connector's own text is for
/// the operator.
async fn written<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, SecretStoreError> {
    let status = match within(call).await? {
        Ok(answer) => return Ok(answer),
        Err(status) => status,
    };
    let told: fn(String) -> SecretStoreError = match status.code() {
        Code::ResourceExhausted => SecretStoreError::Full,
        Code::Unimplemented => SecretStoreError::ReadOnly,
        Code::InvalidArgument => SecretStoreError::Invalid,
        _ => return Err(failed(&status)),
    };
    tracing::warn!(cause = with_causes(&status), "the vault's connector refuses a change");
    let message = match status.code() {
        Code::ResourceExhausted => "the vault is full: delete secrets, or ask its operator for more room",
        Code::Unimplemented => "nothing can be written to this vault here: set the secret where it is kept",
        _ => "the vault cannot hold such a key or value: use another",
    };
    Err(told(message.to_owned()))
}

async fn within<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Result<T, Status>, SecretStoreError> {
    let silent = |_elapsed| SecretStoreError::Unavailable(format!("silent for {} s", SILENCE.as_secs()));
    Ok(timeout(SILENCE, call).await.map_err(silent)?.map(Response::into_inner))
}

fn failed(status: &Status) -> SecretStoreError {
    let cause = with_causes(status);
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented | Code::InvalidArgument => {
            SecretStoreError::Refused(cause)
        }
        Code::DataLoss => SecretStoreError::Damaged(cause),
        _ => SecretStoreError::Unavailable(cause),
    }
}

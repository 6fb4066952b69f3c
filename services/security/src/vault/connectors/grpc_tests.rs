//! Secrets out of process: the embedded backend behind a server in Rust, and the sample in Python.

use std::sync::Arc;

use sre_proto::connector::v1 as pb;
use sre_proto::connector::v1::vault_server::{Vault, VaultServer};
use sre_service::testing::ConnectorServer;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::contract::{self, Bench, NOW, WRITER, value};
use super::encrypted_file::EncryptedFile;
use super::grpc::GrpcSecrets;
use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::moment::Moment;
use crate::vault::keks::Keks;
use crate::vault::secret::SecretValue;

/// A connector as somebody could write it.
struct Secrets(EncryptedFile);

fn failed(error: SecretStoreError) -> Status {
    Status::internal(error.to_string())
}

fn record(info: SecretInfo) -> pb::SecretRecord {
    pb::SecretRecord {
        key: info.key,
        version: info.version as i64,
        update_time_us: info.updated.0,
        updater: info.updater,
    }
}

#[tonic::async_trait]
impl Vault for Secrets {
    async fn get_secret(
        &self,
        request: Request<pb::GetSecretRequest>,
    ) -> Result<Response<pb::GetSecretResponse>, Status> {
        let request = request.into_inner();
        let version = request.version.map(|version| version as u64);
        let found = self.0.get(&request.team, &request.key, version).await.map_err(failed)?;
        let (info, secret) = found.ok_or_else(|| Status::not_found("there is no such secret"))?;
        let value = if request.without_value { Default::default() } else { secret.into_bytes() };
        Ok(Response::new(pb::GetSecretResponse { secret: Some(record(info)), value }))
    }

    async fn put_secret(
        &self,
        request: Request<pb::PutSecretRequest>,
    ) -> Result<Response<pb::SecretRecord>, Status> {
        let request = request.into_inner();
        match request.key.as_str() {
            "full" => return Err(Status::resource_exhausted("canary")),
            "wrong" => return Err(Status::invalid_argument("canary")),
            "fixed" => return Err(Status::unimplemented("canary")),
            "away" => return Err(Status::unavailable("canary")),
            _ => {}
        }
        let secret = SecretValue::new(request.value.to_vec());
        let now = Moment(request.update_time_us);
        let put = self.0.put(&request.team, &request.key, secret, &request.updater, now).await;
        put.map(|info| Response::new(record(info))).map_err(failed)
    }

    async fn delete_secret(
        &self,
        request: Request<pb::DeleteSecretRequest>,
    ) -> Result<Response<pb::DeleteSecretResponse>, Status> {
        let request = request.into_inner();
        let found = self.0.delete(&request.team, &request.key).await.map_err(failed)?;
        Ok(Response::new(pb::DeleteSecretResponse { found }))
    }

    async fn list_secrets(
        &self,
        request: Request<pb::ListSecretsRequest>,
    ) -> Result<Response<pb::ListSecretsResponse>, Status> {
        let request = request.into_inner();
        let limit = request.limit.try_into().unwrap();
        let listed = self.0.list(&request.team, request.after.as_deref(), limit).await.map_err(failed)?;
        let secrets = listed.into_iter().map(record).collect();
        Ok(Response::new(pb::ListSecretsResponse { secrets }))
    }

    async fn list_versions(
        &self,
        request: Request<pb::ListVersionsRequest>,
    ) -> Result<Response<pb::ListVersionsResponse>, Status> {
        let request = request.into_inner();
        let before = request.before.map(|before| before as u64);
        let limit = request.limit.try_into().unwrap();
        let listed = self.0.versions(&request.team, &request.key, before, limit).await.map_err(failed)?;
        let versions = listed.into_iter().map(record).collect();
        Ok(Response::new(pb::ListVersionsResponse { versions }))
    }
}

mod over_tls {
    use super::*;

    pub(super) async fn fresh() -> Option<Bench> {
        let dir = tempfile::tempdir().unwrap();
        let file = EncryptedFile::open(&dir.path().join("vault.enc"), Keks::in_memory().unwrap()).unwrap();
        let server = ConnectorServer::start(Routes::new(VaultServer::new(Secrets(file)))).await;
        let secrets = GrpcSecrets::open(&server.opening()).await.unwrap();
        Some(Bench::over(secrets, (dir, server)))
    }

    contract::every_case!(fresh);
}

mod the_sample {
    use super::*;

    async fn fresh() -> Option<Bench> {
        let dir = tempfile::tempdir().unwrap();
        let opening = sre_service::testing::sample_connector(dir.path())?;
        Some(Bench::over(GrpcSecrets::open(&opening).await.unwrap(), dir))
    }

    contract::every_case!(fresh);
}

/// What the connector says is for the operator's log: callers are told what it means.
#[tokio::test]
async fn what_it_refuses_is_told_in_our_words() {
    let bench = over_tls::fresh().await.unwrap();
    let store = Arc::clone(&bench.store);
    let put = async |key: &str| store.put("t", key, value("v"), WRITER, NOW).await.unwrap_err();
    for (key, is_so) in [
        ("full", (|e| matches!(e, SecretStoreError::Full(_))) as fn(&SecretStoreError) -> bool),
        ("wrong", |e| matches!(e, SecretStoreError::Invalid(_))),
        ("fixed", |e| matches!(e, SecretStoreError::ReadOnly(_))),
    ] {
        let error = put(key).await;
        assert!(is_so(&error) && !error.to_string().contains("canary"), "{key}: {error:?}");
    }
    // For the log alone.
    assert!(matches!(put("away").await, SecretStoreError::Unavailable(text) if text.contains("canary")));
}

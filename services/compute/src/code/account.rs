//! Accounts of agents: where a deployment runs that runs at none of the operator's connectors.

use std::fmt;

use sre_proto::accounts;
use sre_proto::compute::v1::CloudAccount;
use sre_proto::error::invalid_argument;
use tonic::Status;

use super::codes::Settings;
use crate::error::CodeError;

/// An account that a request brings.
#[derive(Clone)]
pub(crate) struct Account(CloudAccount);

impl Account {
    /// Reads an account; none where a request brings none.
    pub(super) fn of(given: Option<CloudAccount>) -> Result<Option<Self>, Status> {
        let Some(account) = given else { return Ok(None) };
        for (field, value, example) in [
            ("account.access_key_id", &account.access_key_id, "the id of an access key"),
            ("account.secret_access_key", &account.secret_access_key, "its secret"),
            ("account.region", &account.region, "for example eu-central-1"),
            ("account.role", &account.role, "for example arn:aws:iam::123456789012:role/sre-code"),
        ] {
            if value.is_empty() {
                return Err(invalid_argument(field, format!("is empty: give {example}")));
            }
        }
        Ok(Some(Self(account)))
    }

    /// What deployments in it have as the place where they run.
    pub(super) fn place(&self) -> String {
        accounts::place(&self.0)
    }

    /// The account that a deployment runs in; none where it runs at a connector.
    pub(super) fn of_deployment<'a>(
        settings: &Settings,
        given: Option<&'a Self>,
    ) -> Result<Option<&'a Self>, CodeError> {
        if !accounts::is_place(&settings.instance) {
            return Ok(None);
        }
        let same = given.filter(|account| account.place() == settings.instance);
        same.map(Some).ok_or_else(|| {
            let message =
                "it is deployed to an account of the agent's own: give that one's key, region and role";
            CodeError::Account(message.to_owned())
        })
    }

    /// As the request brought it.
    #[cfg(feature = "aws")]
    pub(crate) fn given(&self) -> &CloudAccount {
        &self.0
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Account").field(&self.place()).finish()
    }
}

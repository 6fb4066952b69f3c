//! Where deployments run: in the sandbox, or at a service that others run.

#[cfg(feature = "aws")]
pub mod lambda;

use async_trait::async_trait;
use sre_service::Role;
use sre_service::connectors::{Backends, Connector, Kind, Opening, Registry, Unhealthy};

/// An instance that deployments run on.
pub enum Backend {
    /// The sandbox of this role.
    Sandbox,
    /// AWS Lambda.
    #[cfg(feature = "aws")]
    Lambda(Box<lambda::Lambda>),
}

#[async_trait]
impl Connector for Backend {
    async fn check(&self) -> Result<(), Unhealthy> {
        match self {
            // It was tried out when the role started.
            Self::Sandbox => Ok(()),
            #[cfg(feature = "aws")]
            Self::Lambda(lambda) => lambda.ping().await.map_err(Unhealthy::new),
        }
    }
}

/// The settings of the sandbox: there are none, see `[compute]`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct NoSettings {}

/// The kinds there are.
pub static REGISTRY: Registry<Backend> = Registry {
    role: Role::Compute,
    service: "code",
    kinds: &[
        Kind {
            name: "sandbox",
            open: |_| Box::pin(async { Ok(std::sync::Arc::new(Backend::Sandbox)) }),
            check: Opening::check::<NoSettings>,
        },
        // The reference's default names a connector that it does not have.
        Kind {
            name: "none",
            open: |_| Box::pin(async { Ok(std::sync::Arc::new(Backend::Sandbox)) }),
            check: Opening::check::<NoSettings>,
        },
        #[cfg(feature = "aws")]
        Kind { name: "lambda", open: |it| Box::pin(lambda::open(it)), check: lambda::check },
        #[cfg(not(feature = "aws"))]
        sre_service::connector_compiled_out!("lambda", "sre-compute/aws"),
    ],
    built_in: "sandbox",
};

/// The services of this role with a choice of backends.
pub fn backends() -> Vec<&'static dyn Backends> {
    vec![&REGISTRY]
}

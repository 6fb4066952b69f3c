//! The kinds of backends there are.

use sre_service::Role;
use sre_service::connectors::Registry;

use super::ObjectStore;

/// The backends of files, one line each.
pub static STORAGE: Registry<dyn ObjectStore> = Registry {
    role: Role::Io,
    service: "storage",
    kinds: &[
        super::local::KIND,
        #[cfg(feature = "s3")]
        super::s3::KIND,
        #[cfg(not(feature = "s3"))]
        sre_service::connector_compiled_out!("s3", "sre-io/s3"),
        #[cfg(feature = "gcs")]
        super::gcs::KIND,
        #[cfg(not(feature = "gcs"))]
        sre_service::connector_compiled_out!("gcs", "sre-io/gcs"),
        #[cfg(feature = "azure")]
        super::azure::KIND,
        #[cfg(not(feature = "azure"))]
        sre_service::connector_compiled_out!("azure", "sre-io/azure"),
        super::grpc::KIND,
    ],
    built_in: "local",
};

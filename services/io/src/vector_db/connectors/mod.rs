//! The backends of vectors. To add one: its file in `sre-vectors` (the one out of process is here, as that crate does
//! not know the way to it), a line in [`VECTORS`], a row in `docs/connectors.md`, and a call of the contract's cases in
//! its tests.

mod grpc;
#[cfg(test)]
mod grpc_tests;

use std::sync::Arc;

use async_trait::async_trait;
use sre_service::Role;
use sre_service::connectors::{Connector, Kind, Opening, Registry, Unhealthy};
use sre_vectors::Backend;
use sre_vectors::embedded::{Embedded, EmbeddedSettings, MIGRATIONS};
#[cfg(feature = "milvus")]
use sre_vectors::milvus::{Milvus, MilvusSettings};
#[cfg(feature = "pgvector")]
use sre_vectors::pgvector::{Pgvector, PgvectorSettings};
#[cfg(feature = "pinecone")]
use sre_vectors::pinecone::{Pinecone, PineconeSettings};
#[cfg(feature = "qdrant")]
use sre_vectors::qdrant::{Qdrant, QdrantSettings};

/// An instance: a backend, as this service opens it.
pub trait VectorStore: Connector {
    /// The backend.
    fn backend(&self) -> &dyn Backend;
}

/// Any backend as an instance.
pub struct Opened<B>(pub B);

#[async_trait]
impl<B: Backend> Connector for Opened<B> {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.0.check().await.map_err(Unhealthy::new)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

impl<B: Backend> VectorStore for Opened<B> {
    fn backend(&self) -> &dyn Backend {
        &self.0
    }
}

type Outcome = anyhow::Result<Arc<dyn VectorStore>>;

/// The kinds.
pub static VECTORS: Registry<dyn VectorStore> = Registry {
    role: Role::Io,
    service: "vectordb",
    kinds: &[
        Kind {
            name: "embedded",
            open: |it| Box::pin(embedded(it)),
            check: Opening::check::<EmbeddedSettings>,
        },
        // The reference's `RAMVec`; here it is durable, too.
        Kind { name: "memory", open: |it| Box::pin(embedded(it)), check: Opening::check::<EmbeddedSettings> },
        #[cfg(feature = "pgvector")]
        Kind {
            name: "pgvector",
            open: |it| Box::pin(pgvector(it)),
            check: Opening::check::<PgvectorSettings>,
        },
        #[cfg(not(feature = "pgvector"))]
        sre_service::connector_compiled_out!("pgvector", "sre-io/pgvector"),
        #[cfg(feature = "qdrant")]
        Kind { name: "qdrant", open: |it| Box::pin(qdrant(it)), check: Opening::check::<QdrantSettings> },
        #[cfg(not(feature = "qdrant"))]
        sre_service::connector_compiled_out!("qdrant", "sre-io/qdrant"),
        #[cfg(feature = "milvus")]
        Kind { name: "milvus", open: |it| Box::pin(milvus(it)), check: Opening::check::<MilvusSettings> },
        #[cfg(not(feature = "milvus"))]
        sre_service::connector_compiled_out!("milvus", "sre-io/milvus"),
        #[cfg(feature = "pinecone")]
        Kind {
            name: "pinecone",
            open: |it| Box::pin(pinecone(it)),
            check: Opening::check::<PineconeSettings>,
        },
        #[cfg(not(feature = "pinecone"))]
        sre_service::connector_compiled_out!("pinecone", "sre-io/pinecone"),
        Kind {
            name: "grpc",
            open: |it| Box::pin(out_of_process(it)),
            check: sre_service::connectors::grpc::check,
        },
    ],
    built_in: "embedded",
};

async fn embedded(opening: Opening) -> Outcome {
    let settings: EmbeddedSettings = opening.settings()?;
    // Its name stands behind the registry's: a backup reads stores by name, and rows that the registry does not
    // know are harmless, while those that it knows must be there.
    let store = opening.host()?.file_store(&format!("vectors_{}", opening.id), MIGRATIONS).await?;
    let folder = opening.data_dir.join("vectors").join(&opening.id);
    Ok(Arc::new(Opened(Embedded::open(store, folder, settings).await?)))
}

#[cfg(feature = "pgvector")]
async fn pgvector(opening: Opening) -> Outcome {
    Ok(Arc::new(Opened(Pgvector::open(&opening.settings::<PgvectorSettings>()?).await?)))
}

#[cfg(feature = "qdrant")]
async fn qdrant(opening: Opening) -> Outcome {
    answering(Qdrant::open(&opening.settings::<QdrantSettings>()?)?).await
}

#[cfg(feature = "milvus")]
async fn milvus(opening: Opening) -> Outcome {
    answering(Milvus::open(&opening.settings::<MilvusSettings>()?)?).await
}

#[cfg(feature = "pinecone")]
async fn pinecone(opening: Opening) -> Outcome {
    answering(Pinecone::open(&opening.settings::<PineconeSettings>()?)?).await
}

async fn out_of_process(opening: Opening) -> Outcome {
    Ok(Arc::new(Opened(grpc::GrpcVectors::open(&opening).await?)))
}

/// Opened for good only when it answers: what is wrong is known at start.
#[cfg(any(feature = "qdrant", feature = "milvus", feature = "pinecone"))]
async fn answering(backend: impl Backend) -> Outcome {
    backend.check().await?;
    Ok(Arc::new(Opened(backend)))
}

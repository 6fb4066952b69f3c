//! Calls on stores of vectors. A row holds the mark of its namespace as its text.

use sre_proto::io::v1::search_request::Query;
use sre_proto::io::v1::vector_db_client::VectorDbClient;
use sre_proto::io::v1::{self as io};
use sre_service::Link;
use tonic::{Code, Status};

use super::calls::Op;
use super::make::shown;
use super::things::{Kind, Place, mark};

/// The one row of each namespace.
const ROW: &str = "row";

/// Makes a call on a namespace; gives what it answers as text. Replacing its list is not among these.
pub(super) async fn make(op: Op, link: Link, place: &Place, name: String) -> Result<String, Status> {
    let mut vectors = VectorDbClient::new(link);
    Ok(match op {
        Op::Read => {
            let query = Some(Query::Vector(vector()));
            let request = io::SearchRequest { parent: name, query, ..io::SearchRequest::default() };
            vectors.search(request).await?.into_inner().hits.into_iter().map(|hit| hit.text).collect()
        }
        Op::Look => shown(vectors.get_vector_namespace(io::GetVectorNamespaceRequest { name }).await?),
        Op::List => {
            let request =
                io::ListDatasourcesRequest { parent: name, ..io::ListDatasourcesRequest::default() };
            shown(vectors.list_datasources(request).await?)
        }
        Op::Write => {
            write(&mut vectors, place, name).await?;
            String::new()
        }
        Op::Clear => {
            let request = io::DeleteRowsRequest { parent: name, ids: vec![ROW.to_owned()] };
            shown(vectors.delete_rows(request).await?)
        }
        Op::Delete => {
            shown(vectors.delete_vector_namespace(io::DeleteVectorNamespaceRequest { name }).await?)
        }
        _ => shown(vectors.get_vector_namespace_acl(io::GetVectorNamespaceAclRequest { name }).await?),
    })
}

/// Puts the row, making the namespace where there is none: both ask for the same right.
pub(super) async fn write(
    vectors: &mut VectorDbClient<Link>,
    place: &Place,
    name: String,
) -> Result<(), Status> {
    let namespace =
        io::VectorNamespace { name: name.clone(), dimension: 2, ..io::VectorNamespace::default() };
    let request = io::CreateVectorNamespaceRequest { namespace: Some(namespace), acl: None };
    match vectors.create_vector_namespace(request).await {
        Err(status) if status.code() != Code::AlreadyExists => return Err(status),
        _ => {}
    }
    let row = io::Row { id: ROW.to_owned(), vector: Some(vector()), text: mark(place), ..io::Row::default() };
    vectors.upsert_rows(io::UpsertRowsRequest { parent: name, rows: vec![row] }).await.map(drop)
}

/// What a team's listing shows, as marks: whoever sees a namespace must be able to read it.
pub(super) async fn listed(link: Link, parent: String) -> Result<String, Status> {
    let request = io::ListVectorNamespacesRequest {
        parent,
        page_size: 1000,
        ..io::ListVectorNamespacesRequest::default()
    };
    let listed = VectorDbClient::new(link).list_vector_namespaces(request).await?.into_inner();
    Ok(listed.namespaces.iter().map(|space| format!("<<{:?} {}>>", Kind::Space, space.name)).collect())
}

fn vector() -> io::Vector {
    io::Vector { values: vec![1.0, 0.5] }
}

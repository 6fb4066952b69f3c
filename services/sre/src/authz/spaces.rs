//! Calls on stores of vectors. A row holds the mark of its namespace as its text.

use sre_proto::io::v1 as io;
use sre_proto::io::v1::search_request::Query;
use sre_proto::io::v1::vector_db_client::VectorDbClient;
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

/// Puts the row; where there is no namespace, for whom it may be made there, makes it.
pub(super) async fn write(
    vectors: &mut VectorDbClient<Link>,
    place: &Place,
    name: String,
) -> Result<(), Status> {
    let text = mark(place);
    let row = io::Row { id: ROW.to_owned(), vector: Some(vector()), text, ..io::Row::default() };
    let put = io::UpsertRowsRequest { parent: name.clone(), rows: vec![row] };
    match vectors.upsert_rows(put.clone()).await {
        Err(status) if status.code() == Code::NotFound => {}
        put => return put.map(drop),
    }
    let namespace = io::VectorNamespace { name, dimension: 2, ..io::VectorNamespace::default() };
    let request = io::CreateVectorNamespaceRequest { namespace: Some(namespace), acl: None };
    vectors.create_vector_namespace(request).await?;
    vectors.upsert_rows(put).await.map(drop)
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

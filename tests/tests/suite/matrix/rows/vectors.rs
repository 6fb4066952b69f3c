//! `sre.io.v1.VectorDb`.

use sre_proto::io::v1::*;

use super::super::case::Case;
use super::super::world::World;

pub async fn case(_world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let name = "teams/default/vectors/docs".to_owned();
    let parent = name.clone();
    let datasource = format!("{name}/datasources/d");
    Ok(Some(match method {
        "CreateVectorNamespace" => {
            let namespace = Some(VectorNamespace { name, ..VectorNamespace::default() });
            Case::of(&CreateVectorNamespaceRequest { namespace, acl: None })
        }
        "GetVectorNamespace" => Case::of(&GetVectorNamespaceRequest { name }),
        "ListVectorNamespaces" => {
            let parent = "teams/default".into();
            Case::of(&ListVectorNamespacesRequest { parent, ..ListVectorNamespacesRequest::default() })
        }
        "DeleteVectorNamespace" => Case::of(&DeleteVectorNamespaceRequest { name }),
        "GetVectorNamespaceAcl" => Case::of(&GetVectorNamespaceAclRequest { name }),
        "SetVectorNamespaceAcl" => Case::of(&SetVectorNamespaceAclRequest { name, acl: None }),
        "CreateDatasource" => {
            let header = DatasourceHeader { name: datasource, ..DatasourceHeader::default() };
            let part = Some(create_datasource_request::Part::Header(header));
            Case::of(&CreateDatasourceRequest { part })
        }
        "GetDatasource" => Case::of(&GetDatasourceRequest { name: datasource }),
        "ReadDatasource" => Case::of(&ReadDatasourceRequest { name: datasource }),
        "ListDatasources" => {
            Case::of(&ListDatasourcesRequest { parent, ..ListDatasourcesRequest::default() })
        }
        "DeleteDatasource" => Case::of(&DeleteDatasourceRequest { name: datasource }),
        "UpsertRows" => Case::of(&UpsertRowsRequest { parent, rows: Vec::new() }),
        "DeleteRows" => Case::of(&DeleteRowsRequest { parent, ids: Vec::new() }),
        "Search" => Case::of(&SearchRequest { parent, ..SearchRequest::default() }),
        _ => return Ok(None),
    }))
}

//! `sre.io.v1.Router`.

use anyhow::ensure;
use sre_proto::AccessLevel;
use sre_proto::io::v1::write_file_request::Part;
use sre_proto::io::v1::*;

use super::super::case::{Case, READER};
use super::super::world::{WORKER, World, acl, agent_name};

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let file = format!("{}/files/{}/a.txt", agent_name(WORKER), world.fresh("linked"));
    let absent = format!("{}/files/absent/a.txt", agent_name(WORKER));
    let header = WriteFileHeader { name: file.clone(), ..WriteFileHeader::default() };
    let parts: Vec<WriteFileRequest> = [Part::Header(header), Part::Data("some text".into())]
        .into_iter()
        .map(|part| WriteFileRequest { part: Some(part) })
        .collect();
    world.send(&parts).await?;
    // The list gives each of the three their level.
    world.dev(SetFileAclRequest { name: file.clone(), acl: Some(acl(&[])) }).await?;
    let made = || CreateUrlRequest {
        file: file.clone(),
        kind: UrlKind::Resource.into(),
        ..CreateUrlRequest::default()
    };
    Ok(Some(match method {
        "CreateUrl" => {
            let other = CreateUrlRequest { file: absent, ..made() };
            Case::of(&made()).absent(&other).by_list(AccessLevel::Read).stores().answers(|url: Url| {
                ensure!(url.url.contains("/r/") && url.url.starts_with("http"), "{url:?}");
                Ok(())
            })
        }
        "RenewUrl" | "RevokeUrl" => {
            let link: Url = world.ask(READER, made()).await?;
            let id = link.id;
            if method == "RenewUrl" {
                let request =
                    |file: &str| RenewUrlRequest { file: file.into(), id: id.clone(), time_to_live: None };
                Case::of(&request(&file))
                    .absent(&request(&absent))
                    .by_list(AccessLevel::Read)
                    .stores()
                    .answers(|url: Url| {
                        ensure!(url.url.contains("/r/") && url.subject == READER, "{url:?}");
                        Ok(())
                    })
            } else {
                let request = |file: &str| RevokeUrlRequest { file: file.into(), id: id.clone() };
                Case::of(&request(&file))
                    .absent(&request(&absent))
                    .by_list(AccessLevel::Read)
                    .stores()
                    .answers(|url: Url| {
                        ensure!(url.revoke_time.is_some(), "{url:?}");
                        Ok(())
                    })
            }
        }
        "ListUrls" => {
            world.dev(made()).await?;
            let request = |file: &str| ListUrlsRequest { file: file.into(), ..ListUrlsRequest::default() };
            Case::of(&request(&file)).absent(&request(&absent)).by_list(AccessLevel::Read).answers(
                |list: ListUrlsResponse| {
                    // To its owner the one that was made; a reader has none of its own.
                    ensure!(
                        list.urls.len() <= 1 && list.urls.iter().all(|url| url.url.is_empty()),
                        "{list:?}"
                    );
                    Ok(())
                },
            )
        }
        _ => return Ok(None),
    }))
}

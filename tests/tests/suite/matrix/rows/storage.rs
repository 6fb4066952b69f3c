//! `sre.io.v1.Storage`.

use anyhow::ensure;
use bytes::Bytes;
use prost::Message as _;
use sre_proto::AccessLevel;
use sre_proto::io::v1::write_file_request::Part;
use sre_proto::io::v1::*;
use sre_proto::types::v1::{Acl, Level};

use super::super::case::{Case, MEMBER};
use super::super::world::{WORKER, World, acl, agent_name};

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let folder = format!("{}/files/{}", agent_name(WORKER), world.fresh("folder"));
    let name = format!("{folder}/a.txt");
    let absent = format!("{}/files/absent/a.txt", agent_name(WORKER));
    world.send(&written(&name, "some text")).await?;
    // The agent is told too, because a list of files shows what one may read.
    let list = acl(&[(format!("agent/{WORKER}"), Level::Read)]);
    world.dev(SetFileAclRequest { name: name.clone(), acl: Some(list) }).await?;
    Ok(Some(match method {
        "WriteFile" => {
            let bytes = |messages: Vec<WriteFileRequest>| -> Vec<Bytes> {
                messages.iter().map(|message| message.encode_to_vec().into()).collect()
            };
            let mut case =
                Case::stream(bytes(written(&name, "other text"))).by_list(AccessLevel::Write).stores();
            case.absent = bytes(written(&absent, "other text"));
            case
        }
        "ReadFile" => {
            let request = |name: &str| ReadFileRequest { name: name.into(), ..ReadFileRequest::default() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Read).streams(
                |parts: Vec<ReadFileResponse>| {
                    let data: Vec<u8> = parts
                        .iter()
                        .filter_map(|part| match &part.part {
                            Some(read_file_response::Part::Data(data)) => Some(data.to_vec()),
                            _ => None,
                        })
                        .flatten()
                        .collect();
                    ensure!(data == b"some text", "{parts:?}");
                    Ok(())
                },
            )
        }
        "GetFile" => {
            let request = |name: &str| GetFileRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Read).answers(
                |file: File| {
                    ensure!(file.size_bytes == 9, "{file:?}");
                    Ok(())
                },
            )
        }
        "ListFiles" => {
            let request =
                |parent: &str| ListFilesRequest { parent: parent.into(), ..ListFilesRequest::default() };
            let none = format!("{}/files", agent_name("nobody"));
            Case::of(&request(&folder))
                .absent(&request(&none))
                .exact(format!("agent/{WORKER}"))
                .weaker(&[MEMBER])
                .answers(|list: ListFilesResponse| {
                    ensure!(list.files.len() == 1, "{list:?}");
                    Ok(())
                })
        }
        "UpdateFile" => {
            let request = |name: &str| UpdateFileRequest {
                name: name.into(),
                mimetype: "text/markdown".into(),
                ..UpdateFileRequest::default()
            };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Write).stores().answers(
                |file: File| {
                    ensure!(file.mimetype == "text/markdown", "{file:?}");
                    Ok(())
                },
            )
        }
        "CopyFile" => {
            // Whoever may write the destination may read the source.
            let source = format!("{folder}/source.txt");
            world.send(&written(&source, "some text")).await?;
            let mut list = acl(&[]);
            for entry in &mut list.entries {
                entry.levels.push(Level::Read.into());
            }
            world.dev(SetFileAclRequest { name: source.clone(), acl: Some(list) }).await?;
            let request = |destination: &str| CopyFileRequest {
                source: source.clone(),
                destination: destination.into(),
                ..CopyFileRequest::default()
            };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Write).stores()
        }
        "UploadTemp" => {
            let parts = |parent: &str| -> Vec<Bytes> {
                let header = UploadTempHeader {
                    parent: parent.into(),
                    file_name: "a.txt".into(),
                    ..UploadTempHeader::default()
                };
                [upload_temp_request::Part::Header(header), upload_temp_request::Part::Data("text".into())]
                    .into_iter()
                    .map(|part| UploadTempRequest { part: Some(part) }.encode_to_vec().into())
                    .collect()
            };
            let mut case = Case::stream(parts(&format!("{}/files", agent_name(WORKER))))
                .exact(format!("agent/{WORKER}"))
                .weaker(&[MEMBER])
                .stores();
            case.absent = parts(&format!("{}/files", agent_name("nobody")));
            case
        }
        "BatchDeleteFiles" => {
            // The agent may write in its own place; the file's list must let it, too.
            let list = acl(&[(format!("agent/{WORKER}"), Level::Write)]);
            world.dev(SetFileAclRequest { name: name.clone(), acl: Some(list) }).await?;
            let request = |parent: &str, name: &str| BatchDeleteFilesRequest {
                parent: parent.into(),
                names: vec![name.into()],
            };
            let nowhere = format!("{}/files", agent_name("nobody"));
            Case::of(&request(&folder, &name))
                .absent(&request(&nowhere, &format!("{nowhere}/a.txt")))
                .exact(format!("agent/{WORKER}"))
                .weaker(&[MEMBER])
                .stores()
        }
        "DeleteFile" => {
            let request = |name: &str| DeleteFileRequest { name: name.into(), if_match: String::new() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Write).stores()
        }
        "GetFileAcl" => {
            let request = |name: &str| GetFileAclRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Owner).answers(
                |list: Acl| {
                    ensure!(list.entries.len() == 5, "{list:?}");
                    Ok(())
                },
            )
        }
        "SetFileAcl" => {
            let list = Some(acl(&[(MEMBER.to_owned(), Level::Read)]));
            let request = |name: &str| SetFileAclRequest { name: name.into(), acl: list.clone() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Owner).stores()
        }
        _ => return Ok(None),
    }))
}

fn written(name: &str, text: &'static str) -> Vec<WriteFileRequest> {
    let header =
        WriteFileHeader { name: name.into(), mimetype: "text/plain".into(), ..WriteFileHeader::default() };
    [Part::Header(header), Part::Data(text.into())]
        .into_iter()
        .map(|part| WriteFileRequest { part: Some(part) })
        .collect()
}

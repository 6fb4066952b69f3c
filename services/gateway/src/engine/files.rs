//! Files of the running agent.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sre_components::{ContextError, Failure};
use sre_engine::{Binary, Map, Value};
use sre_identity::Candidate;
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::{
    ReadFileRequest, WriteFileHeader, WriteFileRequest, read_file_response, write_file_request,
};
use sre_service::{Host, Link};
use tonic::{Code, Request, Status};

use super::names::AgentName;

/// What is written as it is in a path segment.
pub const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// How long temporary files live.
const TEMPORARY: Duration = Duration::from_secs(24 * 60 * 60);
/// What is said of a file that the agent may not read.
const DENIED: &str = "Access Denied";
const CHUNK: usize = 64 << 10;
/// The largest file that a component reads whole.
const LARGEST_BYTES: usize = 64 << 20;

/// Stores bytes in the agent's temporary area and gives the file's object. The name derives from the
/// activation, so that a repeat writes the same file.
pub async fn store_temp(
    link: Link,
    agent: &AgentName,
    binary: &Binary,
    left: Duration,
) -> Result<Value, Status> {
    let header = WriteFileHeader {
        name: format!("{agent}/files/_temp/{}", binary.name),
        mimetype: binary.mimetype.to_string(),
        time_to_live: TEMPORARY.try_into().ok(),
        ..Default::default()
    };
    write(link, header, binary.data.clone(), left).await?;
    let mut object: Map = binary.members();
    object.insert("url".into(), Value::from(temporary_uri(agent, &binary.name)));
    Ok(Value::object(object))
}

/// Writes a file.
pub async fn write(link: Link, header: WriteFileHeader, data: Bytes, left: Duration) -> Result<(), Status> {
    let mut rest = data;
    let mut header = Some(header);
    let parts = stream::iter(std::iter::from_fn(move || {
        if let Some(header) = header.take() {
            return Some(write_file_request::Part::Header(header));
        }
        let chunk = rest.split_to(rest.len().min(CHUNK));
        (!chunk.is_empty()).then_some(write_file_request::Part::Data(chunk))
    }));
    let parts = futures::StreamExt::map(parts, |part| WriteFileRequest { part: Some(part) });
    let mut request = Request::new(parts);
    request.set_timeout(left);
    StorageClient::new(link).write_file(request).await?;
    Ok(())
}

/// The address of a temporary file, in the form that existing agents and their clients know.
fn temporary_uri(agent: &AgentName, name: &str) -> String {
    let name = utf8_percent_encode(name, IN_A_PATH);
    format!("smythfs://{}.team/{}/_temp/{name}", agent.team, agent.agent)
}

/// Reads a file whole.
pub async fn read(link: Link, name: &str, left: Duration) -> Result<Binary, Status> {
    let mut request = Request::new(ReadFileRequest { name: name.to_owned(), ..Default::default() });
    request.set_timeout(left);
    let mut parts = StorageClient::new(link).read_file(request).await?.into_inner();
    let mut mimetype = String::new();
    let mut data = Vec::new();
    while let Some(part) = parts.message().await? {
        match part.part {
            Some(read_file_response::Part::File(file)) => mimetype = file.mimetype,
            Some(read_file_response::Part::Data(bytes)) => data.extend_from_slice(&bytes),
            None => {}
        }
        if data.len() > LARGEST_BYTES {
            return Err(status(
                Code::OutOfRange,
                Reason::TooLarge,
                format!("{name} is larger than {LARGEST_BYTES} bytes, which is the most a component reads"),
            ));
        }
    }
    Ok(Binary {
        name: name.rsplit('/').next().unwrap_or(name).into(),
        mimetype: mimetype.into(),
        data: data.into(),
    })
}

/// Why a file could not be read. Of files that are not the agent's own, nobody learns whether they are there.
pub fn unreadable(status: Status, name: &str, agent: &AgentName) -> ContextError {
    let own = name.strip_prefix(&agent.to_string()).is_some_and(|rest| rest.starts_with("/files/"));
    match status.code() {
        Code::PermissionDenied => ContextError::new(Failure::Denied, DENIED),
        Code::NotFound if !own => ContextError::new(Failure::Denied, DENIED),
        _ => status.into(),
    }
}

/// The resource behind `smythfs://{id}.{agent|user|team}/{path}`. Whose file it is decides nothing: it is
/// read as the running agent.
pub async fn name_of(uri: &str, host: &Host, agent: &AgentName) -> Result<String, Status> {
    let address = Address::parse(uri)?;
    let Address { id, kind, path } = &address;
    let team = match kind.as_str() {
        "team" => return Ok(of_team(id, path)),
        "agent" if *id == agent.agent => agent.team.clone(),
        _ => {
            let owner = match kind.as_str() {
                "agent" => Candidate::agent(id),
                _ => Candidate::user(id),
            };
            let owner = owner.map_err(|error| invalid_argument("uri", error.to_string()))?;
            let known = host.accounts().resolve(&owner).await?;
            // An unknown owner has no files: the same answer as for one that is not the agent's to read.
            known.home.as_ref().map_or_else(|| agent.team.clone(), ToString::to_string)
        }
    };
    Ok(format!("teams/{team}/{kind}s/{id}/files/{path}"))
}

/// A team's own file, or an agent's temporary one, which is addressed through its team.
fn of_team(team: &str, path: &str) -> String {
    match path.split_once('/') {
        Some((agent, file)) if file.starts_with("_temp/") => {
            format!("teams/{team}/agents/{agent}/files/{file}")
        }
        _ => format!("teams/{team}/files/{path}"),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Address {
    id: String,
    kind: String,
    path: String,
}

impl Address {
    fn parse(uri: &str) -> Result<Self, Status> {
        let read = || {
            let (scheme, rest) = uri.split_once("://")?;
            let rest = rest.split(['?', '#']).next()?;
            let (host, path) = rest.split_once('/')?;
            let (id, kind) = host.split_once('.')?;
            let path = percent_decode_str(path).decode_utf8().ok()?;
            let fits = scheme.eq_ignore_ascii_case("smythfs")
                && matches!(kind, "agent" | "user" | "team")
                && !path.is_empty()
                && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
                && !path.contains(['\0', '\\']);
            fits.then(|| Self { id: id.to_owned(), kind: kind.to_owned(), path: path.into_owned() })
        };
        read().ok_or_else(|| {
            invalid_argument("uri", format!("{uri:?} is not smythfs://{{id}}.{{agent|user|team}}/{{path}}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let address = Address::parse("smythfs://greeter.agent/_temp/a%20b.txt?x=1").unwrap();
        assert_eq!((address.id.as_str(), address.kind.as_str()), ("greeter", "agent"));
        assert_eq!(address.path, "_temp/a b.txt");
    }

    #[test]
    fn nothing_leads_out_of_the_owners_files() {
        for uri in [
            "smythfs://a.agent/../b",
            "smythfs://a.agent/%2e%2e/b",
            "smythfs://a.agent//b",
            "smythfs://a.agent/",
            "smythfs://a.other/b",
            "https://a.agent/b",
            "smythfs://a/b",
            "a.agent/b",
        ] {
            assert_eq!(Address::parse(uri).unwrap_err().code(), Code::InvalidArgument, "{uri}");
        }
    }
}

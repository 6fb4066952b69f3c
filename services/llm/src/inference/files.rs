//! Files that a request names: read from the io service in the caller's name, with a token for that hop, and put into
//! the request.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use sre_identity::{Caller, Candidate};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::{ReadFileRequest, read_file_response};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::part::Part as Kind;
use sre_service::{ExchangeKey, Host, Link, Role};
use tonic::{Code, Request, Status};

const SCOPE: &str = "sre.io.v1.Storage:read";
/// Everything that one request names together.
const MOST_BYTES: usize = 48 << 20;
const MOST_FILES: usize = 64;
/// Reading one file must not hold a call for longer.
const DEADLINE: Duration = Duration::from_secs(60);
const FIELD: &str = "messages.parts.media.file";

/// Puts the content of every file that messages name in its place.
pub async fn read_all(host: &Host, caller: &Caller, request: &mut pb::GenerateRequest) -> Result<(), Status> {
    let parts = request.messages.iter_mut().flat_map(|message| &mut message.parts);
    let media = parts.filter_map(|part| match &mut part.part {
        Some(Kind::Media(media)) => Some(media),
        _ => None,
    });
    read(host, caller, media).await
}

/// Puts the content of every file that some media name in its place.
pub async fn read(
    host: &Host,
    caller: &Caller,
    media: impl Iterator<Item = &mut pb::Media>,
) -> Result<(), Status> {
    let named: Vec<_> = media.filter(|media| matches!(media.source, Some(Source::File(_)))).collect();
    if named.is_empty() {
        return Ok(());
    }
    if named.len() > MOST_FILES {
        return Err(invalid_argument(FIELD, format!("a request names {MOST_FILES} files at most")));
    }
    let link = link(host, caller).await?;
    let mut left = MOST_BYTES;
    for media in named {
        let Some(Source::File(file)) = &media.source else { continue };
        let name = name_of(file, host).await?;
        let (mimetype, data) = contents(link.clone(), &name, left).await?;
        left -= data.len();
        if media.mimetype.is_empty() {
            media.mimetype = mimetype;
        }
        if media.file_name.is_empty() {
            name.rsplit('/').next().unwrap_or_default().clone_into(&mut media.file_name);
        }
        media.source = Some(Source::Data(data.into()));
    }
    Ok(())
}

async fn link(host: &Host, caller: &Caller) -> Result<Link, Status> {
    let Some(token) = caller.presented_token() else {
        let message = "files are read in the name of a caller with a token: send their content instead";
        return Err(status(Code::PermissionDenied, Reason::AclDenied, message));
    };
    let key = ExchangeKey::next_hop(token.to_string(), Role::Io, &[SCOPE]);
    let token = host.tokens().exchange(key).await?;
    Ok(host.link(Role::Io).with_token(&token))
}

async fn contents(link: Link, name: &str, left: usize) -> Result<(String, Vec<u8>), Status> {
    let mut request = Request::new(ReadFileRequest { name: name.to_owned(), ..ReadFileRequest::default() });
    request.set_timeout(DEADLINE);
    let mut parts = StorageClient::new(link).read_file(request).await?.into_inner();
    let (mut mimetype, mut data) = (String::new(), Vec::new());
    while let Some(part) = parts.message().await? {
        match part.part {
            Some(read_file_response::Part::File(file)) => mimetype = file.mimetype,
            Some(read_file_response::Part::Data(bytes)) => data.extend_from_slice(&bytes),
            None => {}
        }
        if data.len() > left {
            let message =
                format!("with {name} the files of the request are more than {MOST_BYTES} bytes: send less");
            return Err(status(Code::OutOfRange, Reason::TooLarge, message));
        }
    }
    Ok((mimetype, data))
}

/// The resource that a name stands for: itself, or what is behind `smythfs://{id}.{agent|user|team}/{path}`.
async fn name_of(file: &str, host: &Host) -> Result<String, Status> {
    if file.starts_with("teams/") {
        return Ok(file.to_owned());
    }
    let wrong = || {
        let message = format!(
            "{file:?} is neither teams/{{team}}/... nor smythfs://{{id}}.{{agent|user|team}}/{{path}}"
        );
        invalid_argument(FIELD, message)
    };
    let (id, kind, path) = address(file).ok_or_else(wrong)?;
    if kind == "team" {
        // An agent's temporary file is addressed through its team.
        return Ok(match path.split_once('/') {
            Some((agent, file)) if file.starts_with("_temp/") => {
                format!("teams/{id}/agents/{agent}/files/{file}")
            }
            _ => format!("teams/{id}/files/{path}"),
        });
    }
    let owner = if kind == "agent" { Candidate::agent(&id) } else { Candidate::user(&id) };
    let owner = owner.map_err(|error| invalid_argument(FIELD, error.to_string()))?;
    let known = host.accounts().resolve(&owner).await?;
    // An unknown owner has no files.
    let team = known.home.as_ref().ok_or_else(|| {
        status(Code::NotFound, Reason::NotFound, format!("{file} is not there, or not yours to read"))
    })?;
    Ok(format!("teams/{team}/{kind}s/{id}/files/{path}"))
}

/// Owner, kind of owner, and path of an address.
fn address(uri: &str) -> Option<(String, &str, String)> {
    let rest = uri.strip_prefix("smythfs://")?;
    let (host, path) = rest.split(['?', '#']).next()?.split_once('/')?;
    let (id, kind) = host.split_once('.')?;
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let fits = matches!(kind, "agent" | "user" | "team")
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(['\0', '\\']);
    fits.then(|| (id.to_owned(), kind, path.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_nothing_climbs() {
        let read = |uri| address(uri).map(|(id, kind, path)| format!("{id} {kind} {path}"));
        assert_eq!(
            read("smythfs://red.team/a/_temp/x%20y.png?z").as_deref(),
            Some("red team a/_temp/x y.png")
        );
        assert_eq!(read("smythfs://helper.agent/f").as_deref(), Some("helper agent f"));
        for wrong in [
            "smythfs://red.team/../x",
            "smythfs://red.team/%2e%2e/x",
            "smythfs://red.org/x",
            "http://x/y",
            "smythfs://red.team/",
            "smythfs://team/x",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

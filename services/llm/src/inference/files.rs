//! Files that a request names: read from the io service in the caller's name, with a token for that hop, and put into
//! the request.

use std::time::Duration;

use sre_identity::Caller;
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::{File, ReadFileRequest, read_file_response};
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
        let (found, data) = contents(link.clone(), file, left).await?;
        left -= data.len();
        if media.mimetype.is_empty() {
            media.mimetype = found.mimetype;
        }
        if media.file_name.is_empty() {
            found.name.rsplit('/').next().unwrap_or_default().clone_into(&mut media.file_name);
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

/// A file as the io service finds it, which reads names of every form.
async fn contents(link: Link, name: &str, left: usize) -> Result<(File, Vec<u8>), Status> {
    let mut request = Request::new(ReadFileRequest { name: name.to_owned(), ..ReadFileRequest::default() });
    request.set_timeout(DEADLINE);
    let mut parts = StorageClient::new(link).read_file(request).await?.into_inner();
    let (mut found, mut data) = (File::default(), Vec::new());
    while let Some(part) = parts.message().await? {
        match part.part {
            Some(read_file_response::Part::File(file)) => found = file,
            Some(read_file_response::Part::Data(bytes)) => data.extend_from_slice(&bytes),
            None => {}
        }
        if data.len() > left {
            let message =
                format!("with {name} the files of the request are more than {MOST_BYTES} bytes: send less");
            return Err(status(Code::OutOfRange, Reason::TooLarge, message));
        }
    }
    Ok((found, data))
}

//! Files that came along with prompts. They are the agent's and the conversation owner's, in a folder of the
//! conversation; what is looked at in it lives on, and they go with it. Where a file that the history names is gone,
//! the model is told so: a conversation does not end because something in it did.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _};
use percent_encoding::utf8_percent_encode;
use sre_engine::Binary;
use sre_identity::{Acl, Caller, Candidate};
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::update_file_request::Expiry;
use sre_proto::io::v1::{DeleteFileRequest, GetFileRequest, UpdateFileRequest, WriteFileHeader};
use sre_proto::memory::v1::Conversation;
use sre_service::{ExchangeKey, Link, Role};
use tonic::{Code, Request, Status};

use super::access;
use super::history::{FileOf, Item, Kept};
use super::scope::TurnScope;
use crate::engine::core::Engine;
use crate::engine::files;
use crate::engine::names::AgentName;

const FOLDER: &str = "_prompts";
/// How long a file lives that nobody looks at any more: of conversations that are over without having been deleted.
const KEPT: Duration = Duration::from_secs(180 * 24 * 60 * 60);
/// One that has less left is given all of it again.
const RENEWED: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Looking files up must not hold a prompt for longer: what is not known by then is taken to be there.
const PATIENCE: Duration = Duration::from_secs(5);
/// Files that are looked up, or deleted, at a time.
const AT_ONCE: usize = 8;
/// Files that a conversation's end deletes; a longer one's last ones end by themselves.
const MOST_DELETED: usize = 10_000;
const WRITE: &str = "sre.io.v1.Storage:write";

/// Stores bytes that came along with a prompt; gives the address by which the history names them.
pub async fn store(
    link: Link,
    agent: &AgentName,
    conversation: &str,
    owner: &Candidate,
    binary: &Binary,
) -> Result<String, Status> {
    let path = format!("{FOLDER}/{conversation}/{}", binary.name);
    let header = WriteFileHeader {
        name: format!("{agent}/files/{path}"),
        mimetype: binary.mimetype.to_string(),
        time_to_live: KEPT.try_into().ok(),
        // The agent owns what it writes; whoever owns the conversation can take it away.
        acl: Some((&Acl::owned_by(owner)).into()),
        ..Default::default()
    };
    files::write(link, header, binary.data.clone(), super::prompt::TIME).await?;
    let name = utf8_percent_encode(&binary.name, files::IN_A_PATH);
    Ok(format!("smythfs://{}.agent/{FOLDER}/{conversation}/{name}", agent.agent))
}

/// What a turn knows of the files that its conversation names.
#[derive(Debug, Default)]
pub struct Attachments {
    known: HashSet<String>,
    gone: HashSet<String>,
}

impl Attachments {
    /// The same messages, with a word in place of each file that is gone. Files of the turn itself, which begins at
    /// this place, stay: whoever names one that is not there is told by the call.
    pub async fn read(&mut self, scope: &TurnScope, mut kept: Vec<Kept>, turn_from: i64) -> Vec<Kept> {
        let earlier = |kept: &Kept| kept.sequence < turn_from;
        let named = kept.iter().filter(|kept| earlier(kept)).flat_map(files_of);
        let new: HashSet<String> = named
            .filter(|file| file.url.starts_with("smythfs://") && !self.known.contains(&file.url))
            .map(|file| file.url.clone())
            .collect();
        if !new.is_empty() {
            self.look(scope, new).await;
        }
        for kept in kept.iter_mut().filter(|kept| earlier(kept)) {
            if let Item::User(asked) = &mut kept.item {
                let (gone, there): (Vec<FileOf>, _) = std::mem::take(&mut asked.files)
                    .into_iter()
                    .partition(|file| self.gone.contains(&file.url));
                asked.files = there;
                for file in gone {
                    if !asked.text.is_empty() {
                        asked.text.push_str("\n\n");
                    }
                    asked.text.push_str(&word_for(&file));
                }
            }
        }
        kept
    }

    async fn look(&mut self, scope: &TurnScope, urls: HashSet<String>) {
        let link = match scope.link(Role::Io).await {
            Ok(link) => link,
            Err(status) => {
                tracing::debug!(run = scope.id, %status, "files of a conversation were not looked up");
                return;
            }
        };
        let looks = futures::stream::iter(urls).map(|url| {
            let link = link.clone();
            async move {
                let found = is_there(scope, link, &url).await;
                (url, found)
            }
        });
        let mut looks = std::pin::pin!(looks.buffer_unordered(AT_ONCE));
        let all = async {
            while let Some((url, found)) = looks.next().await {
                match found {
                    Ok(true) => {}
                    Ok(false) => drop(self.gone.insert(url.clone())),
                    // The call of the model will say what is wrong.
                    Err(status) => {
                        tracing::debug!(url, %status, "a file of a conversation was not looked up")
                    }
                }
                self.known.insert(url);
            }
        };
        let _ = tokio::time::timeout(PATIENCE.min(scope.left()), all).await;
    }
}

fn files_of(kept: &Kept) -> &[FileOf] {
    match &kept.item {
        Item::User(asked) => &asked.files,
        _ => &[],
    }
}

fn word_for(file: &FileOf) -> String {
    let name = if file.name.is_empty() { "without a name" } else { file.name.as_str() };
    let kind = if file.mimetype.is_empty() { String::new() } else { format!(" ({})", file.mimetype) };
    format!(
        "[A file {name}{kind} was part of this message. It is no longer kept, so its content cannot be read.]"
    )
}

/// Whether a file can be read. One of the conversation's is kept for longer where that is due.
async fn is_there(scope: &TurnScope, link: Link, url: &str) -> Result<bool, Status> {
    let agent = &scope.version.agent;
    let name = match files::name_of(url, &scope.engine.host, agent).await {
        Ok(name) => name,
        // What is no name of a file was one when it was said.
        Err(status) if status.code() == Code::InvalidArgument => return Ok(false),
        Err(status) => return Err(status),
    };
    let mut client = StorageClient::new(link);
    let mut get = Request::new(GetFileRequest { name: name.clone() });
    get.set_timeout(PATIENCE);
    let file = match client.get_file(get).await {
        Ok(file) => file.into_inner(),
        Err(status) if matches!(status.code(), Code::NotFound | Code::PermissionDenied) => return Ok(false),
        Err(status) => return Err(status),
    };
    let ends = file.expire_time.and_then(|time| SystemTime::try_from(time).ok());
    let due = ends.is_some_and(|ends| ends < SystemTime::now() + RENEWED);
    if due && name.starts_with(&format!("{agent}/files/{FOLDER}/")) {
        let expiry = KEPT.try_into().ok().map(Expiry::TimeToLive);
        let mut update = Request::new(UpdateFileRequest { name, expiry, ..UpdateFileRequest::default() });
        update.set_timeout(PATIENCE);
        if let Err(status) = client.update_file(update).await {
            tracing::debug!(url, %status, "a file of a conversation was not kept for longer");
        }
    }
    Ok(true)
}

/// Deletes what came along with the prompts of a conversation, in the name of whoever deletes the conversation. A fork
/// refers to the files of the conversation that it was forked from: they stay with that one.
pub async fn delete(engine: &Engine, caller: &Caller, conversation: &Conversation) -> Result<(), Status> {
    let agent = access::agent_of(conversation);
    let folder = format!("{agent}/files/{FOLDER}/{}/", conversation.conversation_id);
    let mut names = HashSet::new();
    let mut pages = engine.conversations.store.pages(&conversation.conversation_id, 0).await?;
    while let Some(page) = pages.try_next().await? {
        for stored in page.messages {
            let Some(kept) = Kept::read(&stored) else { continue };
            for file in files_of(&kept).iter().filter(|file| file.url.starts_with("smythfs://")) {
                let name = files::name_of(&file.url, &engine.host, &agent).await.unwrap_or_default();
                if name.starts_with(&folder) && names.len() < MOST_DELETED {
                    names.insert(name);
                }
            }
        }
    }
    let Some(token) = caller.presented_token().filter(|_| !names.is_empty()) else { return Ok(()) };
    let key = ExchangeKey::next_hop(token.to_string(), Role::Io, &[WRITE]);
    let token = engine.host.tokens().exchange(key).await?;
    let link = engine.host.link(Role::Io).with_token(&token);
    let deletions = futures::stream::iter(names).map(|name| {
        let mut client = StorageClient::new(link.clone());
        async move {
            match client.delete_file(DeleteFileRequest { name, ..DeleteFileRequest::default() }).await {
                Ok(_) => Ok(()),
                Err(status) if status.code() == Code::NotFound => Ok(()),
                Err(status) => Err(status),
            }
        }
    });
    deletions.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::conversations::history::Asked;

    #[test]
    fn a_file_that_is_gone_leaves_a_word() {
        let file =
            |name: &str| FileOf { name: name.into(), mimetype: "image/png".into(), ..FileOf::default() };
        assert!(word_for(&file("cat.png")).starts_with("[A file cat.png (image/png) was part"));
        assert!(word_for(&FileOf::default()).starts_with("[A file without a name was part"));
        let asked = Asked { files: vec![file("a")], ..Asked::default() };
        let kept = Kept { sequence: 1, id: "m".into(), item: Item::User(asked) };
        assert_eq!(files_of(&kept).len(), 1);
    }
}

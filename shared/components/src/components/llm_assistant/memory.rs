//! What was said in one conversation, kept among the agent's own documents.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sre_proto::llm::v1::{ChatMessage, ChatRole};

use crate::components::llm::prompt;
use crate::context::{Call, Context};

/// Messages that are kept; older ones go first, whole turns at a time.
const MOST_MESSAGES: usize = 1_000;
/// Bytes of all of them.
const MOST_BYTES: usize = 1 << 20;
/// Others may write to the same conversation meanwhile.
const ATTEMPTS: usize = 8;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Said {
    role: Role,
    #[serde(rename = "content")]
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
}

impl Said {
    pub(super) fn user(text: String) -> Self {
        Self { role: Role::User, text }
    }

    pub(super) fn assistant(text: String) -> Self {
        Self { role: Role::Assistant, text }
    }

    pub(super) fn is_user(&self) -> bool {
        self.role == Role::User
    }

    pub(super) fn message(&self) -> ChatMessage {
        let role = if self.is_user() { ChatRole::User } else { ChatRole::Assistant };
        prompt::message(role, self.text.clone())
    }
}

/// One conversation's memory.
pub(super) struct Memory<'a> {
    context: &'a dyn Context,
    key: String,
}

impl<'a> Memory<'a> {
    /// The memory of a person's conversation; none where neither is named.
    pub(super) fn of(call: Call<'a>, user: Option<&str>, conversation: Option<&str>) -> Option<Self> {
        if user.is_none() && conversation.is_none() {
            return None;
        }
        // Ids are free texts: their digest keeps what two of them say apart, and fits a key.
        let mut digest = Sha256::new();
        for id in [user.unwrap_or_default(), conversation.unwrap_or_default()] {
            digest.update((id.len() as u64).to_be_bytes());
            digest.update(id.as_bytes());
        }
        let key = format!("assistant/{}", hex::encode(digest.finalize()));
        Some(Self { context: call.context, key })
    }

    /// All that is known.
    pub(super) async fn recall(&self) -> Result<Vec<Said>, String> {
        Ok(self.read().await?.0)
    }

    async fn read(&self) -> Result<(Vec<Said>, Option<String>), String> {
        let found = self.context.documents().read(&self.key).await.map_err(|error| error.message)?;
        let Some(found) = found else { return Ok((Vec::new(), None)) };
        // A document of another form is begun anew: it is one that nobody can go on with.
        let said = serde_json::from_slice(&found.value).unwrap_or_default();
        Ok((said, Some(found.version)))
    }

    /// Adds a turn to what is known by then.
    pub(super) async fn keep(&self, turn: [Said; 2], time_to_live: Option<Duration>) -> Result<(), String> {
        for _ in 0..ATTEMPTS {
            let (mut said, version) = self.read().await?;
            said.extend(turn.iter().cloned());
            let document = serde_json::to_vec(bounded(&said)).map_err(|error| error.to_string())?;
            let documents = self.context.documents();
            let written =
                documents.replace(&self.key, document.into(), version.as_deref(), time_to_live).await;
            if written.map_err(|error| error.message)? {
                return Ok(());
            }
        }
        Err("others write to it all the time: try again".to_owned())
    }
}

/// The newest of the messages that are kept, from one of the person's on.
fn bounded(said: &[Said]) -> &[Said] {
    let mut bytes = 0;
    let fits = |said: &&Said| {
        bytes += said.text.len();
        bytes <= MOST_BYTES
    };
    let count = said.iter().rev().take(MOST_MESSAGES).take_while(fits).count();
    let newest = said.get(said.len() - count..).unwrap_or_default();
    let begin = newest.iter().position(Said::is_user).unwrap_or(newest.len());
    newest.get(begin..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_has_an_end_and_begins_with_the_person() {
        let turn = |n: usize| [Said::user(format!("u{n}")), Said::assistant(format!("a{n}"))];
        let said: Vec<Said> = (0..501).flat_map(turn).collect();
        let kept = bounded(&said);
        assert_eq!((kept.len(), kept[0].text.as_str()), (1_000, "u1"));
        let long = [Said::user("u".into()), Said::assistant("a".repeat(MOST_BYTES)), Said::user("v".into())];
        assert_eq!(bounded(&long), &long[2..]);
    }
}

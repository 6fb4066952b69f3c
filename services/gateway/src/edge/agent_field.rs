//! Reads the one field of a run request that the edge needs, without knowing the rest.

use bytes::Bytes;
use prost::Message as _;

/// `agent` is field 1 of every request that starts a run; other fields are skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct AgentOnly {
    #[prost(string, tag = "1")]
    agent: String,
}

/// Why a unary request could not be read.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Unreadable {
    /// The frame header is missing or its length is not the body's.
    #[error("the request is not one gRPC message")]
    Frame,
    /// The message is compressed; the edge offers no compression.
    #[error("the request is compressed, which this server did not offer: send it plain")]
    Compressed,
    /// The message does not decode.
    #[error("the request does not decode: {0}")]
    Message(String),
}

/// The agent that a unary gRPC body names.
pub fn agent_of(body: &Bytes) -> Result<String, Unreadable> {
    let (header, message) = body.split_at_checked(5).ok_or(Unreadable::Frame)?;
    if header[0] != 0 {
        return Err(Unreadable::Compressed);
    }
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    if usize::try_from(length).ok() != Some(message.len()) {
        return Err(Unreadable::Frame);
    }
    let named = AgentOnly::decode(message).map_err(|e| Unreadable::Message(e.to_string()))?.agent;
    // A prompt names a conversation, which is its agent's.
    Ok(named.split_once("/conversations/").map_or_else(|| named.clone(), |(agent, _)| agent.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_proto::gateway::v1::{RunSkillRequest, StartRunRequest};

    fn frame(message: &impl prost::Message) -> Bytes {
        let mut body = vec![0; 5];
        message.encode(&mut body).unwrap();
        let length = u32::try_from(body.len() - 5).unwrap();
        body[1..5].copy_from_slice(&length.to_be_bytes());
        body.into()
    }

    #[test]
    fn both_kinds_of_run_name_their_agent_in_the_same_field() {
        let agent = "teams/default/agents/a".to_owned();
        let run = RunSkillRequest { agent: agent.clone(), session_id: "s".into(), ..Default::default() };
        assert_eq!(agent_of(&frame(&run)), Ok(agent.clone()));
        let start = StartRunRequest { agent: agent.clone(), request_id: "r".into(), ..Default::default() };
        assert_eq!(agent_of(&frame(&start)), Ok(agent));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(agent_of(&Bytes::from_static(b"abc")), Err(Unreadable::Frame));
        assert_eq!(agent_of(&Bytes::from_static(&[1, 0, 0, 0, 0])), Err(Unreadable::Compressed));
        assert_eq!(agent_of(&Bytes::from_static(&[0, 0, 0, 0, 9, 1])), Err(Unreadable::Frame));
        assert!(matches!(
            agent_of(&Bytes::from_static(&[0, 0, 0, 0, 2, 0xff, 0xff])),
            Err(Unreadable::Message(_))
        ));
    }
}

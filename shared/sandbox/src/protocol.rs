//! What goes over the two pipes of a worker: frames of a length (four bytes, little end first) and JSON. Code
//! and values travel as data; nothing is put together as source text.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::contract::Outline;
use crate::limits::{Limit, Limits};

/// The largest frame: a source and arguments of the largest size, escaped, and room.
pub const FRAME_BYTES: usize = 32 << 20;

/// What a worker is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Runs `main` of a source.
    Call(Box<CallFrame>),
    /// Looks at a source without running it.
    Check {
        /// What is looked at.
        program: Program,
        /// What that may take.
        limits: Limits,
    },
    /// The answer to a [`FromWorker::Http`].
    Http(HttpAnswer),
}

/// Code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// The source of an ES module.
    Script(String),
    /// A WebAssembly component.
    Component(#[serde(with = "base64_text")] Vec<u8>),
}

/// Bytes in JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

/// A call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallFrame {
    /// What it runs.
    pub program: Program,
    /// The arguments by name: the text of a JSON object.
    pub arguments: String,
    /// What it may take.
    pub limits: Limits,
    /// Requests to the network that it may make; 0: `fetch` does not exist.
    pub http_requests: u32,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The process that runs code was started, under this id outside. Said by the first process, while the second
    /// may be ready already; a frame this short is written in one piece.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// It has given up everything and waits for calls.
    Ready,
    /// The kernel refuses a part of the jail.
    Refused(Refusal),
    /// A line that code logged.
    Log {
        /// `log`, `info`, `warn`, `error` or `debug`.
        level: String,
        /// The line.
        text: String,
    },
    /// Code asks for something of the network.
    Http(HttpAsk),
    /// A call ended.
    Done {
        /// How.
        outcome: Outcome,
        /// What it took of the processor, in microseconds.
        cpu_us: u64,
    },
    /// What a source looks like.
    Checked(Result<Outline, Problem>),
}

/// A part of the jail that the kernel refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the kernel refuses the sandbox's {part}: {cause}; {allow}")]
pub struct Refusal {
    /// Which part.
    pub part: String,
    /// What the kernel said.
    pub cause: String,
    /// How to allow it.
    pub allow: String,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// `main` gave a value: JSON text, or none for what JSON has no word for.
    Returned(Option<String>),
    /// Code threw.
    Threw(Thrown),
    /// The source is not what the contract asks for.
    Refused(Problem),
    /// A limit was reached.
    Exceeded(Limit),
}

/// What code threw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thrown {
    /// The class of the error.
    pub name: String,
    /// Its message.
    pub message: String,
    /// Where.
    pub stack: Option<String>,
}

/// Why a source is refused. The texts are the reference's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// It has no `main`.
    #[error("No main function found at root level")]
    NoMain,
    /// Its `main` is not async.
    #[error("Main function exists but is not async")]
    NotAsync,
    /// It is not JavaScript.
    #[error("Failed to parse code: {0}")]
    Syntax(String),
    /// It is no WebAssembly component that can run here.
    #[error("Failed to load component: {0}")]
    Component(String),
    /// This build runs no WebAssembly.
    #[error("WebAssembly components are not part of this build")]
    NoComponents,
    /// Looking at it took too much.
    #[error("looking at the code exceeds the limit {0}")]
    Limit(Limit),
}

/// A request that code makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAsk {
    /// The method, in upper case.
    pub method: String,
    /// The address.
    pub url: String,
    /// Headers, in order.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default)]
    pub body: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpAnswer {
    /// An answer.
    Answered {
        /// Its status.
        status: u16,
        /// Its headers, in order.
        headers: Vec<(String, String)>,
        /// Its body as text.
        body: String,
        /// Where it came from.
        url: String,
    },
    /// None: why.
    Failed(String),
}

/// Writes a frame.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)?;
    to.flush()
}

/// Reads a frame; none at the end of the pipe.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut frame = vec![0; checked(length)?];
    from.read_exact(&mut frame)?;
    decode(&frame).map(Some)
}

/// A frame's bytes, its length before them.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES {
        return Err(too_large(length));
    }
    let head = u32::try_from(length).map_err(|_| too_large(length))?.to_le_bytes();
    frame[..4].copy_from_slice(&head);
    Ok(frame)
}

/// How many bytes follow this head.
pub fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES { Err(too_large(length)) } else { Ok(length) }
}

/// What a frame says.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(frame)?)
}

fn too_large(length: usize) -> io::Error {
    let message = format!("a frame of {length} bytes: {FRAME_BYTES} are the most");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_each_other() {
        let mut pipe = Vec::new();
        let said = [
            FromWorker::Started { pid: 7 },
            FromWorker::Done { outcome: Outcome::Exceeded(Limit::Heap), cpu_us: 3 },
            FromWorker::Checked(Err(Problem::Syntax("x".to_owned()))),
        ];
        for message in &said {
            write(&mut pipe, message).unwrap();
        }
        let mut from = pipe.as_slice();
        for message in said {
            assert_eq!(read::<FromWorker>(&mut from).unwrap(), Some(message));
        }
        assert_eq!(read::<FromWorker>(&mut from).unwrap(), None);
    }

    #[test]
    fn a_frame_that_is_too_large_or_broken_is_refused() {
        let mut huge = u32::MAX.to_le_bytes().as_slice().to_vec();
        huge.push(0);
        assert!(read::<FromWorker>(&mut huge.as_slice()).is_err());
        assert!(read::<FromWorker>(&mut [3, 0, 0, 0, b'{', b'}', b'}'].as_slice()).is_err());
        assert!(read::<FromWorker>(&mut [9, 0, 0, 0, b'{'].as_slice()).is_err());
    }
}

//! What the journal keeps of a debug session.

use bytes::Bytes;
use prost::Message;
use sre_engine::Value;
use sre_engine::debug::DebugState;

use crate::engine::redact::Redactor;

/// A command of a session and what it left: the body of a DEBUG_STEP record. The last one is the session.
#[derive(Clone, PartialEq, Message)]
pub struct DebugStepTaken {
    /// The session's state as JSON, secrets as markers.
    #[prost(bytes = "bytes", tag = "1")]
    pub state: Bytes,
    /// Components before which a continued session stops.
    #[prost(string, repeated, tag = "2")]
    pub breakpoints: Vec<String>,
    /// What was asked for: `start`, `step`, `continue`, `inject`, `update`.
    #[prost(string, tag = "3")]
    pub command: String,
    /// Whether nothing can run any more.
    #[prost(bool, tag = "4")]
    pub closed: bool,
    /// How many cycles it ran.
    #[prost(uint64, tag = "5")]
    pub step: u64,
}

/// A session's state as it may be written.
pub fn written(mut state: DebugState, redactor: &Redactor) -> Result<Bytes, serde_json::Error> {
    state.each_value(&mut |value| *value = redactor.redact(value));
    Ok(serde_json::to_vec(&state)?.into())
}

/// A written state, each value changed: for example its secrets put back.
pub fn read(state: &[u8], change: &dyn Fn(&Value) -> Value) -> Result<DebugState, serde_json::Error> {
    let mut state: DebugState = serde_json::from_slice(state)?;
    state.each_value(&mut |value| *value = change(value));
    Ok(state)
}

/// The secrets that a written state names.
pub fn secret_names(state: &[u8], redactor: &Redactor) -> Result<Vec<String>, serde_json::Error> {
    let mut state: DebugState = serde_json::from_slice(state)?;
    let mut names = Vec::new();
    state.each_value(&mut |value| names.extend(redactor.names_in(value)));
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sre_engine::debug::DebugRun;
    use sre_engine::{RequestData, RunOptions};

    #[test]
    fn a_state_is_written_without_its_secrets_and_gets_them_back() {
        let document = json!({"id": "a", "name": "A", "connections": [], "components": [
            {"id": "IN", "name": "APIEndpoint", "title": "", "displayName": "",
             "data": {"endpoint": "go", "method": "POST"}, "inputs": [], "outputs": []}]});
        let plan = sre_engine::compile(&document, sre_components::registry()).unwrap();
        let plan = std::sync::Arc::new(plan);
        let request = RequestData::post("/api/go", json!({"x": "my supersecret"}).into());
        let entry = plan.entry("IN").unwrap();
        let run = DebugRun::start(plan, entry, request, RunOptions::default());
        let mut redactor = Redactor::new("n");
        redactor.learn("api", "supersecret");
        let text = written(run.state(), &redactor).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("supersecret"));
        assert_eq!(secret_names(&text, &redactor).unwrap(), ["api"]);
        let back = read(&text, &|value| redactor.restore(value)).unwrap();
        assert_eq!(serde_json::to_value(back).unwrap(), serde_json::to_value(run.state()).unwrap());
    }
}

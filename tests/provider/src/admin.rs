//! The server's own paths, for tests in other languages and other processes: `/__fake/scenarios` (POST: queue one or
//! several, GET: the named ones), `/__fake/requests` (GET, DELETE), `/__fake/ledger`, `/__fake/load` (POST),
//! `/__fake/service-account`.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use crate::named::{all, named};
use crate::routes::{Incoming, json_answer};
use crate::scenario::Scenario;
use crate::state::{Load, State};

pub(crate) fn handle(state: &State, incoming: &Incoming) -> Response {
    let path = incoming.path.trim_start_matches("/__fake/");
    match (&incoming.method, path) {
        (&Method::POST, "scenarios") => match read(incoming.json()) {
            Ok(scenarios) => {
                let count = scenarios.len();
                scenarios.into_iter().for_each(|scenario| state.queue(scenario));
                json_answer(200, &json!({"queued": count}))
            }
            Err(words) => json_answer(400, &json!({"error": words})),
        },
        (&Method::GET, "scenarios") => {
            let names: Vec<String> = all().into_iter().map(|(name, _)| name).collect();
            json_answer(200, &json!(names))
        }
        (&Method::GET, "requests") => json_answer(200, &json!(state.requests())),
        (&Method::DELETE, "requests") => {
            state.clear();
            json_answer(200, &json!({}))
        }
        (&Method::GET, "ledger") => json_answer(200, &json!(state.ledger())),
        (&Method::GET, "service-account") => match state.issuer.service_account() {
            Ok(account) => json_answer(200, &serde_json::from_str(&account).unwrap_or_default()),
            Err(error) => json_answer(500, &json!({"error": error.to_string()})),
        },
        (&Method::POST, "load") => match serde_json::from_value::<Load>(incoming.json()) {
            Ok(load) => {
                state.set_load(load);
                json_answer(200, &json!(load))
            }
            Err(error) => json_answer(400, &json!({"error": error.to_string()})),
        },
        _ => json_answer(404, &json!({"error": "no such path of the fake's own"})),
    }
}

/// A scenario, a name, or a list of both.
fn read(value: Value) -> Result<Vec<Scenario>, String> {
    match value {
        Value::Array(items) => items.into_iter().map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}

fn one(value: Value) -> Result<Scenario, String> {
    match value {
        Value::String(name) => named(&name).ok_or_else(|| format!("no scenario {name:?}")),
        other => serde_json::from_value(other).map_err(|error| error.to_string()),
    }
}

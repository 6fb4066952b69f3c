//! The runs that a call is made in: the one that calls, and before it those that it was started from. What one of them
//! may use counts for all of it, so whoever counts must not take the caller's word for which run it is.
//!
//! The engine knows, since it runs them. It says so in metadata, which counts from services of the suite that act for
//! runs and from nobody else, and has it put into the tokens of components out of process, which call by themselves.

use http::{HeaderMap, HeaderValue};

use crate::peer::Peer;
use crate::token::AuthError;

/// The metadata key.
pub const METADATA_KEY: &str = "sre-runs";
/// Runs at most. Calls are nested 16 deep at most, each in a run and a turn; beyond it the outermost count.
pub const MOST: usize = 48;
/// A run's name is no longer.
const MOST_BYTES: usize = 200;
/// Whose word counts: the engine, and the service that embeds what the engine's runs store.
const BELIEVED: [&str; 2] = ["engine", "io"];

/// A run's name here: its team and its id.
pub fn name(team: &str, run: &str) -> String {
    format!("{team}/{run}")
}

/// The team and the id of a run.
pub fn parts(name: &str) -> Option<(&str, &str)> {
    name.split_once('/').filter(|(team, run)| !team.is_empty() && !run.is_empty())
}

/// Whether these can be runs, in their number and their names.
pub fn are_valid(runs: &[String]) -> bool {
    runs.len() <= MOST && runs.iter().all(|run| is_valid(run))
}

fn is_valid(run: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    run.len() <= MOST_BYTES && run.bytes().all(plain) && parts(run).is_some()
}

/// The value of the metadata; none where there is nothing to say.
pub fn header(runs: &[String]) -> Option<HeaderValue> {
    if runs.is_empty() || !are_valid(runs) {
        return None;
    }
    HeaderValue::try_from(runs.join(",")).ok()
}

/// What a peer says, where its word counts. What it says wrongly is refused rather than passed over: it would count for
/// no run.
pub(crate) fn said(headers: &HeaderMap, peer: &Peer) -> Result<Vec<String>, AuthError> {
    let mut values = headers.get_all(METADATA_KEY).iter();
    let Some(value) = values.next() else { return Ok(Vec::new()) };
    if !BELIEVED.iter().any(|role| peer.is_service(role)) {
        return Ok(Vec::new());
    }
    let text = value.to_str().map_err(|_| AuthError::Malformed)?;
    let runs: Vec<String> = text.split(',').take(MOST + 1).map(str::to_owned).collect();
    match values.next().is_none() && are_valid(&runs) {
        true => Ok(runs),
        false => Err(AuthError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_world::peer;

    fn with(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(METADATA_KEY.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn only_services_that_act_for_runs_are_believed() {
        let runs = ["red/00-a".to_owned(), "blue/00-b".to_owned()];
        let said_by = |who: &str| said(&with(header(&runs).unwrap().to_str().unwrap()), &peer(who)).unwrap();
        assert_eq!(said_by("service/engine"), runs);
        assert_eq!(said_by("service/io"), runs);
        for other in ["service/edge", "service/acme", "service/compute", "user/alice", "agent/a"] {
            assert_eq!(said_by(other), Vec::<String>::new(), "{other}");
        }
    }

    #[test]
    fn what_is_no_run_is_refused() {
        let long = format!("t/{}", "r".repeat(MOST_BYTES));
        let many = vec!["t/r"; MOST + 1].join(",");
        for wrong in ["", "run", "t/", "/r", "t/a,,t/b", "t/a b", &long, &many] {
            assert!(
                matches!(said(&with(wrong), &peer("service/engine")), Err(AuthError::Malformed)),
                "{wrong}"
            );
        }
        let mut twice = with("t/a");
        twice.append(METADATA_KEY, "t/b".parse().unwrap());
        assert!(said(&twice, &peer("service/engine")).is_err());
        assert_eq!(header(&[]), None);
        assert_eq!(header(&["t/a,t/b".to_owned()]), None);
    }
}

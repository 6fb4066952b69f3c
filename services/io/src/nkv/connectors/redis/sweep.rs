//! Removing what nobody can see any more, in steps that keep nobody waiting.

use std::collections::BTreeMap;

use sre_redis::{Effect, Redis, cmd};

use super::{Keys, scripts};
use crate::clock::Millis;
use crate::error::IoError;

const BATCH: usize = 500;

/// Sweeps a team; gives how many values went.
pub(super) async fn team(redis: &Redis, keys: &Keys, now: Millis) -> Result<u64, IoError> {
    Ok(expired(redis, keys, now).await? + dropped(redis, keys).await?)
}

async fn expired(redis: &Redis, keys: &Keys, now: Millis) -> Result<u64, IoError> {
    let mut gone = 0;
    loop {
        let past = cmd("ZRANGEBYSCORE")
            .arg(keys.own("ends"))
            .arg("-inf")
            .arg(now)
            .arg("LIMIT")
            .arg(0)
            .arg(BATCH)
            .to_owned();
        let marks: Vec<String> = redis.query(&past, Effect::Read).await?;
        let mut by_namespace: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (namespace, key) in marks.iter().filter_map(|mark| mark.split_once('\n')) {
            by_namespace.entry(namespace).or_default().push(key);
        }
        for (namespace, found) in by_namespace {
            let touched = [keys.values(namespace), keys.keys(namespace), keys.own("ends"), keys.own("books")];
            let mut call = scripts::EXPIRE.keys(&touched).arg(namespace).arg(now);
            for key in found {
                call = call.arg(key);
            }
            gone += call.run::<u64>(redis, Effect::Write).await?;
        }
        if marks.len() < BATCH {
            return Ok(gone);
        }
    }
}

async fn dropped(redis: &Redis, keys: &Keys) -> Result<u64, IoError> {
    let marks: Vec<String> = redis.query(cmd("HKEYS").arg(keys.own("dropped")), Effect::Read).await?;
    let mut gone = 0;
    for mark in marks {
        let [values, names] = keys.dropped(&mark);
        let touched = [values, names, keys.own("ends"), keys.own("books"), keys.own("dropped")];
        loop {
            let call = scripts::SWEEP_DROPPED.keys(&touched).arg(&mark).arg(BATCH);
            let swept = call.run::<u64>(redis, Effect::Write).await?;
            gone += swept;
            if swept < BATCH as u64 {
                break;
            }
        }
    }
    Ok(gone)
}

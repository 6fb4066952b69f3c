//! Pages of lists: a token is the sort key of the last row, in base64url.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

const DEFAULT_SIZE: usize = 50;
const MAX_SIZE: usize = 1000;

/// Which page is asked for: how many rows, and after which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<K> {
    /// At most so many rows.
    pub size: usize,
    /// The sort key of the last row of the page before.
    pub after: Option<K>,
}

impl<K: DeserializeOwned> Page<K> {
    /// Reads the two fields of a list request.
    pub fn read(page_size: i32, page_token: &str) -> Result<Self, Error> {
        let size = match usize::try_from(page_size) {
            Ok(0) => DEFAULT_SIZE,
            Ok(size) => size.min(MAX_SIZE),
            Err(_) => return Err(Error::invalid("page_size", "is negative: give 0 to 1000")),
        };
        let after = if page_token.is_empty() { None } else { Some(decode(page_token)?) };
        Ok(Self { size, after })
    }
}

fn decode<K: DeserializeOwned>(token: &str) -> Result<K, Error> {
    let wrong = || Error::invalid("page_token", "is not one of an earlier answer");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
    serde_json::from_slice(&bytes).map_err(|_| wrong())
}

/// Cuts rows read one beyond the page, and names the next page where there is one.
pub fn cut<T, K: Serialize>(mut rows: Vec<T>, size: usize, key: impl Fn(&T) -> K) -> (Vec<T>, String) {
    if rows.len() <= size {
        return (rows, String::new());
    }
    rows.truncate(size);
    let next = rows.last().map(|row| token(&key(row))).unwrap_or_default();
    (rows, next)
}

/// The token of the page after this sort key.
pub fn token<K: Serialize>(key: &K) -> String {
    serde_json::to_vec(key).map(|json| URL_SAFE_NO_PAD.encode(json)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_without_gap_or_repeat() {
        let all: Vec<i32> = (0..7).collect();
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let page = Page::<i32>::read(3, &token).unwrap();
            let rows: Vec<i32> = all
                .iter()
                .copied()
                .filter(|n| page.after.is_none_or(|after| *n > after))
                .take(page.size + 1)
                .collect();
            let (rows, next) = cut(rows, page.size, |n| *n);
            seen.extend(rows);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_foreign_token_and_a_negative_size_are_refused() {
        assert!(Page::<i32>::read(-1, "").is_err());
        assert!(Page::<i32>::read(0, "%%").is_err());
        assert!(Page::<i32>::read(0, "YWJj").is_err());
        assert_eq!(Page::<i32>::read(0, "").unwrap().size, 50);
        assert_eq!(Page::<i32>::read(9999, "").unwrap().size, 1000);
    }
}

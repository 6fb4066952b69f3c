//! Scripts: several changes in one step of the server.

use redis::{Cmd, FromRedisValue, ToRedisArgs};

use crate::{Effect, Redis, RedisError};

/// A Lua script, sent by its hash. Keep it in a `static` [`std::sync::LazyLock`].
#[derive(Debug)]
pub struct Script {
    body: &'static str,
    hash: String,
}

impl Script {
    /// A script of this text.
    pub fn new(body: &'static str) -> Self {
        Self { body, hash: redis::Script::new(body).get_hash().to_owned() }
    }

    /// Begins a call with the keys that the script touches.
    pub fn keys<K: ToRedisArgs>(&self, keys: &[K]) -> Invocation {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hash).arg(keys.len());
        for key in keys {
            call.arg(key);
        }
        Invocation { body: self.body, call }
    }
}

/// A call of a script.
#[derive(Debug)]
pub struct Invocation {
    body: &'static str,
    call: Cmd,
}

impl Invocation {
    /// The next argument.
    #[must_use]
    pub fn arg<A: ToRedisArgs>(mut self, argument: A) -> Self {
        self.call.arg(argument);
        self
    }

    /// Runs it. A server that does not know the script yet learns it.
    pub async fn run<T: FromRedisValue>(&self, redis: &Redis, effect: Effect) -> Result<T, RedisError> {
        redis.call(&self.call, Some(self.body), effect).await
    }
}

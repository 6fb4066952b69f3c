//! The scripts, each with what they share before it.

use std::sync::LazyLock;

use sre_redis::Script;

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("prelude.lua"), "\n", include_str!($file))));
    };
}

script!(GET, "get.lua");
script!(LIST, "list.lua");
script!(NAMES, "names.lua");
script!(SET, "set.lua");
script!(DELETE, "delete.lua");
script!(DROP, "drop.lua");
script!(ACL, "acl.lua");
script!(EXPIRE, "expire.lua");
script!(SWEEP_DROPPED, "sweep_dropped.lua");

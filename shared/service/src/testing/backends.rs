//! The servers of others that tests run against; `tests/stages/servers.sh` starts them.

/// Where a server is, from its variable (`SRE_TEST_REDIS`, `SRE_TEST_MOTO`, and so on), or None where a developer
/// runs tests without it: the test says so and returns. Panics in CI, and where `SRE_TEST_REQUIRE` is set, so that
/// no test is skipped there.
#[must_use]
#[expect(clippy::panic, clippy::print_stdout, reason = "only tests call this")]
pub fn backend(variable: &str) -> Option<String> {
    if let Ok(place) = std::env::var(variable)
        && !place.is_empty()
    {
        return Some(place);
    }
    if ["CI", "SRE_TEST_REQUIRE"].iter().any(|name| std::env::var_os(name).is_some()) {
        panic!("{variable} names no server: run the test with tests/stages/servers.sh");
    }
    println!("skipped: {variable} names no server; tests/stages/servers.sh starts one");
    None
}

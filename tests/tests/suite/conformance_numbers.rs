//! Every hole (H) and defect (D) of services.md §2.9 and §5 has a regression test whose name begins with its number,
//! `h15_...` or `d16_d17_...`, wherever it is; those that have none are listed here with the test that shows them, or
//! with the reason why there is nothing to show. A test that is renamed or removed fails here.

use std::collections::BTreeSet;
use std::path::Path;

use super::architecture::sources;
use super::conformance_groups::missing;

const HOLES: u32 = 38;
const DEFECTS: u32 = 57;

/// Where these numbers are those of services.md; other specs count their own.
const FOLDERS: &[&str] = &[
    "shared/identity",
    "shared/proto",
    "shared/redis",
    "shared/service",
    "shared/store",
    "shared/vectors",
    "services/agent",
    "services/io",
    // The rest of that service counts the defects of llm.md.
    "services/llm/src/inference/embeddings",
    "services/memory",
    "services/security",
    "tests/tests",
];

/// Shown by tests that show more than this, or that are named for something else.
const UNDER_OTHER_NAMES: &[(&str, &[(&str, &str)])] = &[
    ("H29", &[("tests/tests/suite/canary/mod.rs", "exports")]),
    (
        "H31",
        &[
            ("tests/tests/suite/canary/mod.rs", "exports"),
            ("tests/tests/suite/end_to_end/canary.rs", "canary"),
        ],
    ),
    (
        "D36",
        &[
            ("services/io/src/vector_db/tests.rs", "d34_d35_what_cannot_be_is_refused"),
            (
                "services/llm/src/inference/embeddings/tests.rs",
                "d35_batches_dimensions_and_line_breaks_are_as_asked",
            ),
            ("services/security/src/vault/connectors/contract/reading.rs", "what_is_not_there_is_not_found"),
        ],
    ),
    ("H25", &[("services/compute/tests/suite/escape.rs", "nothing_gets_out_and_nobody_notices")]),
    (
        "H26",
        &[("services/compute/src/backends/lambda/tests.rs", "a_function_is_made_called_changed_and_deleted")],
    ),
    ("H27", &[("services/compute/tests/suite/service.rs", "its_list_says_who_may_run_it")]),
    ("D5", &[("services/compute/tests/suite/service.rs", "code_is_prepared_deployed_run_and_deleted")]),
    (
        "D46",
        &[
            ("services/compute/tests/suite/escape.rs", "nothing_gets_out_and_nobody_notices"),
            ("services/compute/tests/suite/service.rs", "what_is_wrong_has_its_words_and_its_name"),
        ],
    ),
    (
        "D47",
        &[
            (
                "services/compute/src/backends/lambda/tests.rs",
                "a_function_is_made_called_changed_and_deleted",
            ),
            ("services/compute/src/backends/lambda/tests.rs", "one_that_does_not_get_ready_is_given_up"),
        ],
    ),
    ("D48", &[("tests/tests/suite/telemetry/mod.rs", "spans")]),
    ("D50", &[("tests/tests/suite/end_to_end/audit.rs", "the_log_is_asked_exported_and_verified")]),
    ("D52", &[("shared/service/src/config/tests.rs", "a_wrong_value_names_its_key_and_origin")]),
    ("D54", &[("shared/service/src/config/tests.rs", "the_reference_lists_every_default")]),
];

/// Of these nothing is left that could be wrong, or their service is not this one's.
const NOTHING_TO_SHOW: &[(&str, &str)] = &[
    ("D49", "services.md §3.10: no listeners: a span ends with what it is of"),
    ("D51", "design/durability.md: a journal is appended to, and never written again"),
    ("D53", "a configuration is read-only once it is loaded, and values are owned: the compiler sees to it"),
    ("D55", "there is no receiver of external events"),
    ("D57", "there are no hooks: layers are built with the server"),
];

#[test]
fn every_number_is_named_by_a_test() {
    let mut named = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in FOLDERS {
        for file in sources(&root.join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            named.extend(text.split("fn ").skip(1).flat_map(numbers));
        }
    }
    let holes = (1..=HOLES).map(|n| format!("H{n}"));
    let all = holes.chain((1..=DEFECTS).map(|n| format!("D{n}")));
    let listed: BTreeSet<&str> = UNDER_OTHER_NAMES
        .iter()
        .map(|(number, _)| *number)
        .chain(NOTHING_TO_SHOW.iter().map(|(number, _)| *number))
        .collect();
    let without: Vec<String> =
        all.filter(|number| !named.contains(number) && !listed.contains(number.as_str())).collect();
    assert_eq!(without, Vec::<String>::new(), "no test names these");
    assert_eq!(missing(UNDER_OTHER_NAMES), Vec::<String>::new());
}

/// The numbers that a function's name begins with.
pub fn numbers(rest: &str) -> Vec<String> {
    let name = rest.split('(').next().unwrap_or_default();
    let parts = name.split('_').filter(|part| *part != "and").map_while(|part| {
        let digits = part.get(1..).map_or("", |rest| rest.strip_suffix('b').unwrap_or(rest));
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        (is_number && part.starts_with(['h', 'd'])).then(|| part.to_uppercase())
    });
    parts.collect()
}

#[test]
fn numbers_are_read_from_names() {
    assert_eq!(numbers("d4_and_d56_instances_are_closed()"), ["D4", "D56"]);
    assert_eq!(numbers("h16_h17_h37_other_teams(x: u8)"), ["H16", "H17", "H37"]);
    assert_eq!(numbers("d1b_no_text(x: u8)"), ["D1B"]);
    assert_eq!(numbers("delete_d1(x: u8)"), Vec::<String>::new());
}

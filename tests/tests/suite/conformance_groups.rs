//! Where each item of services.md §4.3, groups 1 to 7, is tested. A test that is renamed or removed fails here,
//! so that the list stays true. The holes and defects, by their numbers, are in `conformance_numbers`.

use std::path::Path;

/// What must hold, and the tests that hold it: file and name.
const ITEMS: &[(&str, &[(&str, &str)])] = &[
    ("1 golden hashes", &[("shared/identity/src/acl/legacy_tests.rs", "keys_match_the_recorded_ones")]),
    (
        "1 golden texts",
        &[
            ("shared/identity/src/acl/legacy_tests.rs", "the_recorded_texts_are_read"),
            ("shared/identity/src/acl/legacy_tests.rs", "the_recorded_texts_are_written"),
        ],
    ),
    (
        "1 parser fuzz",
        &[
            ("shared/identity/src/acl/legacy_tests.rs", "any_text_is_read_or_refused"),
            ("shared/identity/src/acl/legacy_tests.rs", "mutations_of_good_texts_are_read_or_refused"),
        ],
    ),
    ("1 safe table", &[("shared/identity/src/decide_tests.rs", "the_safe_table_row_by_row")]),
    (
        "1 properties",
        &[
            ("shared/identity/src/decide_tests.rs", "the_whole_table_agrees_with_the_model"),
            ("shared/identity/src/decide_tests.rs", "any_list_agrees_with_the_model"),
            ("shared/identity/src/decide_tests.rs", "more_entries_for_others_never_take_rights_away"),
        ],
    ),
    (
        "1 revocation",
        &[
            ("shared/identity/src/acl/mod.rs", "h2_rights_can_be_revoked"),
            ("shared/identity/src/decide_tests.rs", "h2_a_revoked_right_is_gone"),
        ],
    ),
    (
        "2 no certificate",
        &[
            ("shared/identity/src/tls_tests.rs", "h13_a_client_without_certificate_is_refused"),
            ("tests/tests/suite/matrix/mod.rs", "no_certificate_and_a_foreign_one_fail_in_the_handshake"),
        ],
    ),
    ("2 expired", &[("shared/identity/src/tls_tests.rs", "certificates_out_of_time_are_refused")]),
    ("2 wrong domain", &[("shared/identity/src/leaf_tests.rs", "foreign_and_unknown_names_are_refused")]),
    ("2 two SANs, CN only", &[("shared/identity/src/leaf_tests.rs", "anything_but_one_name_is_refused")]),
    ("2 an authority as leaf", &[("shared/identity/src/leaf_tests.rs", "authorities_are_no_identities")]),
    ("2 service without token", &[("shared/identity/src/layer_tests.rs", "a_service_must_act_for_somebody")]),
    (
        "2 wrong audience, actor, time, algorithm, key",
        &[
            ("shared/identity/src/token/tests.rs", "audience_and_presenter_are_bound"),
            ("shared/identity/src/token/tests.rs", "times_are_checked_with_little_tolerance"),
            ("shared/identity/src/token/tests.rs", "the_header_cannot_choose_how_it_is_verified"),
            ("shared/identity/src/token/tests.rs", "forged_tokens_are_refused"),
            ("shared/identity/src/token/tests.rs", "an_unknown_key_waits_for_a_newer_set"),
        ],
    ),
    ("2 duplicated metadata", &[("shared/identity/src/layer_tests.rs", "two_tokens_are_one_too_many")]),
    (
        "2 scope",
        &[
            ("shared/identity/src/token/tests.rs", "scopes_cover_exactly"),
            ("services/security/src/tests/exchange.rs", "nobody_obtains_more_than_the_table_says"),
        ],
    ),
    (
        "2 a chain of nine",
        &[
            ("shared/identity/src/token/tests.rs", "chains_end_at_eight"),
            ("shared/identity/src/exchange_tests.rs", "chains_end_at_eight"),
            (
                "services/security/src/tests/exchange.rs",
                "a_chain_of_agents_grows_by_one_and_ends_at_its_limit",
            ),
        ],
    ),
    (
        "2 taken away within 30 s",
        &[
            ("tests/tests/suite/revocation.rs", "a_removed_member_is_refused_within_30_seconds"),
            ("shared/identity/src/token/tests.rs", "every_kind_of_revocation_takes_effect_on_cached_tokens"),
        ],
    ),
    ("2 XFCC ignored", &[("shared/identity/src/layer_tests.rs", "h13_the_edge_believes_no_header")]),
    (
        "3 every method and caller",
        &[
            ("tests/tests/suite/matrix/mod.rs", "over_tls_to_each_role"),
            ("tests/tests/suite/matrix/mod.rs", "through_the_edge"),
            ("tests/tests/suite/matrix/mod.rs", "inside_one_process"),
            ("tests/tests/suite/authz_fuzz.rs", "the_services_agree_with_the_model"),
        ],
    ),
    (
        "7 no plaintext at rest",
        &[
            ("services/security/src/vault/tests.rs", "at_rest_nothing_is_in_clear"),
            (
                "services/security/src/managed_vault/connectors/embedded_tests.rs",
                "at_rest_no_value_is_in_clear",
            ),
            (
                "services/security/src/vault/connectors/encrypted_file/tests.rs",
                "values_outlive_the_process_and_are_not_in_the_file",
            ),
        ],
    ),
    (
        "7 rotation of the vault keys",
        &[
            ("tests/tests/suite/end_to_end/vault_rotation.rs", "vault_keys_rotate_under_load"),
            ("services/security/src/tests/vault.rs", "the_keys_rotate_and_everything_is_still_there"),
            (
                "services/security/src/vault/connectors/encrypted_file/tests.rs",
                "a_rotation_that_was_cut_off_is_completed",
            ),
        ],
    ),
    (
        "7 wrong associated data",
        &[
            ("services/security/src/vault/envelope.rs", "a_value_opens_only_in_its_place_and_with_its_key"),
            ("services/security/src/vault/connectors/postgres_tests.rs", "a_moved_row_does_not_open"),
            (
                "services/security/src/managed_vault/connectors/embedded_tests.rs",
                "a_moved_value_does_not_open",
            ),
        ],
    ),
    (
        "7 grants",
        &[
            ("services/security/src/tests/vault.rs", "a_grant_takes_rights_on_both_sides"),
            (
                "services/security/src/vault/tests.rs",
                "a_granted_secret_is_used_where_there_is_none_of_ones_own",
            ),
        ],
    ),
    (
        "7 references to the environment",
        &[("services/security/src/tests/vault.rs", "references_to_the_environment_are_refused_on_write")],
    ),
    (
        "5 injective keys",
        &[
            ("services/io/src/nkv/connectors/contract/mod.rs", "d30_names_and_values_are_kept_as_they_are"),
            ("services/memory/src/cache/connectors/contract/mod.rs", "h10_h11_h28_keys_are_injective"),
        ],
    ),
    (
        "5 namespaces that are prefixes, globs",
        &[("services/io/src/nkv/connectors/contract/mod.rs", "h28_namespaces_and_prefixes_are_exact")],
    ),
    (
        "5 empty arguments",
        &[
            ("services/io/src/nkv/service_tests.rs", "h28_empty_arguments_are_refused"),
            ("services/memory/src/cache/name.rs", "h11_other_forms_are_refused"),
        ],
    ),
    (
        "5 units of times to live",
        &[
            (
                "services/memory/src/cache/message.rs",
                "d24_times_to_live_are_milliseconds_and_minus_one_is_no_end",
            ),
            ("services/memory/src/cache/connectors/contract/mod.rs", "an_entry_ends_on_the_dot"),
            ("services/memory/src/cache/connectors/contract/mod.rs", "d24_an_entry_without_end_says_so"),
        ],
    ),
    (
        "5 a set and a list at once",
        &[
            ("services/io/src/nkv/connectors/contract/mod.rs", "h33_a_list_and_values_race"),
            ("services/memory/src/cache/connectors/contract/mod.rs", "h33_a_list_and_a_value_race"),
        ],
    ),
    (
        "5 properties",
        &[
            ("services/io/src/nkv/connectors/contract/histories.rs", "random_histories_match_a_map"),
            ("services/memory/src/cache/connectors/contract/histories.rs", "histories_match_the_rules"),
        ],
    ),
    (
        "4 traversal corpus",
        &[
            ("services/io/src/storage/more_tests.rs", "h9_the_traversal_corpus_is_refused"),
            ("services/io/src/storage/connectors/local_tests.rs", "h9_links_out_of_the_root_are_refused"),
        ],
    ),
    (
        "4 overwrite keeps the list, delete needs write",
        &[("services/io/src/storage/service_tests.rs", "h6_h7_levels_give_what_they_say_and_no_more")],
    ),
    (
        "4 exact times to live",
        &[
            ("services/io/src/storage/index/contract/rows.rs", "expiry_is_exact"),
            ("services/io/src/storage/more_tests.rs", "d18_expiry_is_set_and_taken_away"),
        ],
    ),
    (
        "4 links end and are revoked",
        &[
            ("services/io/src/router/link_tests.rs", "h21_d41_a_link_ends_when_it_says"),
            ("services/io/src/router/link_tests.rs", "h21_a_link_is_revoked_with_all_its_addresses"),
        ],
    ),
    (
        "4 content types",
        &[(
            "services/io/src/router/door_tests.rs",
            "h22_active_content_is_downloaded_and_nothing_is_sniffed",
        )],
    ),
    (
        "4 import of the first layout",
        &[
            ("services/io/src/storage/import.rs", "d38_d39_old_places_have_new_names"),
            ("tests/tests/suite/end_to_end/files.rs", "imported_and_linked"),
        ],
    ),
    ("6 splitter", &[("shared/vectors/src/splitter/tests.rs", "golden_chunks")]),
    ("6 scores", &[("shared/vectors/src/contract/finding.rs", "scores_agree_with_the_metric")]),
    (
        "6 namespaces are apart",
        &[
            ("services/io/src/vector_db/tests.rs", "h16_h17_h37_other_teams_reach_and_learn_nothing"),
            ("shared/vectors/src/contract/writing.rs", "collections_are_apart"),
        ],
    ),
    (
        "6 replacing a datasource",
        &[("services/io/src/vector_db/tests.rs", "d32_a_datasource_is_replaced_whole")],
    ),
    ("6 another dimension", &[("services/io/src/vector_db/tests.rs", "d34_d35_what_cannot_be_is_refused")]),
    (
        "6 restarts",
        &[
            ("shared/vectors/src/embedded/tests.rs", "d32_a_restart_finds_everything_again"),
            ("tests/tests/suite/vectors_crash.rs", "d32_a_killed_suite_finds_what_it_answered"),
        ],
    ),
];

#[test]
fn every_item_names_tests_that_exist() {
    assert_eq!(missing(ITEMS), Vec::<String>::new());
}

/// Tests that are named and not there.
pub fn missing(items: &[(&str, &[(&str, &str)])]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut missing = Vec::new();
    for (item, tests) in items {
        for (file, name) in *tests {
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {name}(")) {
                missing.push(format!("{item}: {name} is not in {file}"));
            }
        }
    }
    missing
}

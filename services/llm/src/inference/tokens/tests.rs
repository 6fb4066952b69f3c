//! Counts of the vocabularies' own, and estimates that come nearer.

use super::*;
use crate::models::Resolved;

fn model(provider: &str, id: &str) -> Resolved {
    Resolved { provider: provider.into(), model_id: id.into(), ..Resolved::default() }
}

async fn count(model: &Resolved, text: &str) -> (i64, bool, String) {
    let counted = Tokens::default().count(model, vec![text.to_owned()]).await.unwrap();
    (counted.tokens[0], counted.estimated, counted.encoding)
}

/// The figures of the specification's A.1 without their framing of seven.
#[tokio::test]
async fn d1b_texts_are_counted_by_the_models_own_vocabulary() {
    for (text, cl100k, o200k) in [
        ("", 0, 0),
        ("hello", 1, 1),
        ("Hello, world!", 4, 4),
        ("日本語テスト", 6, 4),
        ("Здравствуйте, мир!", 10, 4),
        ("You are helpful.", 4, 4),
    ] {
        let old = count(&model("OpenAI", "gpt-4-turbo"), text).await;
        let new = count(&model("OpenAI", "gpt-4o-mini"), text).await;
        assert_eq!(old, (cl100k, false, "cl100k_base".into()), "{text}");
        assert_eq!(new, (o200k, false, "o200k_base".into()), "{text}");
    }
    let special = count(&model("OpenAI", "gpt-4o"), "a <|endoftext|> b").await.0;
    assert!(special > 4, "what stands for a special token is letters like others: {special}");
    for (provider, id, known) in [
        ("OpenAI", "gpt-5-mini", true),
        ("OpenAI", "ft:gpt-4o-mini:org::x", true),
        ("OpenAI", "o3", true),
        ("OpenAI", "whatever", false),
        ("Anthropic", "claude-sonnet-4-5", false),
        ("TogetherAI", "gpt-4o", false),
    ] {
        assert_eq!(Encoding::of(&model(provider, id)).is_some(), known, "{id}");
    }
}

#[tokio::test]
async fn long_runs_are_counted_in_pieces_and_nothing_is_left_out() {
    let model = model("OpenAI", "gpt-4o");
    let run = "ab".repeat(40_000);
    let whole = count(&model, &run).await.0;
    let piece = count(&model, &"ab".repeat(512)).await.0;
    assert!((whole - piece * 80_000 / 1024).abs() <= 80, "{whole} of {piece}");
    let words = "word ".repeat(5_000);
    assert!((count(&model, &words).await.0 - 5_001).abs() <= 1, "words are not cut");
}

#[tokio::test]
async fn estimates_come_nearer_to_what_the_provider_counts() {
    let tokens = Tokens::default();
    let claude = model("Anthropic", "claude-sonnet-4-5");
    let text = || vec!["x".repeat(400)];
    assert_eq!(tokens.count(&claude, text()).await.unwrap().tokens, [100]);
    let request = pb::GenerateRequest::default();
    let counted = |input_tokens| pb::TokenUsage { input_tokens, ..Default::default() };
    tokens.learn(&claude, &request, 1_000, &counted(1_500));
    let learned = tokens.count(&claude, text()).await.unwrap();
    assert_eq!((learned.tokens[0], learned.estimated), (150, true));
    for _ in 0..100 {
        tokens.learn(&claude, &request, 1_000, &counted(2_000));
    }
    assert_eq!(tokens.count(&claude, text()).await.unwrap().tokens, [200]);
    tokens.learn(&claude, &request, 10, &counted(1));
    tokens.learn(&claude, &request, 1_000, &pb::TokenUsage { estimated: true, ..counted(1) });
    assert_eq!(tokens.count(&claude, text()).await.unwrap().tokens, [200], "what says little is not learned");
    let mut teams = claude.clone();
    teams.origin = crate::models::Origin::Team("red".into());
    assert_eq!(tokens.count(&teams, text()).await.unwrap().tokens, [100], "a team's model is its own");
    let many = tokens.count(&claude, vec![String::new(); MOST_TEXTS + 1]).await.unwrap_err();
    assert!(many.to_string().contains("4096"), "{many}");
}

use super::*;

fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sre.toml");
    std::fs::write(&path, toml).unwrap();
    Config::load(LoadOptions::defaults().file(&path).env(env.iter().copied()))
}

fn message(toml: &str, env: &[(&str, &str)]) -> String {
    load(toml, env).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_valid_and_every_key_is_explained() {
    let config = Config::load(LoadOptions::defaults()).unwrap();
    let rows = config.explain();
    assert!(rows.iter().any(|row| row.key == "limits.max_message_bytes" && row.value == "4194304"));
    assert!(rows.iter().all(|row| row.origin == Origin::Default));
}

#[test]
fn an_unknown_key_names_the_nearest_and_its_origin() {
    let text = message("[limits]\nmax_concurent = 5", &[]);
    assert!(text.contains("`limits.max_concurent`") && text.contains("`limits.max_concurrent`"), "{text}");
    assert!(text.contains("sre.toml"), "{text}");
    let text = message("", &[("SRE__LISTEN__EGDE", "127.0.0.1:1")]);
    assert!(text.contains("SRE__LISTEN__EGDE") && text.contains("`listen.edge`"), "{text}");
    let text = message("telemetri = 1", &[]);
    assert!(text.contains("`telemetry`"), "{text}");
    let text = message("[[connectors.storage]]\nConector = 'x'", &[]);
    assert!(text.contains("Connector"), "{text}");
}

#[test]
fn d6_layers_override_key_by_key_and_keep_their_origin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sre.toml");
    std::fs::write(&path, "[limits]\nmax_concurrent = 5\nmax_streams = 6\n[egress]\nallow = ['a']").unwrap();
    let options = LoadOptions::defaults()
        .file(&path)
        .env([("SRE__LIMITS__MAX_STREAMS", "7"), ("SRE__EGRESS__ALLOW", "x:1, y:2"), ("OTHER", "1")])
        .flag("listen.edge", "127.0.0.1:7443");
    let config = Config::load(options).unwrap();
    assert_eq!((config.limits.max_concurrent, config.limits.max_streams), (5, 7));
    assert_eq!(config.egress.allow, ["x:1", "y:2"]);
    assert_eq!(config.listen.of(crate::Role::Edge).unwrap().port(), 7443);
    assert_eq!(config.origin("limits.max_concurrent"), Origin::File(path));
    assert_eq!(config.origin("limits.max_streams"), Origin::Env("SRE__LIMITS__MAX_STREAMS".into()));
    assert_eq!(config.origin("listen.edge"), Origin::Flag("listen.edge".into()));
    assert_eq!(config.origin("limits.max_connections"), Origin::Default);
}

#[test]
fn d7_variables_are_substituted_in_files_only() {
    let config = load("trust_domain = '$env(DOMAIN:-sre.test)'", &[]).unwrap();
    assert_eq!(config.trust_domain, "sre.test");
    let config = load("trust_domain = '$env(DOMAIN)'", &[("DOMAIN", "a.example")]).unwrap();
    assert_eq!(config.trust_domain, "a.example");
    let text = message("trust_domain = '$env(NO_SUCH_VARIABLE)'", &[]);
    assert!(text.contains("NO_SUCH_VARIABLE") && text.contains("trust_domain"), "{text}");
    let config = load("", &[("SRE__GATEWAY__HOSTS__SHOP", "$env(PATH)")]).unwrap();
    assert_eq!(config.gateway.hosts["shop"], "$env(PATH)");
}

#[test]
fn a_wrong_value_names_its_key_and_origin() {
    let text = message("[limits]\nmax_streams = 'many'", &[]);
    assert!(text.contains("`limits.max_streams`") && text.contains("sre.toml"), "{text}");
    let text = message("", &[("SRE__LIMITS__MAX_STREAMS", "many")]);
    assert!(text.contains("SRE__LIMITS__MAX_STREAMS") && text.contains("not a number"), "{text}");
    let text = message("[http]\nlisten = '0.0.0.0:80'", &[]);
    assert!(text.contains("http.tls.cert"), "{text}");
    let text = message("[endpoints]\nllm = ['http://x:1']", &[]);
    assert!(text.contains("host:port"), "{text}");
    assert!(message("limits = 5\n= 3", &[]).contains("sre.toml"));
    assert!(message("[limits]\nmax_streams = 0", &[]).contains("1 or more"));
}

#[test]
fn connectors_have_the_references_shape() {
    let text = "[[connectors.Storage]]\nConnector = 'LocalStorage'\nDefault = true\n\
                [connectors.Storage.Settings]\nfolder = 'x'\n\
                [[connectors.Storage]]\nConnector = 'S3'\nId = 'archive'\n\
                [connectors.nkv]\nConnector = 'RAM'\n";
    let config = load(text, &[]).unwrap();
    let entries = config.connectors.of("storage");
    assert_eq!((entries[0].canonical(), entries[0].id()), ("local", "LocalStorage"));
    assert_eq!((entries[1].canonical(), entries[1].id()), ("s3", "archive"));
    assert_eq!(entries[0].settings["folder"], "x");
    assert_eq!(config.connectors.default_of("nkv").unwrap().canonical(), "memory");
    let twice = message("[[connectors.nkv]]\nConnector='RAM'\n[[connectors.nkv]]\nConnector='RAM'", &[]);
    assert!(twice.contains("two entries"), "{twice}");
    for (wrong, says) in [
        ("[connectors.nkv]\nConnector='RAM'\nId='default'", "reserved"),
        ("[connectors.nkv]\nConnector='RAM'\nId='a b'", "1 to 64"),
        ("[connectors.stroage]\nConnector='RAM'", "`storage`"),
        ("[connectors.nkv]\nConnector='RAM'\nOptional=true", "cannot be optional"),
        (
            "[[connectors.nkv]]\nConnector='RAM'\nDefault=true\n[[connectors.nkv]]\nConnector='S3'\nDefault=true",
            "more than one",
        ),
        (
            "profile = 'production'\n[connectors.vault]\nConnector='JSONFileVault'\nSettings={shared='default'}",
            "between teams",
        ),
    ] {
        let text = message(wrong, &[]);
        assert!(text.contains(says), "{wrong}: {text}");
    }
    let first = "[[connectors.nkv]]\nConnector='a'\nOptional=true\n[[connectors.nkv]]\nConnector='b'";
    assert_eq!(load(first, &[]).unwrap().connectors.default_of("nkv").unwrap().id(), "b");
    let idle = load("[connectors.Log]\nConnector='ConsoleLog'", &[]).unwrap();
    assert_eq!(idle.connectors.without_effect(), ["Log"]);
    let volatile = message("profile = 'production'\n[connectors.nkv]\nConnector='RAM'", &[]);
    assert!(volatile.contains("production"), "{volatile}");
}

#[test]
fn secrets_are_masked() {
    let text = "[store.postgres]\nurl = 'postgres://u:canary@h/d'\n\
                [connectors.storage]\nConnector='S3'\n[connectors.storage.Settings]\nsecretAccessKey='canary'\nurl='redis://u:canary@h'";
    let config = load(text, &[]).unwrap();
    let shown = format!("{:?}", config.explain());
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("secretAccessKey"), "{shown}");
}

#[test]
fn the_reference_lists_every_default() {
    let text = reference_markdown();
    // Empty tables have no key of their own.
    for row in Config::default().explain().into_iter().filter(|row| row.value != "{}") {
        assert!(text.contains(&format!("`{}`", row.key)), "{} is missing", row.key);
    }
    for key in ["connectors.<name>", "listen.<role>", "certs.roles.<role>.cert", "certs.patterns[].path"] {
        assert!(text.contains(&format!("`{key}`")), "{key} is missing in {text}");
    }
}

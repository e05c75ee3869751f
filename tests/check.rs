//! `dozvon check` on every configuration of this repository, as README prints it.

use std::process::Command;

#[test]
fn every_configuration_of_the_repository_is_in_order() {
    for config in ["example", "demo", "bench"] {
        let checked = Command::new(env!("CARGO_BIN_EXE_dozvon"))
            .args(["check", "--config", &format!("config/{config}.toml")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("DOZVON_OP_PASS", "one")
            .env("DOZVON_ME_PASS", "two")
            .output()
            .unwrap();
        assert!(checked.status.success(), "{config}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn a_script_that_does_not_fit_is_named_with_file_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("line.toml");
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/example.toml")).unwrap();
    std::fs::write(&config, example.replace("name = \"drugs\"", "name = \"pills\"")).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_dozvon"))
        .args(["check", "--config"])
        .arg(&config)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(!checked.status.success());
    let told = String::from_utf8_lossy(&checked.stderr);
    assert!(told.contains("122.yaml:96: the configuration has no queue `drugs`; add it there, or use one of:"), "{told}");
}

//! What the program says of itself to shells and to `man`.

use std::process::{Command, Stdio};

fn simbridge(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simbridge"));
    command.env_clear().args(arguments).output().expect("it starts")
}

fn said(arguments: &[&str]) -> String {
    let output = simbridge(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Lets bash complete a line as it does at the Tab key: the candidates for its last word.
fn completed(script: &str, line: &[&str]) -> Vec<String> {
    let ask = r#"
        source "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        handler=$(complete -p simbridge | sed 's/.*-F \([^ ]*\).*/\1/')
        "$handler" simbridge "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-euc", ask, "bash", script]).args(line).stdin(Stdio::null());
    let output = bash.output().expect("bash is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// Catches a script under another name than the program's, and one without the commands below others.
#[test]
fn bash_completes_commands_and_options() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("simbridge");
    std::fs::write(&script, said(&["completions", "bash"])).expect("a file");
    let script = script.to_str().expect("UTF-8");
    assert_eq!(completed(script, &["simbridge", "rest"]), ["restore"]);
    assert_eq!(completed(script, &["simbridge", "keys", "re"]), ["revoke"]);
    assert_eq!(completed(script, &["simbridge", "serve", "--mqtt"]), ["--mqtt-addr"]);
}

/// Catches a shell that is offered and has no script.
#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(said(&["completions", shell]).contains("quarantine"), "{shell}");
    }
    assert_eq!(simbridge(&["completions", "command.com"]).status.code(), Some(2));
}

/// Catches pages that `man` stumbles over, and commands without one. Without groff it says so.
#[test]
fn each_command_has_a_page_that_man_can_show() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().to_str().expect("UTF-8");
    assert_eq!(said(&["man", "--dir", place]), "");
    let page = std::fs::read_to_string(directory.path().join("simbridge.1")).expect("the page");
    assert_eq!(page, said(&["man"]));
    let rendered = |file: &str| {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-Kutf8", "-Tutf8", "-ww", "-P-cbou"]).arg(directory.path().join(file));
        let output = groff.output().ok()?;
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && complaints.is_empty(), "{file}: {complaints}");
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(main) = rendered("simbridge.1") else {
        eprintln!("NOT RUN: groff is not installed");
        return;
    };
    for expected in ["NAME", "SYNOPSIS", "simbridge-backup(1)", "Exit codes: 0 fine"] {
        assert!(main.contains(expected), "{expected}: {main}");
    }
    assert!(rendered("simbridge-backup.1").expect("as before").contains("manifest.json"));
    assert!(rendered("simbridge-keys-create.1").expect("as before").contains("--permission"));
    let nowhere = simbridge(&["man", "--dir", &format!("{place}/simbridge.1/x")]);
    assert_eq!(nowhere.status.code(), Some(2));
}

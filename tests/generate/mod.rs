//! What `--generate` prints, used as it is meant to be: pages by groff, completions by the shells.

use std::fs;
use std::process::{Command, Stdio};

use echo_test_support::{Process, command, skipped};

use crate::PROGRAM;

/// The output of `PROGRAM --generate what`.
pub(crate) fn generated(what: &str) -> String {
    let finished = Process::run(command(PROGRAM).args(["--generate", what]), b"").unwrap();
    assert!(finished.status.success() && finished.stderr.is_empty(), "{finished:?}");
    finished.stdout
}

/// The man page as it is read, 80 columns wide; `None` if there is no groff.
pub(crate) fn rendered(check: &str) -> Option<String> {
    if missing("groff", check) {
        return None;
    }
    // All warnings, for UTF-8 terminals, without colours and overstrikes.
    let mut groff = Command::new("groff");
    groff.args(["-ww", "-K", "utf8", "-T", "utf8", "-man", "-rLL=80n", "-P-cbou"]);
    let page = Process::run(&mut groff, generated("man").as_bytes()).unwrap();
    assert!(page.status.success() && page.stderr.is_empty(), "{page:?}");
    Some(page.stdout)
}

/// Asserts that every option of `--help` and every section is on the page.
pub(crate) fn assert_complete(page: &str, helps: &[&[&str]]) {
    let sections = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "EXIT STATUS"];
    for section in sections.into_iter().chain(["EXAMPLES", "SEE ALSO"]) {
        assert!(page.lines().any(|line| line == section), "{section} is missing:\n{page}");
    }
    let (mut options, mut examples) = (0, 0);
    for arguments in helps {
        let help = Process::run(command(PROGRAM).args(*arguments), b"").unwrap().stdout;
        examples += count_examples(&help);
        for word in help.split_whitespace().filter(|word| word.starts_with("--")) {
            let option: String = word
                .chars()
                .take_while(|char| char.is_ascii_alphanumeric() || *char == '-')
                .collect();
            assert!(page.contains(&option), "{option} is missing:\n{page}");
            options += 1;
        }
    }
    assert!(options > 20, "{options}");
    let page = generated("man");
    let (_, section) = page.split_once(".SH EXAMPLES").unwrap();
    assert_eq!(examples, section.matches(".TP").count(), "a line in --help is too long");
}

/// How many examples a help text has. A line that is too long adds one: clap continues it where examples begin.
fn count_examples(help: &str) -> usize {
    let (_, list) = help.split_once("Examples:\n").unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    lines.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).count()
}

/// Asserts that the completions of every shell are for the program of this name.
pub(crate) fn assert_generated_for_every_shell(name: &str) {
    for (shell, text) in [
        ("bash", "complete -F".to_owned()),
        ("zsh", format!("#compdef {name}")),
        ("fish", format!("complete -c {name}")),
        ("powershell", "Register-ArgumentCompleter".to_owned()),
    ] {
        assert!(generated(shell).contains(&text), "{shell}");
    }
}

/// Asserts that a reader that closes the pipe at once is not an error.
pub(crate) fn assert_closed_pipe_is_quiet() {
    // Before the program starts: its output would fit into the pipe.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut program = command(PROGRAM);
    program.args(["--generate", "bash"]).stdout(writer).stderr(Stdio::piped());
    let finished = program.spawn().unwrap().wait_with_output().unwrap();
    assert!(finished.status.success() && finished.stderr.is_empty(), "{finished:?}");
}

/// Asserts that a shell completes `line`, whose first word is the program, to each of `expected`.
pub(crate) fn assert_completed(shell: &str, line: &str, expected: &[&str]) {
    let check = format!("completions of {shell}");
    if cfg!(windows) {
        // A bash there sees the paths of this test under other names.
        return skipped(&check, "the shells of Unix are tested on Unix");
    }
    if missing(shell, &check) {
        return;
    }
    let name = line.split(' ').next().unwrap();
    let folder = std::env::temp_dir().join(format!("echo-{shell}-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    // zsh finds a completion by the name of its file.
    fs::write(folder.join(format!("_{name}")), generated(shell)).unwrap();
    let script = match shell {
        "bash" => BASH,
        "zsh" => ZSH,
        _ => FISH,
    };
    let mut shell = Command::new(shell);
    // No settings of the user.
    shell.args(["-c", script]).env("LINE", line).env("NAME", name).env("FOLDER", &folder);
    shell.env("HOME", &folder).env("XDG_CONFIG_HOME", &folder).env("XDG_DATA_HOME", &folder);
    shell.env("TERM", "dumb").env("ZDOTDIR", &folder);
    let finished = Process::run(&mut shell, b"").unwrap();
    fs::remove_dir_all(&folder).unwrap();
    for word in expected {
        let found = finished.stdout.split(|char: char| char.is_whitespace() || char == '\'');
        assert!(found.into_iter().any(|found| found == *word), "no {word} in {finished:?}");
    }
}

/// Calls the registered function as bash does when TAB is typed (bash(1), Programmable Completion).
const BASH: &str = r#"
source "$FOLDER/_$NAME" || exit 1
read -ra COMP_WORDS <<< "$LINE"
[[ $LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
registered=$(complete -p "$NAME") || exit 1
[[ $registered =~ -F\ ([^ ]+) ]] || exit 1
"${BASH_REMATCH[1]}" "$NAME" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Asks fish for its candidates, with their descriptions.
const FISH: &str = r#"
source "$FOLDER/_$NAME"
complete -C "$LINE"
"#;

/// Types the line and Ctrl-D, which lists the candidates, into an interactive zsh on a pseudo-terminal.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner "stty columns 500; unsetopt beep; fpath=($FOLDER \$fpath); autoload -Uz compinit"
zpty -w inner "compinit -u -D; LISTMAX=0; RPROMPT= PROMPT=re''ady"
zpty -r -m inner seen '*ready*'
zpty -w -n inner "$LINE"$'\x04'
zpty -w -n inner $'\x15'
zpty -w inner "print do''ne"
zpty -r -m inner seen '*done*'
print -r -- "$seen"
zpty -d inner
"#;

fn missing(program: &str, check: &str) -> bool {
    let found = Process::run(Command::new(program).arg("--version"), b"");
    let missing = !found.is_ok_and(|finished| finished.status.success());
    if missing {
        skipped(check, &format!("{program} is not installed"));
    }
    missing
}

//! Completions by clap_complete, with two corrections.

use clap::{Arg, Command};
use clap_complete::Shell;

/// A script that completes the program's command lines.
pub(crate) fn script(shell: Shell, command: Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut command = if command.has_subcommands() { without_arguments(&command) } else { command };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, &name, &mut script);
    if shell != Shell::Bash {
        return script;
    }
    // If the program's name has a hyphen, the labels of subcommands differ from the text that is compared with
    // them, and nothing after a subcommand is completed: https://github.com/clap-rs/clap/issues/6421.
    let script = String::from_utf8(script).expect("names and help are text");
    script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__")).into_bytes()
}

/// The command without arguments that are neither options nor subcommands: before these, zsh would offer only files.
fn without_arguments(command: &Command) -> Command {
    let options = command.get_arguments().filter(|argument| !argument.is_positional());
    // The version matters only in that there is a --version.
    Command::new(command.get_name().to_owned())
        .version("")
        .args(options.map(Arg::clone))
        .subcommands(command.get_subcommands().cloned())
}

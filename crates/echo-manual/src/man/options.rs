//! The list of a command's arguments and options.

use clap::builder::PossibleValue;
use clap::{Arg, Command};
use roff::{Inline, Roff, bold, italic, roman};

use super::prose;

/// Whether it is the program itself, not a subcommand.
pub(super) fn is_program(command: &Command) -> bool {
    command.get_bin_name().is_none_or(|name| name == command.get_name())
}

/// The arguments of a command that are not those of every command: the options of the program are listed once.
pub(super) fn own(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_program = is_program(command);
    command.get_arguments().filter(move |argument| {
        let is_common =
            argument.is_global_set() || matches!(argument.get_id().as_str(), "help" | "version");
        !argument.is_hide_set() && (is_program || !is_common)
    })
}

/// Lists a command's own options, those under a heading after the others.
pub(super) fn list(roff: &mut Roff, command: &Command) {
    let (positional, options): (Vec<_>, Vec<_>) = own(command).partition(|own| own.is_positional());
    let (plain, headed): (Vec<_>, Vec<_>) =
        options.into_iter().partition(|option| option.get_help_heading().is_none());
    for argument in positional.into_iter().chain(plain) {
        entry(roff, argument);
    }
    let mut heading = None;
    for option in headed {
        if option.get_help_heading() != heading {
            heading = option.get_help_heading();
            roff.control("SS", heading);
        }
        entry(roff, option);
    }
}

/// One option: its names and value, then its help.
fn entry(roff: &mut Roff, argument: &Arg) {
    roff.control("TP", []).text(term(argument));
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let mut paragraphs = help.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    roff.text(prose(&format!("{first}{}", default(argument))));
    for paragraph in paragraphs {
        roff.control("IP", []).text(prose(paragraph));
    }
    values(roff, argument);
}

/// `-c, --connections N`, or `[MESSAGE]...`.
fn term(argument: &Arg) -> Vec<Inline> {
    let names = argument.get_value_names().unwrap_or_default();
    let value = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    if argument.is_positional() {
        let many = if argument.get_num_args().is_some_and(|count| count.max_values() > 1) {
            "..."
        } else {
            ""
        };
        return vec![italic(value), roman(many)];
    }
    let mut term = Vec::new();
    if let Some(short) = argument.get_short() {
        term.extend([bold(format!("-{short}")), roman(", ")]);
    }
    term.extend(argument.get_long().map(|long| bold(format!("--{long}"))));
    if takes_value(argument) {
        let optional = argument.get_num_args().is_some_and(|count| count.min_values() == 0);
        let (before, after) = match (optional, argument.is_require_equals_set()) {
            (true, true) => ("[=", "]"),
            (true, false) => (" [", "]"),
            (false, true) => ("=", ""),
            (false, false) => (" ", ""),
        };
        term.extend([roman(before), italic(value), roman(after)]);
    }
    term
}

/// Whether a value may follow. clap has set the number of values of every option when the command is built.
fn takes_value(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|count| count.takes_values())
}

/// ` [default: 65432]`.
fn default(argument: &Arg) -> String {
    let values = argument.get_default_values();
    if !takes_value(argument) || argument.is_hide_default_value_set() || values.is_empty() {
        return String::new();
    }
    let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
    format!(" [default: {}]", values.join(","))
}

/// The possible values: with their help as a list, without it in one line.
fn values(roff: &mut Roff, argument: &Arg) {
    let values = argument.get_possible_values();
    if !takes_value(argument) || argument.is_hide_possible_values_set() || values.is_empty() {
        return;
    }
    let help = |value: &PossibleValue| value.get_help().map(ToString::to_string);
    if values.iter().all(|value| help(value).is_none()) {
        let names: Vec<_> = values.iter().map(PossibleValue::get_name).collect();
        roff.control("IP", []).text([roman(format!("Possible values: {}", names.join(", ")))]);
        return;
    }
    roff.control("RS", []);
    for value in values {
        roff.control("TP", ["12"]).text([bold(value.get_name())]);
        roff.text(prose(&help(&value).unwrap_or_default()));
    }
    roff.control("RE", []);
}

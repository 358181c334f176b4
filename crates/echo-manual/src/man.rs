//! The man page of a program with all its subcommands, in the language of man(7).

mod options;

use clap::Command;
use roff::{Inline, Roff, bold, roman};

use crate::help::AfterHelp;

/// The whole page.
///
/// One page and not one per subcommand, as with curl(1) or tmux(1): there are four subcommands, they share half of
/// the options, and a search finds an option only on the page that is open.
pub(crate) fn page(mut command: Command) -> String {
    command.build();
    let mut roff = Roff::new();
    title(&mut roff, &command);
    synopsis(&mut roff, &command);
    roff.control("SH", ["DESCRIPTION"]);
    description(&mut roff, &command);
    roff.control("SH", ["OPTIONS"]);
    options::list(&mut roff, &command);
    commands(&mut roff, &command);
    environment(&mut roff, &command);
    exit_status(&mut roff, &command);
    examples(&mut roff, &command);
    see_also(&mut roff, &command);
    // groff prints these three as typographic accents unless they are named (groff_char(7)).
    roff.render().replace('`', r"\(ga").replace('^', r"\(ha").replace('~', r"\(ti")
}

fn title(roff: &mut Roff, command: &Command) {
    let name = command.get_name();
    let source = format!("{name} {}", command.get_version().unwrap_or_default());
    // An empty date: the version says how old the page is.
    roff.control("TH", [&*name.to_uppercase(), "1", r#""""#, &source, "User Commands"]);
    // Names of options and variables are not hyphenated, and not spread over the line.
    roff.control("nh", []).control("ad", ["l"]);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", about.trim_end_matches('.')))]);
}

fn synopsis(roff: &mut Roff, command: &Command) {
    roff.control("SH", ["SYNOPSIS"]);
    let (own, placeholder) = (usage(command), format!("{} [OPTIONS] COMMAND", command.get_name()));
    let own = own.into_iter().filter(|form| *form != placeholder);
    for (index, form) in own.chain(subcommands(command).flat_map(usage)).enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        roff.text(usage_inlines(&form));
    }
}

/// The forms of a command line, such as `echo-client ping [OPTIONS] [TARGET] [PORT]`.
fn usage(command: &Command) -> Vec<String> {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").lines();
    usage.map(|form| form.trim().to_owned()).collect()
}

/// What is typed as it stands, in bold.
fn usage_inlines(form: &str) -> Vec<Inline> {
    let start = form.find([' ', '[', '<']).unwrap_or(form.len());
    let literal = form[start..].find(['[', '<']).map_or(form.len(), |end| start + end);
    vec![bold(form[..literal].trim_end()), roman(format!(" {}", &form[literal..]))]
}

/// The subcommands but for `help`.
fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help")
}

/// What a command does. The first paragraph of the program's own text is already in NAME.
fn description(roff: &mut Roff, command: &Command) {
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let first = usize::from(options::is_program(command));
    let paragraphs = about.split("\n\n").map(str::to_owned).skip(first);
    for (index, paragraph) in paragraphs.chain(AfterHelp::of(command).notes).enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        let end = if paragraph.ends_with(['.', ':']) { "" } else { "." };
        roff.text(prose(&(paragraph + end)));
    }
}

/// Text with what stands between backticks in bold.
fn prose(text: &str) -> Vec<Inline> {
    let pieces = text.trim().split('`').enumerate();
    let inlines = pieces.filter(|(_, piece)| !piece.is_empty()).map(|(index, piece)| match index {
        quoted if quoted % 2 == 1 => bold(piece),
        _ => roman(piece),
    });
    inlines.collect()
}

fn commands(roff: &mut Roff, command: &Command) {
    for (index, sub) in subcommands(command).enumerate() {
        if index == 0 {
            roff.control("SH", ["COMMANDS"]);
        }
        roff.control("SS", [&*format!("{} {}", command.get_name(), sub.get_name())]);
        for form in usage(sub) {
            roff.text(usage_inlines(&form));
        }
        roff.control("PP", []);
        description(roff, sub);
        options::list(roff, sub);
    }
}

/// The variables of options follow a rule, so only the exceptions are listed.
fn environment(roff: &mut Roff, command: &Command) {
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text(prose(
        "An option that is not given, except `--generate`, is read from a variable: `ECHO_` and the option's name in capitals, with `_` \
         for `-`, such as `ECHO_PORT` for `--port`. For an option without a value, `true`, `yes`, `on` and `1` switch \
         it on.",
    ));
    let exceptions: Vec<_> = subcommands(command).flat_map(exceptions).collect();
    if !exceptions.is_empty() {
        roff.control("PP", []);
        roff.text(prose("The variables of these options have other names:"));
    }
    entries(roff, exceptions);
    entries(roff, AfterHelp::of(command).variables);
}

/// The variables of a subcommand that do not follow the rule, and their options.
fn exceptions(command: &Command) -> Vec<(String, String)> {
    let variables = options::own(command).filter_map(|option| {
        let (name, variable) = option.get_long().zip(option.get_env()?.to_str())?;
        let regular = format!("ECHO_{}", name.to_uppercase().replace('-', "_"));
        let option = format!("`{} --{name}`", command.get_name());
        (variable != regular).then(|| (variable.to_owned(), option))
    });
    variables.collect()
}

/// Those of the program are complete; those of a subcommand would repeat them.
fn exit_status(roff: &mut Roff, command: &Command) {
    roff.control("SH", ["EXIT STATUS"]);
    entries(roff, AfterHelp::of(command).exit_codes);
}

fn examples(roff: &mut Roff, command: &Command) {
    roff.control("SH", ["EXAMPLES"]);
    for command in std::iter::once(command).chain(subcommands(command)) {
        entries(roff, AfterHelp::of(command).examples);
    }
}

fn entries(roff: &mut Roff, entries: Vec<(String, String)>) {
    for (term, meaning) in entries {
        roff.control("TP", []).text([bold(term)]).text(prose(&meaning));
    }
}

fn see_also(roff: &mut Roff, command: &Command) {
    let other = match command.get_name() {
        "echo-server" => "echo-client",
        _ => "echo-server",
    };
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold(other),
        roman("(1), "),
        bold("nc"),
        roman("(1), "),
        bold("ss"),
        roman("(8), "),
        bold("tcp"),
        roman("(7)"),
    ]);
    roff.control("PP", []);
    roff.text([roman("RFC 862, Echo Protocol: <https://www.rfc-editor.org/rfc/rfc862>")]);
}

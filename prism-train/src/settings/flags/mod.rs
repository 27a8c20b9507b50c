//! The flags of a training run: one table, from which command line, help and the keys of settings files are made.

mod data;
mod flag;
pub(super) mod layers;
mod model;
mod privacy;
mod run;
mod start;
mod table;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use super::limits;
pub use flag::{Allowed, Flag, Given};
pub use privacy::total_epsilon;
pub use table::{all, settings};

/// Those settings that the command line itself gives.
pub fn given(matches: &ArgMatches) -> Vec<Given> {
    let from_line = |flag: &&Flag| matches.value_source(flag.name) == Some(ValueSource::CommandLine);
    let text =
        |flag: &'static Flag| matches.get_one::<String>(flag.name).map(|text| Given { flag, text: text.clone() });
    settings().filter(from_line).filter_map(text).collect()
}

/// The flags as clap's arguments, each with a short and a long help.
pub fn arguments() -> impl Iterator<Item = Arg> {
    all().map(Flag::argument)
}

/// What libraries call by its key in backticks, such as `` `epsilon` ``, as the flag of `command` that it is, such as
/// `--dp-epsilon`. What is no flag of it stays as it is.
pub fn spell(message: &str, command: &clap::Command) -> String {
    let is_flag = |name: &str| command.get_arguments().any(|argument| argument.get_long() == Some(name));
    let flag = |word: &str| [format!("dp-{word}"), word.to_string()].into_iter().find(|name| is_flag(name));
    let parts = message.split('`').enumerate();
    // Every second part stands in backticks.
    let spelled = parts.map(|(at, part)| match (at % 2, flag(part)) {
        (0, _) => part.to_string(),
        (_, Some(name)) => format!("--{name}"),
        (_, None) => format!("`{part}`"),
    });
    spelled.collect()
}

/// The same with the flags of a run, for what it says while it goes on.
pub fn spell_of_run(message: &str) -> String {
    spell(message, &clap::Command::new("prism-train").args(arguments()))
}

impl Flag {
    fn argument(&'static self) -> Arg {
        let default = self.default().map_or(String::new(), |default| format!(" [default: {default}]"));
        let choices = match (limits::range(self.key()), self.allowed) {
            (Some(range), _) => format!(" Choose {}.", range.choice),
            (None, Allowed::Names(names)) => format!(" Choose {}.", names.join(", ")),
            (None, _) => String::new(),
        };
        let argument = Arg::new(self.name)
            .long(self.name)
            .help_heading(self.heading)
            .hide_short_help(!self.everyday)
            .help(format!("{}{default}", self.help))
            .long_help(format!("{}.\n{}{choices}{default}", self.help, self.more));
        match self.value {
            "" => argument.action(ArgAction::SetTrue),
            // Its first number may have a sign, and the whole is no number.
            name if self.name == "intensity" => argument.value_name(name).allow_hyphen_values(true),
            // A negative number is refused by its range, in our words.
            name => argument.value_name(name).allow_negative_numbers(true),
        }
    }

    fn default(&self) -> Option<String> {
        if self.group.is_empty() { None } else { layers::default_of(self) }
    }
}

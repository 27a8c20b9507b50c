//! How a flag is written down.

/// One flag of `prism-train`, which is a setting too where it has a group.
pub struct Flag {
    /// What stands after `--`: the key, or in `[privacy]` `dp-` and the key.
    pub name: &'static str,
    /// The table of settings files that it is in; empty for a flag that is no setting.
    pub group: &'static str,
    /// What its value is called in help; empty for a switch.
    pub value: &'static str,
    /// What its value may be.
    pub allowed: Allowed,
    /// The heading in help.
    pub heading: &'static str,
    /// Whether `-h` shows it.
    pub everyday: bool,
    /// What it is, in one line.
    pub help: &'static str,
    /// What it does, when to touch it, and what it costs.
    pub more: &'static str,
}

/// What a flag's value may be.
#[derive(Clone, Copy)]
pub enum Allowed {
    /// A number in its range ([`crate::settings::limits`]).
    Number,
    /// One of these names.
    Names(&'static [&'static str]),
    /// A text that this function does not refuse.
    Text(fn(&str) -> prism_core::Result<()>),
}

/// A flag that a command line gives, and its text.
pub struct Given {
    /// The flag.
    pub flag: &'static Flag,
    /// What follows it.
    pub text: String,
}

/// What any text may be.
pub const ANY: Allowed = Allowed::Text(|_| Ok(()));

impl Flag {
    /// The key in settings files.
    pub fn key(&self) -> &'static str {
        self.name.strip_prefix("dp-").unwrap_or(self.name)
    }

    /// Whether a resumed run may have another value: it computes the same, or goes on longer.
    pub fn free_on_resume(&self) -> bool {
        self.group == "run" || ["rounds", "data-dir"].contains(&self.name)
    }
}

/// A flag, what its value is called (empty for a switch) and may be, and its texts.
pub const fn flag(
    name: &'static str,
    (value, allowed): (&'static str, Allowed),
    help: &'static str,
    more: &'static str,
) -> Flag {
    Flag { name, group: "", value, allowed, heading: "", everyday: false, help, more }
}

/// Flags of one heading in help and one table of settings files (empty for none); `-h` shows the first `everyday` of
/// them.
pub const fn section<const N: usize>(
    heading: &'static str,
    group: &'static str,
    everyday: usize,
    mut flags: [Flag; N],
) -> [Flag; N] {
    let mut at = 0;
    while at < N {
        (flags[at].heading, flags[at].group, flags[at].everyday) = (heading, group, at < everyday);
        at += 1;
    }
    flags
}

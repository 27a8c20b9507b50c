//! Tables of settings that are laid over each other, and what each value in them must be.

use std::path::Path;
use std::sync::LazyLock;

use prism_core::text_enum;
use prism_nn::{Error, Result};
use toml::{Table, Value};

use super::flag::{Allowed, Flag, Given};
use super::table::settings;
use crate::settings::{Settings, limits, read_text};

/// The table of a recipe that says what it is for, and is no setting.
pub(in crate::settings) const CARD: &str = "recipe";

/// Values of settings, by group and key: all of them, or some.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::settings) struct Tables(Table);

impl Tables {
    pub fn of(settings: &Settings) -> Result<Self> {
        let table = Table::try_from(settings);
        table.map(Tables).map_err(|e| Error::usage(format!("the settings have no TOML form: {e}")))
    }

    pub fn of_defaults() -> Result<Self> {
        Self::of(&Settings::default())
    }

    /// The values of flags; of one that was given twice, the last.
    pub fn of_flags(flags: &[Given]) -> Result<Self> {
        let mut tables = Tables::default();
        for Given { flag, text } in flags {
            let value = parse(flag, text)?;
            check(flag, &value)?;
            let group = tables.0.entry(flag.group).or_insert_with(|| Table::new().into());
            if let Value::Table(group) = group {
                group.insert(flag.key().into(), value);
            }
        }
        Ok(tables)
    }

    /// The settings in the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_text(&read_text(path)?).map_err(|e| match e {
            Error::Core(prism_core::Error::Usage(why)) => Error::usage(format!("{}: {why}", path.display())),
            other => other,
        })
    }

    /// The settings in a TOML file's text.
    pub fn from_text(text: &str) -> Result<Self> {
        let mut table: Table = text.parse().map_err(|e: toml::de::Error| Error::usage(e.message()))?;
        table.remove(CARD);
        for (group, values) in &table {
            let Value::Table(values) = values else { return Err(unknown("no table", group)) };
            for (key, value) in values {
                let flag = settings().find(|flag| flag.group == *group && flag.key() == *key);
                check(flag.ok_or_else(|| unknown(&format!("[{group}]"), key))?, value)?;
            }
        }
        Ok(Tables(table))
    }

    /// Lays the values of `over` over these.
    pub fn overlay(&mut self, over: Tables) {
        for (group, values) in over.0 {
            match (self.0.get_mut(&group), values) {
                (Some(Value::Table(own)), Value::Table(values)) => own.extend(values),
                (_, values) => drop(self.0.insert(group, values)),
            }
        }
    }

    pub fn get(&self, flag: &Flag) -> Option<&Value> {
        self.0.get(flag.group)?.get(flag.key())
    }

    pub fn has(&self, group: &str, key: &str) -> bool {
        self.0.get(group).and_then(Value::as_table).is_some_and(|group| group.contains_key(key))
    }

    pub fn into_settings(self) -> Result<Settings> {
        self.0.try_into().map_err(|e: toml::de::Error| Error::usage(e.message()))
    }
}

/// A value of every setting, also of those that have no default, for its type.
static EXAMPLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut settings = Settings::default();
    (settings.data.data_dir, settings.data.limit, settings.data.channels) = (Some("DIR".into()), Some(1), Some(1));
    settings.privacy.epsilon = Some(1.0);
    Tables::of(&settings).unwrap_or_default()
});

/// A flag's text as a value of its setting's type.
fn parse(flag: &Flag, text: &str) -> Result<Value> {
    match EXAMPLES.get(flag) {
        Some(Value::Integer(_)) => text.parse().map(Value::Integer).map_err(|_| refuse(flag, text)),
        Some(Value::Float(_)) => text.parse().map(Value::Float).map_err(|_| refuse(flag, text)),
        _ => Ok(Value::String(text.into())),
    }
}

/// Refuses a value of another type than the setting's, a number out of its range, and a text that means nothing
/// there.
fn check(flag: &Flag, value: &Value) -> Result<()> {
    match (EXAMPLES.get(flag), value) {
        (Some(Value::Integer(_)), Value::Integer(number)) => in_range(flag, *number as f64),
        (Some(Value::Float(_)), Value::Integer(number)) => in_range(flag, *number as f64),
        (Some(Value::Float(_)), Value::Float(number)) => in_range(flag, *number),
        (Some(Value::String(_)), Value::String(text)) => match flag.allowed {
            Allowed::Text(check) => Ok(check(text)?),
            Allowed::Names(names) if names.contains(&&**text) => Ok(()),
            _ => Err(refuse(flag, text)),
        },
        _ => Err(refuse(flag, &shown(value))),
    }
}

fn in_range(flag: &Flag, number: f64) -> Result<()> {
    Ok(limits::range(flag.key()).map_or(Ok(()), |range| range.check(flag.key(), number))?)
}

fn refuse(flag: &Flag, text: &str) -> Error {
    let key = flag.key();
    match (limits::range(key), flag.allowed) {
        (Some(range), _) => Error::usage(format!("`{key}` is {text}; choose {}", range.choice)),
        (None, Allowed::Names(names)) => text_enum::unknown(&format!("`{key}`"), text, names).into(),
        (None, _) => Error::usage(format!("`{key}` is {text}; give a text in quotes")),
    }
}

/// A value as a flag would have it.
pub(in crate::settings) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) if number.fract() == 0.0 => number.to_string(),
        Value::Float(number) if number.abs() < 1e-3 => format!("{number:e}"),
        other => other.to_string(),
    }
}

/// The default of a setting as help shows it; none if it has none.
pub(in crate::settings) fn default_of(flag: &Flag) -> Option<String> {
    static DEFAULTS: LazyLock<Tables> = LazyLock::new(|| Tables::of_defaults().unwrap_or_default());
    DEFAULTS.get(flag).map(shown)
}

fn unknown(place: &str, key: &str) -> Error {
    match settings().find(|flag| flag.key() == key) {
        Some(flag) => Error::usage(format!("{key} stands under {place}; it belongs to [{}]", flag.group)),
        None => {
            Error::usage(format!("there is no setting {key} under {place}; see `prism-train --help` for every setting"))
        }
    }
}

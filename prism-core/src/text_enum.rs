//! Enums whose values have names in settings, files and messages.

use crate::prelude::*;

/// Implements `Display`, `FromStr` and a list of `NAMES` for an enum without fields. `what` names the setting in
/// refusals.
///
/// ```
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Trust { Local, SecureSum }
/// prism_core::text_enum!("trust", Trust { Local = "local", SecureSum = "secagg" });
/// assert_eq!(Trust::SecureSum.to_string(), "secagg");
/// assert_eq!("local".parse::<Trust>().unwrap(), Trust::Local);
/// assert_eq!("x".parse::<Trust>().unwrap_err().to_string(), "trust is x; choose local or secagg");
/// ```
#[macro_export]
macro_rules! text_enum {
    ($what:literal, $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $name {
            /// The name of every value.
            pub const NAMES: &'static [&'static str] = &[$($text),+];
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(match self { $($name::$variant => $text),+ })
            }
        }

        impl ::core::str::FromStr for $name {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err($crate::text_enum::unknown($what, text, Self::NAMES)),
                }
            }
        }
    };
}

/// Lets serde read and write a type as its text, by `FromStr` and `Display`, where it says `#[serde(try_from = "String", into =
/// "String")]`.
#[macro_export]
macro_rules! serde_as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = <$name as ::core::str::FromStr>::Err;

            fn try_from(text: String) -> ::core::result::Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

/// The refusal of a name that no value has.
pub fn unknown(what: &str, text: &str, names: &[&str]) -> crate::Error {
    let choice = match names.split_last() {
        Some((last, [])) => last.to_string(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    };
    crate::Error::usage(format!("{what} is {text}; choose {choice}"))
}

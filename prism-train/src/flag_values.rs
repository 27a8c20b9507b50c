//! How the values of flags are shown: as they are typed.

/// Implements `Display` for a type that derives `clap::ValueEnum`, by the name of each value on the command line.
macro_rules! display_as_value {
    ($name:ty) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                clap::ValueEnum::to_possible_value(self).map_or(Ok(()), |value| f.pad(value.get_name()))
            }
        }
    };
}

pub(crate) use display_as_value;

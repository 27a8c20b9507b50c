//! All flags, in the order of help.

use super::flag::Flag;
use super::{data, model, privacy, run, start};

/// Every flag, in the order of help.
pub fn all() -> impl Iterator<Item = &'static Flag> {
    let data = data::DATA.iter().chain(&data::FILES).chain(&data::FEDERATION);
    let privacy = privacy::PRIVACY.iter().chain(&privacy::LEDGER);
    let model = model::MODEL.iter().chain(&model::TRAINING).chain(&model::WIRE);
    start::START.iter().chain(data).chain(model).chain(privacy).chain(&run::RUN).chain(&start::OUTPUT)
}

/// The flags that are settings.
pub fn settings() -> impl Iterator<Item = &'static Flag> {
    all().filter(|flag| !flag.group.is_empty())
}

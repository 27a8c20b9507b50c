//! Flags of how a run is carried out.

use super::flag::Allowed::Number;
use super::flag::{ANY, Flag, flag, section};

pub static RUN: [Flag; 3] = section(
    "Run",
    "run",
    2,
    [
        flag(
            "device",
            ("NAME", ANY),
            "Where to compute: auto, cpu or cuda:N",
            "auto takes a GPU where there is one and this program was built with --features cuda.",
        ),
        flag("threads", ("N", Number), "Threads to use; 0 for one per core", "It changes no byte of the model."),
        flag(
            "sample-every",
            ("N", Number),
            "Rounds between grids of samples",
            "They are drawn into samples/ of the run folder, and after the last round. 0 is never.",
        ),
    ],
);

//! Flags of how a run is carried out.

use super::flag::Allowed::Number;
use super::flag::{ANY, Flag, flag, section};

pub static RUN: [Flag; 5] = section(
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
            "checkpoint-seconds",
            ("N", Number),
            "Seconds between checkpoints",
            "A run that is killed repeats the rounds since the last one, to the same bytes; one that is stopped by \
             Ctrl-C, or ends, saves its last round. 0 is after every round, which takes 1% or so of the time.",
        ),
        flag(
            "sample-every",
            ("N", Number),
            "Rounds between grids of samples",
            "They are drawn into samples/ of the run folder, and after the last round. 0 is never.",
        ),
        flag(
            "eval-every",
            ("N", Number),
            "Rounds between evaluations",
            "Each compares 1,000 generated images with as many test images; the best judged round then becomes the \
             artifact, in place of the last. With --dp-epsilon no test image is looked at, and the smallest training \
             loss is the best. 0 is never.",
        ),
    ],
);

//! Flags that begin a run, and what it prints.

use super::flag::{ANY, Flag, flag, section};

pub static START: [Flag; 5] = section(
    "Start",
    "",
    4,
    [
        flag(
            "recipe",
            ("NAME", ANY),
            "A built-in recipe; `prism-train recipes` lists them",
            "A recipe is a set of settings with a purpose: a quick look, the best quality, privacy at some epsilon, \
             thin links. Start with one rather than with single settings; whatever it says, a flag or --config may \
             say otherwise.",
        ),
        flag(
            "config",
            ("FILE", ANY),
            "Settings from a TOML file; flags win over it",
            "The file has the tables [data], [federation], [wire], [model], [training], [privacy] and [run], with the \
             names of this page as keys (in [privacy] without dp-). What it leaves out comes from --recipe, or is as \
             by default. The settings.toml in a run folder is such a file.",
        ),
        flag(
            "resume",
            ("DIR", ANY),
            "Go on with the run in this folder",
            "It reaches the very bytes that it would have reached uninterrupted, with the settings that it has. Only \
             --rounds, --data-dir and what stands under Run may be given anew; any other setting must agree with the \
             run's.",
        ),
        flag(
            "out",
            ("DIR", ANY),
            "Run folder; by default a new one under runs/",
            "It must be empty or new: nothing is overwritten.",
        ),
        flag(
            "moments-from",
            ("RUN", ANY),
            "Train on the moments that another run has drawn",
            "Nothing is measured and no noise is drawn again, so no privacy budget is spent again: other generators, \
             trainings or --components under the one promise. Images, clients, encoder, --subclasses and privacy must \
             be those of RUN. For --mode one-shot, or --dp-trust secagg.",
        ),
    ],
);

pub static OUTPUT: [Flag; 2] = section(
    "Run",
    "",
    2,
    [
        flag("quiet", ("", ANY), "Print no progress", "What a run leaves behind is printed all the same."),
        flag("json", ("", ANY), "Print the outcome as one line of JSON", "With paths, bytes and times, for scripts."),
    ],
);

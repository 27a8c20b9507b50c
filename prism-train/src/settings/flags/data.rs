//! Flags of the images and of the federation.

use prism_data::Intensity;
use prism_data::partition::Partition;
use prism_fl::settings::TrainingMode;

use super::flag::Allowed::{Names, Number, Text};
use super::flag::{ANY, Flag, flag, section};

const SOURCES: &[&str] = &["strokes", "mnist", "fashion-mnist", "cifar10", "folder"];

pub static DATA: [Flag; 6] = section(
    "Data",
    "data",
    3,
    [
        flag(
            "dataset",
            ("NAME", Names(SOURCES)),
            "Images to learn from; folder for your own",
            "strokes are drawn by the program and need no files. mnist, fashion-mnist and cifar10 are read from \
             --data-dir. folder is your own images of any size (PNG, JPEG, TIFF, WebP, BMP, PNM): one sub-folder a \
             class, or a flat folder for a model without classes. --data-dir alone means folder; `prism-train check` \
             shows what is in it.",
        ),
        flag(
            "data-dir",
            ("DIR", ANY),
            "Folder that holds the data set's files",
            "For mnist and fashion-mnist the four IDX files, plain or .gz; for cifar10 the binary batches or class \
             folders; for folder the images. They may also lie in a sub-folder with the data set's name. By default \
             the folder that the environment variable PRISM_DATA names.",
        ),
        flag(
            "partition",
            ("RULE", Text(|text| text.parse::<Partition>().map(drop))),
            "Who holds which images: iid, shards:2, ...",
            "iid gives everybody equal random parts. shards:N gives each client N slices of the images sorted by \
             class, so that it sees few classes. dirichlet:A divides each class by random shares, the more unevenly \
             the smaller A. classes:N gives each client exactly N classes. Choose what is like the parties that you \
             have in mind; these three need labels. sites takes each sub-folder of --data-dir as what one client \
             holds, as in a real fleet.",
        ),
        flag(
            "limit",
            ("N", Number),
            "Use at most this many images",
            "For a quick try, since measuring images takes time in proportion. Of strokes, as many are drawn.",
        ),
        flag(
            "channels",
            ("N", Number),
            "1 for grey, 3 for colour",
            "By default what the data set has; grey for a folder of which all images are. 1 reads colour images as \
             grey, which trains faster.",
        ),
        flag(
            "intensity",
            ("LOW-HIGH", Text(|text| text.parse::<Intensity>().map(drop))),
            "Values of 16-bit grey or DICOM that are black and white",
            "Scanners often fill 12 of 16 bits, which would be all but black: 0-4095 stretches them, and a narrower \
             range is a window. DICOM counts in the scanner's unit: -160-240 is a usual window of Hounsfield units. It \
             says something of the images, so name what is known of the scanner. Images of 8 bits are read as they are.",
        ),
    ],
);

pub static FILES: [Flag; 1] = section(
    "Data",
    "",
    0,
    [flag(
        "skip-broken",
        ("", ANY),
        "Pass over image files that cannot be read",
        "They are named. By default a folder with such files is refused. Give it again to --resume.",
    )],
);

pub static FEDERATION: [Flag; 6] = section(
    "Federation",
    "federation",
    2,
    [
        flag(
            "clients",
            ("N", Number),
            "Number of clients",
            "The images are divided among them. More clients have fewer images each and make a round longer; with \
             --dp-trust local each adds the whole noise, so that quality falls. 1 is training in one place, to \
             compare with.",
        ),
        flag(
            "rounds",
            ("N", Number),
            "Number of rounds",
            "Time grows with it and, with --mode rounds, so do the bytes that are sent. A run may be resumed with \
             more. With --mode one-shot a round is --local-steps steps of the server.",
        ),
        flag(
            "seed",
            ("N", Number),
            "Root of every random draw",
            "Same settings and seed, same model, byte for byte, at any number of threads. It is public: the frozen \
             network is made from it, and it stands in the model's file. The noise of privacy never comes from it.",
        ),
        flag(
            "mode",
            ("MODE", Names(TrainingMode::NAMES)),
            "Rounds of masks, or one message of moments",
            "rounds: in each, clients train and send masks, as in PRISM. one-shot: each client sends the moments of \
             its images once in its life, and the server trains alone. That gives the better images and no further \
             messages, but the server sees moments, where it otherwise sees masks; with --dp-epsilon they are \
             protected.",
        ),
        flag(
            "local-steps",
            ("N", Number),
            "Training steps in a round",
            "Of each client before it sends its mask. More of them are fewer messages for the same training, but \
             clients with different images drift apart.",
        ),
        flag(
            "fraction",
            ("SHARE", Number),
            "Share of the clients that are asked in a round",
            "Below 1 a round is shorter and sends less; a client that was not asked catches up when it is asked \
             again.",
        ),
    ],
);

//! Flags of the generator, of its training and of the wire.

use prism_fl::settings::{MessageSize, Objective, TrainingMask, UpdateCodec};

use super::flag::Allowed::{Names, Number, Text};
use super::flag::{ANY, Flag, flag, section};

pub static MODEL: [Flag; 6] = section(
    "Model",
    "model",
    2,
    [
        flag(
            "image-size",
            ("PIXELS", Number),
            "Side of the images in pixels",
            "Images are cropped to squares and resized to it. Time and memory grow with its square.",
        ),
        flag(
            "ngf",
            ("N", Number),
            "Width of the generator",
            "Weights grow with its square, and with them the file and each message: at 32 pixels the models of this \
             project take 59 KB at 16, 156 KB at 32 and 450 KB at 64. Wider ones draw better and train longer.",
        ),
        flag(
            "latent",
            ("N", Number),
            "Length of the latent vector",
            "The random numbers that an image is drawn from. It hardly needs touching; weights of the first layer \
             grow with it.",
        ),
        flag(
            "components",
            ("N", Number),
            "Generators that the model is a mixture of",
            "Each is a mask over frozen weights of its own, trained in turn towards the same moments; each image is \
             drawn by one of them. Images vary more, which is worth most under privacy noise. Time and file grow with \
             it. Needs --mode one-shot.",
        ),
        flag(
            "score-scale",
            ("X", Number),
            "Standard deviation of the initial scores",
            "The larger, the surer the mask is from the start, and the less noise drawing it brings in. A learning \
             rate goes with it: 4 with --lr 0.4 in rounds; 1 with --lr 0.1 where the server trains alone, for --codec \
             mrc, and for dense weights with --lr 0.02.",
        ),
        flag(
            "label-scale",
            ("X", Number),
            "Size of the label beside the latent vector",
            "How loudly the generator hears which class to draw, where images have labels. 16 suits clean moments; 5 \
             did better for Fashion-MNIST at epsilon 0.2.",
        ),
    ],
);

pub static TRAINING: [Flag; 9] = section(
    "Training",
    "training",
    0,
    [
        flag(
            "encoder",
            ("NAME", ANY),
            "Frozen network whose feature moments are matched",
            "public is built in and was trained on CIFAR-10. vgg16:FILE and vgg19:FILE take ImageNet's \
             weights as torchvision, timm or Keras have them; a step takes longer. file:PATH is what `prism-train encoder` made. \
             random:SEED saw no images at all, and serves worse. pixels+ before one of them, as in pixels+vgg16:FILE, compares \
             pixels too, so that fewer patches are plain white; bf16+ before all multiplies numbers half as wide, which is \
             faster on processors with AVX512-BF16. It must not have been trained on clients' images.",
        ),
        flag(
            "batch-size",
            ("N", Number),
            "Images generated in a training step",
            "Classes and subclasses of a step share them. More make moments surer and a step longer, in proportion.",
        ),
        flag(
            "classes-per-step",
            ("N", Number),
            "Classes drawn in a training step",
            "They share the batch. With --subclasses, as many parts of all classes are drawn as so many classes have. \
             Fewer leave each more images, which makes its moments surer.",
        ),
        flag(
            "subclasses",
            ("N", Number),
            "Parts of a class, each matched by itself",
            "Moments of a whole class are met by blends of its images; those of its parts (dark or bright, narrow or \
             broad) are not, so that what is rare is drawn too. It takes more images a step, some four a part, and \
             longer messages of moments. With --dp-epsilon a small part of the budget goes into where classes divide.",
        ),
        flag(
            "objective",
            ("NAME", Names(Objective::NAMES)),
            "What is matched of the features",
            "moments: means and variances, without what chance adds in a small batch. moments-biased: with it, as \
             published; images are more alike and, where moments are noisy (epsilon 1 or less), clearer. \
             moments-sketches: also what features do together; better without noise, a sixth slower at ngf 16, and \
             not for --dp-epsilon. mean-squares: in place of variances, for epsilon below 1. moving-average: as \
             published, with a slow average over steps; to compare with.",
        ),
        flag(
            "tanh-grad-bias",
            ("X", Number),
            "Lets saturated pixels come back, such as 0.1",
            "Where a patch of pixels is all white or black the slope of the last tanh is 0 and the patch would stay; \
             wide generators make such patches early. This is added to the slope on the way back, for gradients that \
             lead away from white or black, and falls to 0 over half of --lr-decay-rounds. 0 is off.",
        ),
        flag(
            "lr",
            ("RATE", Number),
            "Adam's learning rate on the scores",
            "It goes with --score-scale: 0.4 with 4, 0.1 with 1. Smaller steps send fewer bytes by --codec mrc.",
        ),
        flag(
            "lr-decay-rounds",
            ("N", Number),
            "Rounds over which the learning rate falls",
            "To a hundredth, on half a cosine. It helps most with --mode one-shot, where it equals --rounds; 0 is a \
             constant rate.",
        ),
        flag(
            "training-mask",
            ("RULE", Names(TrainingMask::NAMES)),
            "Which weights a training step keeps",
            "threshold: those whose probability is above one half, the very mask that ships. drawn: each with its \
             probability, anew in every step, as published; for --codec raw and mrc, which draw what they send. \
             dense: all, so that scores are plain weights; a baseline without an artifact, which with --codec raw \
             --alpha 1 is FedAvg.",
        ),
    ],
);

pub static WIRE: [Flag; 3] = section(
    "Wire",
    "wire",
    0,
    [
        flag(
            "codec",
            ("NAME", Names(UpdateCodec::NAMES)),
            "How masks go up and scores come down",
            "flips: differences from the mask that both sides expect, down their sums; a quarter of a bit a weight \
             up, and the best images for their bytes. raw: as published, a bit a weight up, a 32-bit score a weight \
             down, and steps of the server by the distance of masks (MADA). mrc: the thinnest, 0.02 bit up and 0.2 \
             down in the recipe mnist-relay, at a price in images, and every client sees the others' masks. sums: as \
             flips, but the server sees the sum of all clients alone, under secure aggregation.",
        ),
        flag(
            "alpha",
            ("SHARE", Number),
            "Share of the layers whose scores cross as numbers",
            "PRISM-alpha: counted from the output, at 32 bits a weight in place of a fraction of one. To compare \
             with; 1 for dense weights.",
        ),
        flag(
            "message-size",
            ("SIZE", Text(|text| text.parse::<MessageSize>().map(drop))),
            "Most bytes of a client's one message of moments",
            "For --mode one-shot without --dp-epsilon: moments are rounded until they fit. 2MB suits \
             MNIST's digits; colour and more pixels want more: see docs/experiments.md.",
        ),
    ],
);
